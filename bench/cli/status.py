"""`bench status`: the runs over a store: how far they are, what runs now, which died."""

from __future__ import annotations

import json
import time
from argparse import Namespace
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from retable.bench.errors import OK

if TYPE_CHECKING:
    from retable.bench.run.runs import Seen


def main(arguments: Namespace) -> int:
    """The run that is named, or all that the store remembers, newest last."""
    from retable.bench.run.runs import find, runs

    store = Path(arguments.store)
    found = [find(store, arguments.run)] if arguments.run else runs(store)
    if arguments.json:
        print(json.dumps([asdict(one) for one in found], indent=2, ensure_ascii=False))
    else:
        print("\n".join(_lines(one) for one in found) if found else f"no run is known in {store}")
    return OK


def _lines(run: Seen) -> str:
    from retable.bench.run.pulse import FOLDER, read

    progress = run.progress
    ended = sum(progress.ended.values())
    parts = [f"{ended} of {progress.total} stages ended"]
    parts += [f"{count} {status}" for status, count in sorted(progress.ended.items()) if status != "ok"]
    if progress.again:
        parts.append(f"{progress.again} tries lost with their nodes")
    where = f" on {run.note.elsewhere['kind']}" if run.note.elsewhere else ""
    state = {"ended": f"ended with status {progress.status}", "died": "its process died: `bench resume` goes on"}
    head = f"{run.name}{where}: {state.get(run.state, 'running')}; {', '.join(parts)}"
    if run.state == "ended":
        return head
    now = time.time()
    pulses = Path(run.note.store) / FOLDER
    lines = []
    for key, (name, since) in progress.running.items():
        beat = read(pulses, key)
        left = "" if beat.left is None else f", {_span(beat.left)} left"
        lines.append(f"  {name}: since {_span(now - since)}{f'; {beat.words}' if beat.words else ''}{left}")
    return "\n".join([head, *lines])


def _span(seconds: float) -> str:
    minutes, rest = divmod(int(max(seconds, 0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
