"""Ray: whole runs on a cluster that is started here and ends with the tests."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from retable.bench.record import Status
from retable.bench.run.desk import Room
from retable.bench.run.elsewhere import Elsewhere
from retable.bench.run.executor import execute
from retable.bench.run.job import Job
from retable.bench.store.store import Store
from retable.bench.suite import Limits
from tests.bench.fake_runs import RUN, graph, job

ray = pytest.importorskip("ray", reason="the extra `ray` is not installed")
FEW = Limits(timeout=60.0, memory=300 << 20)
LOCAL = Elsewhere(kind="ray", address="local", most=8)


@pytest.fixture(scope="module", autouse=True)
def _cluster() -> Iterator[None]:
    """Its workers import these tests beside whatever this process imports."""
    places = [str(Path(__file__).parents[3]), os.environ.get("PYTHONPATH")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, places)))
        yield
        ray.shutdown()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def small(jobs: list[Job]) -> list[Job]:
    return [replace(one, limits=FEW) for one in jobs]


def run(jobs: list[Job], store: Store, run: str = RUN) -> dict[str, Any]:
    records, _ = execute(jobs, run, store=store, workers=0, elsewhere=LOCAL.executor(store.folder, run))
    return {one.name: records[one.key] for one in jobs}


def test_numbers_are_those_of_a_local_run(store: Store, tmp_path: Path) -> None:
    local, _ = execute(graph(8), RUN, store=Store(tmp_path / "local"), workers=0)
    remote = run(small(graph(8)), store)
    assert {one.key: one.metrics for one in remote.values()} == {key: one.metrics for key, one in local.items()}
    assert len(store.records("fake")) == 8
    assert all(one.node for one in remote.values())


def test_a_cluster_of_its_own_needs_no_home(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("no folder")
    done = subprocess.run(
        [sys.executable, "-c", "from retable.bench.run.ray_engine import _connect; _connect('local').shutdown()"],
        env={name: value for name, value in os.environ.items() if name != "RAY_AUTH_TOKEN"}
        | {"HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_files_travel_by_value(store: Store) -> None:
    first = job("first")
    second = replace(job("second", needs=["first"]), reads=(first.key,))
    records = run(small([first, second]), store, "tests.bench.run.test_remote:leaves_a_file")
    assert store.read_artefact(records["second"].artefacts["count"]) == b"2"


def test_a_job_that_no_node_can_take_is_said(store: Store) -> None:
    huge = replace(job("huge"), gpus=64)
    record = run([huge], store)["huge"]
    assert record.status is Status.MISSING
    assert "64 GPUs" in record.failure.message


def test_a_process_that_is_killed_is_a_lost_try(store: Store, tmp_path: Path) -> None:
    record = run(small([job("kills", "kills_its_agent_once", str(tmp_path / "once"))]), store)["kills"]
    assert record.ok
    assert len(record.lost) == 1


def test_a_driver_that_lets_go_finds_its_jobs_again(store: Store) -> None:
    """The engine alone: one driver sends and goes, the next one waits for the same jobs."""
    from retable.bench.run.agent import Envelope
    from retable.bench.run.ray_engine import RayEngine
    from retable.bench.run.remote import Wants

    wants = Wants(cpus=1, gpus=0, memory=FEW.memory, seconds=60.0)
    room = Room.beside(store.folder)
    first, second = (RayEngine(store.folder, room) for _ in range(2))
    (one,) = small([job("one")])
    first.send(one.key, Envelope.seal(one, {}, run=RUN, plugins=()), wants, {})
    reading, writing = os.pipe()
    while one.key not in second.kept():
        pass
    second.send(one.key, b"not even opened", wants, {})
    ended = []
    while not ended:
        ended = second.wait(1.0, reading)
    assert ended[0].answer is not None
    assert not ended[0].answer.refused
    second.forget(one.key)
    while second.kept():
        pass
    first.close()
    second.close()
    os.close(reading)
    os.close(writing)
