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
    from retable.bench.run.runs import runs
    from retable.bench.store.store import Store

    for name in arguments.others:
        if not (Path(name) / "records.sqlite").is_file():
            raise BenchError(f"{name} holds no store")
        if Path(name).resolve() == Path(arguments.store).resolve():
            raise BenchError(f"{name} is the store itself: name the store of another machine")
    others = {name: Store(name, create=False) for name in arguments.others}  # all, before anything is written
    store = Store(arguments.store)
    found = {name: merge(store, other) for name, other in others.items()}
    if arguments.json:
        print(json.dumps({name: asdict(one) for name, one in found.items()}, indent=2, ensure_ascii=False))
    out = sys.stderr if arguments.json else sys.stdout
    for name, one in found.items():
        counts = f"{one.taken} records taken over, {one.agreed} agree, {one.known} were known"
        print(f"{name}: {counts}, {len(one.contested)} contested", file=out)
        for line in one.contested:
            print(f"  contested: {line}", file=out)
        for line in one.refused:
            print(f"  left there: {line}", file=sys.stderr)
        for run in runs(Path(name)):
            if run.state == "running":
                print(f"  run {run.name} is still writing there: merge again when it has ended", file=sys.stderr)
    if not any(one.contested for one in found.values()):
        return OK
    print(
        "tables go on with what is here; both numbers are kept, and `bench show SUITE/ENTRY` says whose they are",
        file=out,
    )
    return CONTRADICTED
