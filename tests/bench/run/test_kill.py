"""`kill -9` of `bench run` at random moments: nothing that was reported as stored is lost, and the table comes out the same.

RETABLE_KILLS sets how many times it is killed (default 4); `make torture KILLS=200` asks for 200, at about 3 s each.
"""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from retable.bench.store.store import Store
from tests.bench.conftest import Bench

REPORTED = re.compile(r"\] tiny/(\w+)/(\d) (fit|evaluate) \S+: ok", flags=re.MULTILINE)
KILLS = int(os.environ.get("RETABLE_KILLS", "4"))


@pytest.mark.timeout(300 + 30 * KILLS)
def test_kill_at_random_moments(bench: Bench, record_property: Callable[[str, object], None]) -> None:
    many = ", ".join(map(str, range(25 * KILLS)))  # so many cases that the early kills leave some to the later ones
    bench.edit("repetitions: [0, 1, 2]", f"repetitions: [{many}]")
    bench("run", "suites/tiny.yaml", "--jobs", "0", "--store", "undisturbed")
    expected = bench.json("table", "suites/tiny.yaml", "--store", "undisturbed")
    moments = random.Random(0)
    reported: set[tuple[str, ...]] = set()
    for _ in range(KILLS):
        reported |= killed_after(bench, moments.uniform(0.1, 8.0))
        assert reported <= stored(bench.folder / "work")
    record_property("count", ("kills of a run", KILLS))
    record_property("count", ("acknowledged records, 0 lost", len(reported)))
    assert bench("run", "suites/tiny.yaml", "--jobs", "2", "--store", "work").returncode == 0
    assert bench.json("table", "suites/tiny.yaml", "--store", "work") == expected
    assert bench.json("doctor", "--store", "work")["store"]["damaged_records"] == []


def killed_after(bench: Bench, seconds: float) -> set[tuple[str, ...]]:
    """What a run that is killed after so many seconds had reported as stored."""
    process = bench.process("run", "suites/tiny.yaml", "--jobs", "2", "--store", "work")
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
    _, stderr = process.communicate()
    return set(REPORTED.findall(stderr))


def stored(folder: Path) -> set[tuple[str, ...]]:
    records = Store(folder, create=False).records("tiny")
    return {(record.entry, str(record.repetition), record.stage) for record in records if record.ok}
