"""Run functions and small graphs of jobs for the tests of the store and the executor; also a driver that can be killed.

A payload is `Fake(template, behaviour, argument)`; the result depends on nothing else.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from retable.bench.errors import MissingDataError
from retable.bench.record import Failure, Measurement, Record, Status, digest
from retable.bench.run.desk import Desk
from retable.bench.run.executor import execute
from retable.bench.run.job import Event, Job
from retable.bench.store.store import Store
from retable.bench.suite import Limits

DRIVER = [sys.executable, "-c", "from tests.bench.fake_runs import main; main()"]
RUN = "tests.bench.fake_runs:run"
LIMITS = Limits(timeout=60.0, memory=2 << 30)
PATIENT = "import threading; threading.Event().wait()"


@dataclass(frozen=True)
class Fake:
    template: Record
    behaviour: str = "works"
    argument: Any = None


def template(name: str, **changes: Any) -> Record:
    """A record without an outcome, whose key is the digest of `name`."""
    fields: dict[str, Any] = {
        "key": digest(name),
        "stage": "evaluate",
        "suite": "fake",
        "entry": name,
        "profile": "mini",
        "repetition": 0,
        "seed": 7,
        "status": Status.INTERRUPTED,
        "ingredients": {"name": name},
    }
    return Record(**{**fields, **changes})


def job(
    name: str, behaviour: str = "works", argument: Any = None, *, needs: Sequence[str] = (), limits: Limits = LIMITS
) -> Job:
    """A job called `name`; `needs` are names too."""
    empty = template(name)
    keys = tuple(digest(need) for need in needs)
    payload = Fake(empty, behaviour, argument)
    return Job(key=empty.key, name=name, needs=keys, limits=limits, template=empty, payload=payload)


def graph(size: int) -> list[Job]:
    """Jobs of about a millisecond, of which the i-th needs the i/2-th and sometimes the one before."""
    jobs = []
    for number in range(size):
        needs = {number // 2, number - 1} if number % 3 == 2 else {number // 2}
        jobs.append(
            job(f"job-{number}", "computes", number, needs=[f"job-{need}" for need in sorted(needs - {number})])
        )
    return jobs


def run(fake: Fake, desk: Desk) -> Any:
    value = getattr(Behaviour, fake.behaviour)(fake.argument)
    if isinstance(value, float):
        return replace(fake.template, status=Status.OK, metrics={"value": Measurement(value=value)})
    return value


class Behaviour:
    """What a job can do; a float is its measured value, anything else is returned instead of a record."""

    @staticmethod
    def works(argument: Any) -> float:
        return 1.0

    @staticmethod
    def computes(argument: int) -> float:
        value = float(argument)
        for _ in range(10_000):
            value = (value * 1.1 + 1.0) % 97.0
        return value

    @staticmethod
    def raises(argument: BaseException) -> float:
        raise argument

    @staticmethod
    def returns(argument: Any) -> Any:
        return argument

    @staticmethod
    def measures_nan(argument: Any) -> Any:
        return replace(template("x"), status=Status.OK, log={"loss": float("nan")})

    @staticmethod
    def prints(argument: str) -> float:
        print(argument, flush=True)
        return 1.0

    @staticmethod
    def hangs(argument: Any) -> float:
        threading.Event().wait()
        return 1.0

    @staticmethod
    def exits(argument: int) -> float:
        print("last words", flush=True)
        os._exit(argument)

    @staticmethod
    def gets_signal(argument: int) -> float:
        os.kill(os.getpid(), argument)
        return 1.0

    @staticmethod
    def breaks_memory(argument: Any) -> float:
        import ctypes

        ctypes.string_at(0)
        return 1.0

    @staticmethod
    def raises_children(argument: str) -> float:
        """Two children, one of which leaves the process group; their ids go to a file, then it hangs."""
        children = [
            subprocess.Popen([sys.executable, "-c", PATIENT], start_new_session=leaves) for leaves in (False, True)
        ]
        Path(argument).write_text(" ".join(map(str, [os.getpid(), *(child.pid for child in children)])))
        threading.Event().wait()
        return 1.0

    @staticmethod
    def forks_and_returns(argument: Any) -> float:
        """The child comes back into the worker as if it were the job."""
        return 2.0 if os.fork() == 0 else 1.0

    @staticmethod
    def leaves_an_orphan(argument: str) -> float:
        """A grandchild in a session of its own whose parent is gone; its id goes to a file, then the job hangs."""
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                Path(argument).write_text(str(os.getpid()))
                os.execv(sys.executable, [sys.executable, "-c", PATIENT])
            os._exit(0)
        os.wait()
        threading.Event().wait()
        return 1.0

    @staticmethod
    def leaves_an_orphan_and_dies(argument: str) -> float:
        threading.Thread(target=Behaviour.leaves_an_orphan, args=[argument], daemon=True).start()
        while not Path(argument).exists() or not Path(argument).read_text():
            os.sched_yield()
        os._exit(7)

    @staticmethod
    def writes_to_the_driver(argument: tuple[bytes, int, bool]) -> float:
        """Some bytes, so many times, to the pipe of its answer; then it hangs, or goes on."""
        content, times, hangs = argument
        for _ in range(times):
            os.write(int(sys.argv[1]), content)
        if hangs:
            threading.Event().wait()
        return 1.0

    @staticmethod
    def prints_much(argument: int) -> float:
        for number in range(argument):
            os.write(1, f"{number:>99}\n".encode() * 1000)
        return 1.0

    @staticmethod
    def reaches_out(argument: Any) -> float:
        """Whether a program that it starts gets further than this machine."""
        code = "import socket; socket.create_connection(('192.0.2.1', 80), timeout=0.5)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        return float("unreachable" not in done.stderr)

    @staticmethod
    def eats(argument: int) -> float:
        hoard = bytearray(os.urandom(1) * argument)
        threading.Event().wait()
        return float(len(hoard))

    @staticmethod
    def feeds_a_child(argument: int) -> float:
        subprocess.run([sys.executable, "-c", f"hoard = bytearray(b'x' * {argument}); {PATIENT}"], check=True)
        return 1.0

    @staticmethod
    def reads_environment(argument: str) -> float:
        return float(os.environ[argument])

    @staticmethod
    def tells_its_process(argument: Any) -> float:
        return float(os.getpid())

    @staticmethod
    def kills_its_agent_once(argument: str) -> float:
        """As a node that goes dark: the process that serves this job is killed, with the worker in it."""
        if not Path(argument).exists():
            Path(argument).touch()
            os.kill(os.getppid(), signal.SIGKILL)
            threading.Event().wait()
        return 1.0

    @staticmethod
    def kills_the_driver(argument: str) -> float:
        """Adds a line to a file, and ends the driver above all of submitit's processes, if it is there."""
        import psutil

        with Path(argument).open("a") as file:
            file.write("ran\n")
        for process in psutil.Process().parents():
            if "execute(" in " ".join(process.cmdline()):
                process.kill()
        return 1.0

    @staticmethod
    def adds_a_line(argument: str) -> float:
        with Path(argument).open("a") as file:
            file.write("ran\n")
        return 1.0

    @staticmethod
    def waits_at_a_gate(argument: tuple[str, str]) -> float:
        """Says through a pipe that it has begun, and waits for another one to be written to."""
        begun, gate = argument
        Path(begun).write_text("!")
        Path(gate).read_text()
        return 1.0

    @staticmethod
    def interrupts_driver(argument: tuple[int, int]) -> float:
        """Sends a signal to a process, usually the driver, then hangs."""
        driver, number = argument
        os.kill(driver, number)
        threading.Event().wait()
        return 1.0


