"""`bench freeze`: publish results as an immutable version."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from retable.bench.cli.suites import load
from retable.bench.errors import OK, BenchError

if TYPE_CHECKING:
    pass


def main(arguments: Namespace) -> int:
    """Publish a suite's results as its next version."""
    from retable.bench.report.frozen import render
    from retable.bench.store.store import Store
    from retable.bench.versions.freeze import freeze as publish
    from retable.bench.versions.versions import path_of

    suite, root = load(arguments), Path(arguments.results)
    if suite.overrides:
        raise BenchError("a version holds what its suite file says: write the values of --set there, then freeze")
    name, new = publish(
        suite, Store(arguments.store, create=False), root, render, partial=arguments.partial, attested=arguments.attest
    )
    path = path_of(root, name)
    if arguments.json:
        print(json.dumps({"version": str(name), "path": str(path), "new": new}, indent=2))
    else:
        print(path if new else f"{path} already holds exactly this")
    return OK
