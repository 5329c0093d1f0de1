"""What a job does to its worker, or leaves behind, reaches neither the driver nor the next job."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from retable.bench.record import Status
from retable.bench.run import pool
from retable.bench.run.offline import cut_off
from retable.bench.run.wire import LIMIT
from retable.bench.store.store import Store
from tests.bench.fake_runs import job
from tests.bench.run.test_executor import EVERYWHERE, SHORT, SMALL, eventually, gone, outcomes
from tests.bench.run.test_executor import store as store


@EVERYWHERE
def test_a_child_that_comes_back_says_nothing(store: Store, workers: int) -> None:
    records = outcomes([job("forks", "forks_and_returns"), *map(job, "abcd")], store, workers)
    assert {name: record.metrics["value"].value for name, record in records.items()} == dict.fromkeys(records, 1.0)
    assert len(store.records("fake")) == 5


@pytest.mark.parametrize(
    ("content", "times", "hangs", "status", "message"),
    [
        (b"\x00\x00\x10\x00half", 1, True, Status.TIMEOUT, "limit of 0.3 s"),
        (b'{"record": "half of', 1, True, Status.TIMEOUT, "limit of 0.3 s"),
        (b"[]\n\xff\n{}\n", 1, False, Status.OK, ""),
        (b"half", 1, False, Status.OK, ""),
        (b"x" * (1 << 20), 2 * LIMIT >> 20, True, Status.FAILED, "more to its driver than any answer has"),
    ],
)
def test_the_driver_never_waits_for_the_rest_of_an_answer(
    store: Store, content: bytes, times: int, hangs: bool, status: Status, message: str
) -> None:
    limits = SHORT if status is Status.TIMEOUT else SMALL
    bad = job("bad", "writes_to_the_driver", (content, times, hangs), limits=limits)
    records = outcomes([bad, job("good")], store)
    assert records["bad"].status is status
    assert message in (records["bad"].failure.message if records["bad"].failure else "")
    assert records["good"].ok


@pytest.mark.parametrize("ends", ["by its limit", "by itself"])
def test_an_orphan_goes_with_its_worker(store: Store, tmp_path: Path, ends: str) -> None:
    told = tmp_path / "id"
    limits = replace(SHORT, timeout=4.0) if ends == "by its limit" else SMALL
    orphan = job("orphan", "leaves_an_orphan", str(told), limits=limits)
    if ends == "by itself":
        dies = job("dies", "leaves_an_orphan_and_dies", str(told))
        assert "exit status 7" in outcomes([dies], store)["dies"].failure.message
    else:
        assert outcomes([orphan], store)["orphan"].status is Status.TIMEOUT
    assert eventually(lambda: gone(int(told.read_text())))


def test_what_a_job_prints_without_end_is_kept_by_its_end(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "LOG_LIMIT", 1 << 20)
    assert outcomes([job("loud", "prints_much", 40)], store)["loud"].ok
    log = (store.folder / "logs" / f"{job('loud').key}.log").read_bytes()
    assert len(log) <= 1 << 20
    assert log.startswith(b"[...]\n")
    assert log.endswith(f"{39:>99}\n".encode())


def test_what_an_offline_job_starts_has_no_network(store: Store) -> None:
    child = os.fork()
    if not child:
        os._exit(0 if cut_off() else 1)
    if os.waitpid(child, 0)[1]:
        pytest.skip("this system gives no process a network of its own")
    cut = replace(job("cut", "reaches_out"), offline=True)
    assert outcomes([cut], store)["cut"].metrics["value"].value == 0.0