def missing(message: str) -> MissingDataError:
    return MissingDataError(message)


def drive(folder: str, size: int, workers: int) -> int:
    """Run what a store lacks of a graph; the key of every durable record goes to stdout in one write."""

    def acknowledge(event: Event) -> None:
        if event.record is not None and event.record.ok:
            os.write(1, f"{event.job.key}\n".encode())

    store, jobs = Store(folder), graph(size)
    stored = store.ok_keys(one.key for one in jobs)
    opened = [one for one in jobs if one.key not in stored]
    records, interrupted = execute(opened, RUN, store=store, workers=workers, on_event=acknowledge)
    return 130 if interrupted else int(not all(record.ok for record in records.values()))


def drive_one(folder: str, behaviour: str, argument: str, workers: int) -> int:
    """Run one job that does not end; for tests that kill the driver."""
    _, interrupted = execute([job("one", behaviour, argument)], RUN, store=Store(folder), workers=workers)
    return 130 if interrupted else 0


def append_many(folder: str, writer: str, count: int) -> None:
    """One of several processes that write to one store at once."""
    store = Store(folder)
    for number in range(count):
        measured = {"value": Measurement(value=float(number))}
        record = replace(template(f"{writer}-{number}"), status=Status.OK, metrics=measured)
        store.append(record)
        store.append(replace(record, status=Status.FAILED, metrics={}, failure=Failure(type="x", message="y")))
        store.put_artefact("same.bin", b"every writer's bytes")


def main() -> None:
    """What a driver process executes: `DRIVER verb folder ...`; imported, so that workers find `Fake` where it is."""
    signal.alarm(120)  # should a test lose this process, it does not stay
    verb, folder, *rest = sys.argv[1:]
    if verb == "drive":
        sys.exit(drive(folder, int(rest[0]), int(rest[1])))
    elif verb == "one":
        sys.exit(drive_one(folder, rest[0], rest[1], int(rest[2])))
    elif verb == "append":
        append_many(folder, rest[0], int(rest[1]))
