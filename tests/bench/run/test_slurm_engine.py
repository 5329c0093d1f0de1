"""SLURM through submitit: the text that sbatch gets, and whole runs on its stand-in for one machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from retable.bench.errors import BenchError
from retable.bench.run import slurm_engine
from retable.bench.run.agent import Envelope
from retable.bench.run.desk import Room
from retable.bench.run.elsewhere import Elsewhere
from retable.bench.run.executor import execute
from retable.bench.run.remote import Ended, Wants
from retable.bench.store.store import Store
from tests.bench.fake_runs import RUN, graph, job

pytest.importorskip("submitit", reason="the extra `slurm` is not installed")

WANTS = Wants(cpus=8, gpus=1, memory=200_000_000_000, seconds=3 * 3600, avoid=frozenset({"n7", "n3"}))
SCRIPT = """\
#!/bin/bash

# Parameters
#SBATCH --array=0-29%20
#SBATCH --cpus-per-task=8
#SBATCH --exclude=n3,n7
#SBATCH --gpus-per-node=1
#SBATCH --job-name=retable
#SBATCH --mem=201GB
#SBATCH --no-requeue
#SBATCH --nodes=1
#SBATCH --open-mode=append
#SBATCH --output=SPOOL/jobs/%A_%a/%A_%a_0_log.out
#SBATCH --partition=gpu
#SBATCH --signal=USR2@90
#SBATCH --time=190
#SBATCH --wckey=submitit

