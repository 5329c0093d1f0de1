"""Kills: nodes and drivers of a distributed run are killed at random moments, and every record is counted.

`python -m tests.torture.kills --engine slurm --kills 50 --drivers 20` needs submitit, `--engine ray` needs Ray, of which it starts
a cluster of three nodes here. A job only waits, and holds a lock while it does, so that two that run one key at a time are seen.
Prints a line a figure, and ends with 1 where a record is lost or doubled, or a job ran twice at a time.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import random
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import psutil

from retable.bench.record import Record, Status
from retable.bench.run.desk import Desk, Room
from retable.bench.run.elsewhere import Elsewhere, Kind
from retable.bench.run.executor import execute
from retable.bench.store.store import Store
from retable.bench.suite import Limits
from tests.bench.fake_runs import Fake, job

WORK = "tests.torture.kills:work"
LIMITS = Limits(timeout=120.0, memory=300 << 20)
BROKEN = ("records lost", "records doubled", "jobs that ran twice at a time", "jobs left behind")


def work(fake: Fake, desk: Desk) -> Record:
    """Wait, under a lock that the kernel drops when this process is killed."""
    folder, seconds = fake.argument
    with (Path(folder) / fake.template.entry).open("a") as diary:
        try:
            fcntl.flock(diary, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            diary.write("beside another\n")
        else:
            diary.write("began\n")
        diary.flush()
        threading.Event().wait(seconds)
    return replace(fake.template, status=Status.OK)


def drive(folder: Path, where: Elsewhere, jobs: int, seconds: float) -> None:
    """A driver: run what its store lacks, and say when it has begun."""
    store, diaries = Store(folder / "store"), folder / "diaries"
    diaries.mkdir(exist_ok=True)
    chance = random.Random(folder.name)
    every = [job(f"job-{number}", "", (str(diaries), chance.uniform(0.2, 2) * seconds)) for number in range(jobs)]
    stored = {record.key for record in store.records("fake")}
    opened = [replace(one, limits=LIMITS) for one in every if one.key not in stored]
    execute(
        opened,
        WORK,
        store=store,
        workers=0,
        on_event=lambda event: print("begun", flush=True),
        elsewhere=where.executor(store.folder, WORK),
    )


class Stand(Protocol):
    """Machines on which jobs run, of which one can be killed."""

    where: Elsewhere

    def kill(self, chance: random.Random, folder: Path) -> bool:
        """Kill one that works for `folder`; False where there is none."""


class Processes:
    """submitit's stand-in for SLURM: a job is a controller with the process that serves it."""

    def __init__(self, most: int) -> None:
        self.where = Elsewhere(kind="slurm", address="local", most=most)

    def kill(self, chance: random.Random, folder: Path) -> bool:
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                words = " ".join(process.cmdline())
                if "-m submitit." in words and str(folder) in words:
                    found.append(process)
        with suppress(psutil.Error, IndexError):
            chance.choice(found).kill()
            return True
        return False


