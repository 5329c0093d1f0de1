"""`bench rehearse`: whether every stage of the paper's profile runs, at small sizes on made-up files; nothing is kept."""

from __future__ import annotations

import json
import os
import time
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retable.bench.cli.suites import find_suite
from retable.bench.errors import INTERRUPTED, OK, UNMEASURED, BenchError

if TYPE_CHECKING:
    from retable.bench.rehearsal.stage import Rehearsed


def main(arguments: Namespace) -> int:
    """Rehearse suites one after the other; status 3 when a stage of theirs did not end as it should."""
    from retable.bench.cli.progress import Progress
    from retable.bench.rehearsal.stage import rehearsal_of, rehearse

    paths = [find_suite(name) for name in arguments.suites] or sorted(Path("suites").glob("*.yaml"))
    if not paths:
        raise BenchError("no suite file in suites/")
    told, status = [], OK
    for path in paths:
        suite, started = rehearsal_of(path, arguments.device), time.perf_counter()
        outcome = rehearse(
            suite,
            only=arguments.only,
            workers=(os.cpu_count() or 1) if arguments.jobs is None else arguments.jobs,
            plugins=arguments.plugin,
            on_start=lambda total: Progress(total=total, quiet=arguments.quiet).__enter__(),
        )
        seconds = time.perf_counter() - started
        told.append(_facts(outcome, seconds))
        if not arguments.json:
            print(_text(outcome, seconds), flush=True)
        if outcome.interrupted:
            return INTERRUPTED
        status = UNMEASURED if outcome.faults else status
    if arguments.json:
        print(json.dumps(told, indent=2))
    return status


def _text(outcome: Rehearsed, seconds: float) -> str:
    stages, faults = len(outcome.records), outcome.faults
    took = f"{seconds:.0f} s ({outcome.cpu:.0f} s of CPU)"
    lines = [f"{outcome.suite}: {stages} stages rehearsed in {took}, {len(faults)} failed"]
    lines += [f"  {name}: {reason}" for name, reason in faults.items()]
    lines += [f"  {name} is not rehearsed: {reason}" for name, reason in outcome.skipped.items()]
    return "\n".join(lines)


def _facts(outcome: Rehearsed, seconds: float) -> dict[str, Any]:
    """Times and faults; no number that a stage measured."""
    return {
        "suite": outcome.suite,
        "seconds": round(seconds, 1),
        "cpu_seconds": round(outcome.cpu, 1),
        "stages": {name: round(record.timings.get("wall", 0.0), 2) for name, record in outcome.records.items()},
        "faults": outcome.faults,
        "skipped": dict(outcome.skipped),
    }
