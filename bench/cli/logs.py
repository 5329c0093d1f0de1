"""`bench logs`: what the stages of a case printed, also of those that still run."""

from __future__ import annotations

import sys
from argparse import Namespace
from contextlib import suppress
from pathlib import Path

from retable.bench.errors import OK, BenchError


def main(arguments: Namespace) -> int:
    """Every stage that the case names and that has run or runs, with its log."""
    store = Path(arguments.store)
    ended, running = _ended(store, arguments.case), _running(store, arguments.case)
    stages = {**ended, **running}
    if not stages:
        raise BenchError(f"no stage of {arguments.case!r} has run or runs")
    for key, name in stages.items():
        text = _text(store, key)
        silent = "nothing yet; a job elsewhere may send it with its end" if key in running else "nothing was printed"
        print(f"{name} ({key[:12]}): {'' if text else silent}", file=sys.stderr)
        sys.stdout.write(text if not text or text.endswith("\n") else f"{text}\n")
    return OK


def _ended(store: Path, case: str) -> dict[str, str]:
    from retable.bench.report.provenance import find_records
    from retable.bench.store.store import Store

    with suppress(BenchError):
        records = find_records(Store(store, create=False), case)
        return {one.key: f"{one.suite}/{one.entry}/{one.repetition} {one.stage} {one.status}" for one in records}
    return {}


def _running(store: Path, case: str) -> dict[str, str]:
    """What runs, also what a run that died has sent elsewhere, until another run takes it up.

    Names say `suite/entry/repetition stage method`; a case may say the profile between.
    """
    from retable.bench.run.runs import runs, taken_up

    parts = case.split("/")
    wanted = "/".join([*parts[:2], *parts[3:]])
    found = {}
    known = runs(store)
    for run in known:
        left = run.state == "died" and run.note.elsewhere and not taken_up(run, known)
        if run.state == "running" or left:
            for key, (name, _) in run.progress.running.items():
                if key.startswith(case) or f"{name.partition(' ')[0]}/".startswith(f"{wanted}/"):
                    found[key] = f"{name} running"
    return found


def _text(store: Path, key: str) -> str:
    """From beside the store, or, while a job of SLURM runs, from the spools of its runs."""
    from retable.bench.run.runs import runs

    spools = {(run.note.elsewhere or {}).get("spool") or str(store / "spool") for run in runs(store)}
    logs = [path for spool in spools for path in Path(spool).glob(f"*/logs/{key}.log")]
    for path in [*logs, store / "logs" / f"{key}.log"]:
        with suppress(OSError):
            return path.read_text(errors="replace")
    return ""
