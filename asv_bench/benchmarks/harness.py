"""What the harness itself costs: starting the command, and reading records back."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

from retable.bench.record import Measurement, Record, Status, digest
from retable.bench.store.store import Store

ROOT = Path(__file__).resolve().parents[2]
RECORDS = 1000


class Harness:
    number, repeat, rounds, warmup_time = 1, (3, 10, 1.5), 1, 0.01

    def time_help(self) -> None:
        _bench("--help")

    def time_check(self) -> None:
        _bench("check")

    def time_reported_table(self) -> None:
        """Table 2 of AiM with the paper's own numbers: no record is read."""
        _bench("table", str(ROOT / "suites" / "table2_aim.yaml"))

    def time_thousand_records(self) -> None:
        assert len(_store().records("made", "mini")) == RECORDS


def _bench(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "bench", *arguments], cwd=ROOT, stdout=subprocess.DEVNULL, check=True)


@cache
def _store() -> Store:
    """A store of made records, filled in the warm-up."""
    store = Store(mkdtemp(prefix="retable-asv-"))
    for index in range(RECORDS):
        store.append(_record(index))
    return store


def _record(index: int) -> Record:
    metrics = {f"metric-{i}": Measurement(value=index + i, n=100) for i in range(6)}
    return Record(
        key=digest(str(index)),
        stage="evaluate",
        suite="made",
        entry=f"entry-{index % 50}",
        profile="mini",
        repetition=index // 50,
        seed=index,
        status=Status.OK,
        ingredients={"index": index},
        metrics=metrics,
    )
