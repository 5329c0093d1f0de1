"""`bench status`: the runs over a store: how far they are, what runs now, which died."""

from __future__ import annotations

import json
import time
from argparse import Namespace
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from retable.bench.errors import CONTRADICTED, INTERRUPTED, OK, UNMEASURED, USAGE

if TYPE_CHECKING:
    from retable.bench.run.runs import Seen

MEANT = {
    CONTRADICTED: "a verdict is not as expected",
    USAGE: "the last line of its output says why",
    UNMEASURED: "not everything was measured",
    INTERRUPTED: "it was stopped",
}
"""What an exit status says of a run."""


def main(arguments: Namespace) -> int:
    """The run that is named, or all that the store remembers, newest last."""
    from retable.bench.run.runs import find, runs, taken_up

    store = Path(arguments.store)
    known = runs(store)
    found = [find(store, arguments.run)] if arguments.run else known
    if arguments.json:
        print(json.dumps([asdict(one) for one in found], indent=2, ensure_ascii=False))
    else:
        print("\n".join(_lines(one, taken_up(one, known)) for one in found) if found else f"no run is known in {store}")
    return OK


def _lines(run: Seen, later: str) -> str:
    """Of a run: its state, how far it is, and what runs; `later` is the run that took it up."""
    progress = run.progress
    ended = sum(progress.ended.values())
    parts = [f"{ended} of {progress.total} stages ended"]
    parts += [f"{count} of them {status}" for status, count in sorted(progress.ended.items()) if status != "ok"]
    if progress.again:
        parts.append(f"{progress.again} tries lost with their nodes")
    where = f" on {run.note.elsewhere['kind']}" if run.note.elsewhere else ""
    lines = [f"{run.name}{where}: {_state(run, later)}; {', '.join(parts)}"]
    if run.state == "running":
        lines += _running(run)
    elif run.state == "died" and run.note.elsewhere and not later:  # here everything dies with the run's process
        names = [name for name, _ in progress.running.values()]
        lines += [f"  {name}: had been sent, and goes on without it" for name in names]
    return "\n".join(lines)


def _state(run: Seen, later: str) -> str:
    goes_on = f"{later} took it up" if later else f"`bench resume {run.name}` goes on"
    if run.state == "running":
        return "running"
    if run.state == "died":
        return f"its process died, and {goes_on}"
    meant = MEANT.get(run.progress.status or OK, "")
    if run.progress.status == INTERRUPTED:
        meant += f", and {goes_on}"
    return f"ended with status {run.progress.status}{f' ({meant})' if meant else ''}"


def _running(run: Seen) -> list[str]:
    from retable.bench.run.pulse import FOLDER, read

    now = time.time()
    pulses = Path(run.note.store) / FOLDER
    lines = []
    for key, (name, since) in run.progress.running.items():
        beat = read(pulses, key)
        left = "" if beat.left is None else f", {_span(beat.left)} left"
        lines.append(f"  {name}: since {_span(now - since)}{f'; {beat.words}' if beat.words else ''}{left}")
    return lines


def _span(seconds: float) -> str:
    minutes, rest = divmod(int(max(seconds, 0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
