"""SLURM through submitit: the text that sbatch gets, and whole runs on its stand-in for one machine."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from retable.bench.errors import BenchError
from retable.bench.run.desk import Room
from retable.bench.run.elsewhere import Elsewhere
from retable.bench.run.executor import execute
from retable.bench.run.remote import Wants
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