class Nodes:
    """A Ray cluster: a head that runs no jobs, and nodes, of which a new one comes for each that is killed."""

    def __init__(self, most: int) -> None:
        from ray.cluster_utils import Cluster

        os.environ.setdefault("RAY_worker_niceness", "0")
        self._cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": 100 << 20})
        self._size = max(1, most // 3)
        self._nodes = [self._new() for _ in range(3)]
        self.where = Elsewhere(kind="ray", address=self._cluster.address, most=most)

    def kill(self, chance: random.Random, folder: Path) -> bool:
        self._cluster.remove_node(self._nodes.pop(chance.randrange(3)), allow_graceful=False)
        self._nodes.append(self._new())
        return True

    def _new(self) -> Any:
        return self._cluster.add_node(num_cpus=self._size, object_store_memory=100 << 20)


@dataclass
class Tally:
    """What was killed, and what the stores and the jobs' own diaries say of it."""

    kills: int = 0
    figures: Counter[str] = field(default_factory=Counter)

    def count(self, folder: Path, where: Elsewhere, jobs: int) -> None:
        store = Store(folder / "store", create=False)
        records = store.records("fake")
        diaries = [path.read_text().splitlines() for path in (folder / "diaries").iterdir()]
        given_up = [one for one in records if one.failure is not None and one.failure.type == "Lost"]
        engine = where.engine(store.folder, Room.beside(store.folder))
        self.figures.update(
            {
                "jobs": jobs,
                "records of a result": sum(one.ok for one in records),
                "records of three lost tries": len(given_up),
                "lost tries that records tell of": sum(len(one.lost) for one in records),
                "jobs begun more than once": sum(lines.count("began") > 1 for lines in diaries),
                "records lost": jobs - len({one.key for one in records if one.ok or one in given_up}),
                "records doubled": len(records) - len({one.key for one in records}),
                "jobs that ran twice at a time": sum("beside another" in lines for lines in diaries),
                "jobs left behind": len(engine.kept()),
            }
        )
        engine.close()


def storm(stand: Stand, what: str, kills: int, folder: Path, jobs: int, seconds: float) -> Tally:
    """Rounds of a driver with its jobs, until so many `nodes` or `drivers` have been killed."""
    tally, chance, number = Tally(), random.Random(what), 0
    while tally.kills < kills:
        here = folder / f"{what}-{number}"
        here.mkdir()
        while not _driven(stand, what, kills, here, tally, chance, [str(jobs), str(seconds)]):
            pass
        tally.count(here, stand.where, jobs)
        number += 1
    return tally


def _driven(
    stand: Stand, what: str, kills: int, folder: Path, tally: Tally, chance: random.Random, rest: Sequence[str]
) -> bool:
    """One driver, from its start until it has ended or was killed; whether it has come to its end."""
    where = stand.where
    call = ["-m", "tests.torture.kills", "--drive", str(folder), where.kind, where.address, str(where.most), *rest]
    driver = subprocess.Popen([sys.executable, *call], stdout=subprocess.PIPE)
    assert driver.stdout is not None
    driver.stdout.readline()
    threading.Thread(target=driver.stdout.read, daemon=True).start()
    while True:
        with suppress(subprocess.TimeoutExpired):
            if driver.wait(chance.uniform(0.0, 2 * float(rest[1]))):
                raise SystemExit(f"the driver ended with status {driver.returncode}")
            return True
        if tally.kills == kills:
            continue
        if what == "drivers":
            driver.kill()
            tally.kills += 1
            return driver.wait() == 0
        tally.kills += stand.kill(chance, folder)


def main() -> int:
    if sys.argv[1:2] == ["--drive"]:
        kind: Kind = "ray" if sys.argv[3] == "ray" else "slurm"
        where = Elsewhere(kind=kind, address=sys.argv[4], most=int(sys.argv[5]))
        drive(Path(sys.argv[2]), where, int(sys.argv[6]), float(sys.argv[7]))
        return 0
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=("slurm", "ray"), default="slurm")
    parser.add_argument("--kills", type=int, default=50, help="of nodes (default 50)")
    parser.add_argument("--drivers", type=int, default=20, help="kills of drivers (default 20)")
    parser.add_argument("--jobs", type=int, default=40, help="a round (default 40)")
    parser.add_argument("--seconds", type=float, default=1.0, help="of a job, on average (default 1)")
    parser.add_argument("--most", type=int, default=6, help="jobs at once (default 6)")
    asked = parser.parse_args()
    os.environ["PYTHONPATH"] = str(Path(__file__).parents[2])
    broken = False
    with tempfile.TemporaryDirectory() as folder:
        stand: Stand = Nodes(asked.most) if asked.engine == "ray" else Processes(asked.most)
        for what, kills in (("nodes", asked.kills), ("drivers", asked.drivers)):
            tally = storm(stand, what, kills, Path(folder), asked.jobs, asked.seconds)
            print(f"{tally.kills} {what} killed: " + ", ".join(f"{n} {name}" for name, n in tally.figures.items()))
            broken |= any(tally.figures[name] for name in BROKEN)
    return int(broken)


if __name__ == "__main__":
    sys.exit(main())