# command
export SUBMITIT_EXECUTOR=slurm
srun --unbuffered --output SPOOL/jobs/%A_%a/%A_%a_%t_log.out COMMAND
"""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def test_the_script_that_sbatch_gets(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "srun").write_text("#!/bin/sh\n")
    (tmp_path / "srun").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    where = Elsewhere(kind="slurm", partition="gpu", spool=str(tmp_path / "spool"), most=20)
    engine = where.engine(store.folder, Room.beside(store.folder))
    (spool,) = (tmp_path / "spool").iterdir()
    assert engine.script(WANTS, array=30).replace(str(spool), "SPOOL") == SCRIPT
    assert "--time=11" in engine.script(replace(WANTS, seconds=0.1))


def test_without_slurm_it_is_said(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    where = Elsewhere(kind="slurm", spool=str(tmp_path / "spool"))
    remote = where.executor(store.folder, RUN)
    with pytest.raises(BenchError, match="jobs cannot be given to SLURM from here"):
        execute([job("a")], RUN, store=store, workers=0, elsewhere=remote)


def test_numbers_are_those_of_a_local_run(store: Store, tmp_path: Path) -> None:
    local, _ = execute(graph(4), RUN, store=Store(tmp_path / "local"), workers=0)
    remote = Elsewhere(kind="slurm", address="local").executor(store.folder, RUN)
    found, _ = execute(graph(4), RUN, store=store, workers=0, elsewhere=remote)
    assert {key: one.metrics for key, one in found.items()} == {key: one.metrics for key, one in local.items()}
    assert all(one.node for one in found.values())
    assert not list((store.folder / "spool").glob("*/sent/*"))


def test_a_killed_job_is_sent_again(store: Store, tmp_path: Path) -> None:
    once = tmp_path / "once"
    kills = job("kills", "kills_its_agent_once", str(once))
    remote = Elsewhere(kind="slurm", address="local").executor(store.folder, RUN)
    (record,) = execute([kills], RUN, store=store, workers=0, elsewhere=remote)[0].values()
    assert record.ok
    assert len(record.lost) == 1


def test_a_killed_driver_finds_its_jobs_again(store: Store, tmp_path: Path) -> None:
    code = (
        "import sys; from tests.bench.fake_runs import RUN, job; from retable.bench.run.executor import execute\n"
        "from retable.bench.run.elsewhere import Elsewhere; from retable.bench.store.store import Store\n"
        "store = Store(sys.argv[1]); remote = Elsewhere(kind='slurm', address='local').executor(store.folder, RUN)\n"
        "execute([job('kills', 'kills_the_driver', sys.argv[2])], RUN, store=store, workers=0, elsewhere=remote)\n"
    )
    count = tmp_path / "count"
    driver = subprocess.Popen(
        [sys.executable, "-c", code, str(store.folder), str(count)], cwd=Path(__file__).parents[3]
    )
    assert driver.wait(120) == -9
    remote = Elsewhere(kind="slurm", address="local").executor(store.folder, RUN)
    again = [job("kills", "kills_the_driver", str(count))]
    (record,) = execute(again, RUN, store=store, workers=0, elsewhere=remote)[0].values()
    assert record.ok
    assert count.read_text() == "ran\n"


@pytest.fixture
def silence() -> Iterator[int]:
    """A descriptor that nobody writes to."""
    reading, writing = os.pipe()
    yield reading
    os.close(reading)
    os.close(writing)


def sent(store: Store, name: str, behaviour: str, argument: Any, silence: int) -> Any:
    """An engine that has sent one job, as a driver of its own would have."""
    engine = Elsewhere(kind="slurm", address="local").engine(store.folder, Room.beside(store.folder))
    one = job(name, behaviour, argument)
    engine.send(one.key, Envelope.seal(one, {}, run=RUN, plugins=()), replace(WANTS, gpus=0, avoid=frozenset()), {})
    engine.wait(0.0, silence)
    return engine


def end(engine: Any, silence: int) -> Ended:
    while not (ended := engine.wait(1.0, silence)):
        pass
    return ended[0]


def test_a_job_of_which_a_killed_driver_left_no_note_runs_once(store: Store, tmp_path: Path, silence: int) -> None:
    diary = tmp_path / "diary"
    first = sent(store, "one", "adds_a_line", str(diary), silence)
    (note,) = store.folder.glob("spool/*/sent/*")
    note.unlink()  # it was killed between sbatch and its note
    second = sent(store, "one", "adds_a_line", str(diary), silence)
    assert end(second, silence).answer is not None
    for engine in (first, second):
        for process in (one._process for one in engine._jobs.values() if one._process is not None):
            process.wait()
    assert diary.read_text() == "ran\n"
    assert second.kept() == {note.name}
    second.forget(note.name)
    assert not second.kept()


def test_a_job_whose_controller_is_killed_is_not_lost(
    store: Store, tmp_path: Path, silence: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(slurm_engine.CENSUS, "local", 0.0)
    begun, gate = tmp_path / "begun", tmp_path / "gate"
    os.mkfifo(begun)
    os.mkfifo(gate)
    engine = sent(store, "one", "waits_at_a_gate", (str(begun), str(gate)), silence)
    begun.read_text()
    (controller,) = (one._process for one in engine._jobs.values())
    controller.send_signal(signal.SIGKILL)
    controller.wait()
    assert engine.wait(0.0, silence) == []
    gate.write_text("!")
    assert end(engine, silence).answer is not None


def test_a_job_whose_key_is_forgotten_while_it_starts_leaves_nothing_behind(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A driver that died had sent it; the next one has sent another for the key, and has its answer."""
    spool = slurm_engine.Spool(store.folder / "spool")
    spool.make()
    (spool.envelopes / "key").write_bytes(b"an envelope")
    monkeypatch.setattr("submitit.JobEnvironment", lambda: SimpleNamespace(job_id="7", cluster="local"))
    monkeypatch.setattr(slurm_engine, "serve", lambda *_, **__: pytest.fail("nobody waits for it"))
    take = slurm_engine.Spool.take

    def take_late(self: slurm_engine.Spool, key: str, claim: dict[str, Any]) -> bool:
        self.forget(key)
        return take(self, key, claim)

    monkeypatch.setattr(slurm_engine.Spool, "take", take_late)
    slurm_engine._serve(str(spool.folder), "key")
    assert not [path for path in spool.folder.rglob("*") if path.is_file()]
