"""`bench merge`: take over the records of other machines; what they contest stands beside what is here."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from dataclasses import asdict
from pathlib import Path

from retable.bench.errors import CONTRADICTED, OK, BenchError


def main(arguments: Namespace) -> int:
    """One line a store; 1 when a number is contested."""
    from retable.bench.run.merge import merge
    from retable.bench.store.store import Store

    if absent := [name for name in arguments.others if not (Path(name) / "records.sqlite").is_file()]:
        raise BenchError(f"{absent[0]} holds no store")
    store = Store(arguments.store)
    found = {name: merge(store, Store(name, create=False)) for name in arguments.others}
    if arguments.json:
        print(json.dumps({name: asdict(one) for name, one in found.items()}, indent=2, ensure_ascii=False))
    for name, one in found.items():
        if not arguments.json:
            print(f"{name}: {one.taken} records taken over, {one.agreed} agree, {one.known} were known")
        for line in one.contested:
            print(f"  contested: {line}", file=sys.stderr if arguments.json else sys.stdout)
        for line in one.refused:
            print(f"  left there: {line}", file=sys.stderr)
    return CONTRADICTED if any(one.contested for one in found.values()) else OK
