"""`bench resume`: take up a run that died or was stopped, with the same arguments over the same store."""

from __future__ import annotations

import contextlib
from argparse import Namespace
from pathlib import Path

from retable.bench.errors import BenchError


def main(arguments: Namespace) -> int:
    """The run that is named, or the newest; what ended meanwhile is collected, what still runs is waited for."""
    from retable.bench.cli.main import main as bench
    from retable.bench.run.runs import find, resumed

    run = find(Path(arguments.store), arguments.run)
    if run.state == "running":
        raise BenchError(f"run {run.name} is running: `bench status` says how far it is")
    with contextlib.chdir(run.note.folder):
        return bench([*resumed(run.note), *(["--detach"] if arguments.detach else [])])
