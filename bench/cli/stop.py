"""`bench stop`: end a run that was left, and what it has started."""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from retable.bench.errors import OK, BenchError

if TYPE_CHECKING:
    from retable.bench.run.runs import Seen


def main(arguments: Namespace) -> int:
    """The run that is named, or the newest. Of one whose process has died the jobs that still run elsewhere are stopped."""
    from retable.bench.run.runs import find, stop

    store = Path(arguments.store)
    run = find(store, arguments.run)
    if run.state == "running":
        stop(store, run)
        print(f"{run.name} is stopped; `bench resume {run.name}` goes on", file=sys.stderr)
        return OK
    if run.note.elsewhere and run.state == "died":
        print(f"{run.name} had died; {_cancel(run)} jobs that it had sent are stopped", file=sys.stderr)
        return OK
    raise BenchError(f"run {run.name} is not running")


def _cancel(run: Seen) -> int:
    from retable.bench.run.desk import Room
    from retable.bench.run.elsewhere import Elsewhere

    assert run.note.elsewhere is not None
    store = Path(run.note.store)
    room = Room.beside(store)
    engine = Elsewhere(**run.note.elsewhere).engine(store, room)
    kept = engine.kept()
    engine.cancel(list(kept))
    engine.close()
    return len(kept)
