"""Pool: persistent local worker processes as the driver sees them: started, given jobs, watched, killed.

A worker keeps the modules that it has imported, so that importing torch is paid once a worker, not once a case.
"""

from __future__ import annotations

import json
import os
import pickle
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from signal import SIGHUP, SIGINT, SIGTERM, Signals
from typing import Any, BinaryIO

from retable.bench.record import Status
from retable.bench.run.desk import Desk, Inputs, Room
from retable.bench.run.job import Job, Reply
from retable.bench.run.numerics import environment
from retable.bench.run.wire import FloodError, Wire
from retable.bench.run.worker import MARK, TRACEBACK_LIMIT, describe, kill_session, storable
from retable.bench.suite import Numerics

GLANCE = 0.1
"""Seconds between two looks at the memory of a worker's own process."""
CENSUS = 1.0
"""Seconds between two looks at the memory of its children, for which all processes of the machine have to be listed."""
LOG_LIMIT = 64 << 20
"""Bytes of what a job prints that are kept, seen at every glance; of more its end is."""
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
ROOT = Path(__file__).parents[3]


class Worker:
    """One worker process; `job` is what it works on."""

    def __init__(self, run: str, plugins: Sequence[str], threads: int, numerics: Numerics, offline: bool) -> None:
        from multiprocessing import Pipe

        self.kind = threads, numerics, offline
        self.job: Job | None = None
        self.visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        self.started = self.glanced = self.counted = 0.0
        self.resident = self.children = 0
        # What a job prints must not mix with the driver's data on stdout; of a worker that dies it is the last trace.
        self.output = tempfile.TemporaryFile()  # noqa: SIM115
        self.connection, theirs = Pipe()
        self.wire, self.mark = Wire(self.connection), secrets.token_hex(16)
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "retable.bench.run.worker", str(theirs.fileno())],
                stdin=subprocess.PIPE,
                stdout=self.output,
                stderr=subprocess.STDOUT,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
                env={**_environment(threads, numerics), MARK: self.mark},
            )
        settings = {"path": sys.path, "run": run, "plugins": [str(plugin) for plugin in plugins], "offline": offline}
        with suppress(OSError):  # it died at once: whoever gives it a job will find out
            self.connection.send_bytes(json.dumps(settings).encode())

    def give(self, job: Job, desk: Desk, log: Path, message: bytes) -> None:
        """Start on a job."""
        self.job, self.desk, self.log, self.started = job, desk, log, time.monotonic()
        self.resident = self.children = 0
        self.glanced = self.counted = self.started
        self.output.seek(0)
        self.output.truncate()
        log.unlink(missing_ok=True)
        self.connection.send_bytes(pickle.dumps((desk, str(log))))
        self.connection.send_bytes(message)

    def check(self) -> Reply | None:
        """The reply to the job if it has ended, by itself or by its limits."""
        assert self.job is not None
        died = self.process.poll() is not None
        try:
            if (answer := self.wire.read()) is not None:
                return self._end(answer)
        except (EOFError, OSError):
            died = True
        except FloodError:
            self.kill()
            return self._stopped(Status.FAILED, "Flood", "wrote more to its driver than any answer has")
        if died:
            return self._death()
        now, limits = time.monotonic(), self.job.limits
        if now - self.started > limits.timeout:
            self.kill()
            return self._stopped(Status.TIMEOUT, "Timeout", f"stopped after its limit of {limits.timeout:g} s")
        if now - self.glanced >= GLANCE and self._measure(now) > limits.memory:
            self.kill()
            message = (
                f"stopped with {_mebibytes(self.resident)} resident, over its limit of {_mebibytes(limits.memory)}"
            )
            return self._stopped(Status.OUT_OF_MEMORY, "MemoryLimit", message)
        return None

    def kill(self) -> None:
        """End the process and all that it started."""
        kill_session(self.process.pid, self.mark)
        self.process.wait()
        if self.process.stdin is not None:
            self.process.stdin.close()
        self.connection.close()

    @property
    def alive(self) -> bool:
        return not self.connection.closed and self.process.poll() is None

    def _measure(self, now: float) -> int:
        """Resident bytes of the worker and its children; when that is over the limit, pages they share count once."""
        import psutil

        assert self.job is not None
        self.glanced = now
        _shorten(self.log)
        try:
            process = psutil.Process(self.process.pid)
            family = [process]
            if now - self.counted >= CENSUS:
                self.counted = now
                family += process.children(recursive=True)
                self.children = sum(map(_resident, family[1:]))
            self.resident = _resident(process) + self.children
            if self.children and self.resident > self.job.limits.memory:
                self.resident = sum(map(_proportional, [process, *process.children(recursive=True)]))
        except psutil.Error:  # it has just ended
            return 0
        return self.resident

    def _death(self) -> Reply:
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(1.0)  # the end of its connection is seen a moment before its exit status
        self.kill()
        code = self.process.returncode
        if code >= 0:
            reason = f"the worker ended itself with exit status {code}"
        else:
            reason = f"the worker was killed by {_signal(-code)}"
            reason += ", as the system does when memory runs out" if _signal(-code) == "SIGKILL" else ""
        told_to_stop = -code in (SIGINT, SIGTERM, SIGHUP)
        return self._stopped(Status.INTERRUPTED if told_to_stop else Status.FAILED, "WorkerDied", reason)

    def _stopped(self, status: Status, kind: str, message: str) -> Reply:
        last_words = _tail(self.output)
        with suppress(OSError), self.log.open("rb") as log:
            last_words += _tail(log)
        failure = {
            "type": kind,
            "message": message,
            "traceback": storable(last_words.decode(errors="replace"), TRACEBACK_LIMIT),
        }
        return self._end({"status": status, "failure": failure})

    def _end(self, outcome: dict[str, Any]) -> Reply:
        assert self.job is not None
        seconds = time.monotonic() - self.started
        reply = Reply.of(self.job, outcome, seconds, self.resident, outbox=Path(self.desk.outbox))
        self.job = None
        _shorten(self.log)
        with suppress(OSError):
            if not self.log.stat().st_size:
                self.log.unlink()
        return reply


class Pool:
    """At most `size` workers; a job gets an idle one with its threads and numerics, or a new one.

    `isolated` gives every job a process of its own.
    """

    first: frozenset[str] = frozenset()

    def __init__(self, run: str, room: Room, *, size: int, plugins: Sequence[str] = (), isolated: bool = False) -> None:
        self._run, self._room, self._size = run, room, size
        self._plugins, self._isolated = plugins, isolated
        self._workers: list[Worker] = []
        self._replies: list[Reply] = []

    @property
    def running(self) -> list[Job]:
        """The jobs that have been started and whose end has not been reported."""
        return [worker.job for worker in self._workers if worker.job is not None] + [
            reply.job for reply in self._replies
        ]

    @property
    def free(self) -> bool:
        return len(self.running) < self._size

    def start(self, job: Job, inputs: Inputs) -> None:
        """Give a job to a worker; there must be a free one."""
        try:
            message = pickle.dumps(job.payload)
        except Exception as error:
            self._replies.append(Reply(job=job, failure=describe(error)[1]))
            return
        worker = self._idle(job.limits.threads, job.numerics, job.offline)
        with suppress(OSError):  # it has died: `wait` reports how
            self._room.logs.mkdir(parents=True, exist_ok=True)
            worker.give(job, self._room.desk(job.key, inputs), self._room.log(job.key), message)

    def wait(self, seconds: float, wake: Any) -> list[Reply]:
        """The jobs that have ended; waits at most `seconds`, and not longer than until `wake` can be read."""
        from multiprocessing.connection import wait

        busy = [worker for worker in self._workers if worker.job is not None]
        if not self._replies:
            wait([wake, *(worker.connection for worker in busy)], min([seconds, *map(_patience, busy)]))
        ended, self._replies = self._replies, []
        for worker in busy:
            reply = worker.check()
            if reply is not None:
                ended.append(reply)
                if self._isolated or not worker.alive:
                    self._retire(worker)
        return ended

    def settled(self, key: str) -> None:
        """The record is durable and its files are taken over."""
        self._room.clear(key)

    def close(self) -> None:
        """Kill all workers, and everything they started."""
        for worker in list(self._workers):
            self._retire(worker)
        self._room.close()

    def _idle(self, *kind: Any) -> Worker:
        idle = [worker for worker in self._workers if worker.job is None]
        for worker in idle:
            if worker.kind == kind and worker.visible == os.environ.get("CUDA_VISIBLE_DEVICES") and worker.alive:
                return worker
        if idle and len(self._workers) >= self._size:
            self._retire(idle[0])
        worker = Worker(self._run, self._plugins, *kind)
        self._workers.append(worker)
        return worker

    def _retire(self, worker: Worker) -> None:
        self._workers.remove(worker)
        if not worker.connection.closed:
            worker.kill()
        worker.output.close()


def _shorten(log: Path) -> None:
    """A job that prints without end must not fill the disk; what it prints meanwhile is added after what is kept."""
    with suppress(OSError):
        if log.stat().st_size > LOG_LIMIT:
            with log.open("rb") as file:
                end = _tail(file)
            os.truncate(log, 0)
            with log.open("ab") as file:
                file.write(b"[...]\n" + end)


def _tail(file: BinaryIO) -> bytes:
    """The end of a file: a job may have printed more than fits into memory."""
    file.seek(max(0, file.seek(0, os.SEEK_END) - TRACEBACK_LIMIT))
    return file.read(TRACEBACK_LIMIT)


def _patience(worker: Worker) -> float:
    """Seconds until a busy worker has to be looked at."""
    assert worker.job is not None
    return max(0.0, min(GLANCE, worker.started + worker.job.limits.timeout - time.monotonic()))


def _environment(threads: int, numerics: Numerics) -> dict[str, str]:
    """The driver's environment with what has to be settled before a library is loaded."""
    fixed = {
        **dict.fromkeys(THREAD_VARIABLES, str(threads)),
        "PYTHONHASHSEED": "0",
        "PYTHONUNBUFFERED": "1",
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
    }
    return {**environment(numerics), **fixed}


def _resident(process: Any) -> int:
    import psutil

    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0


def _proportional(process: Any) -> int:
    """Resident bytes with shared pages divided among those that share them, where the system can tell."""
    import psutil

    try:
        return int(getattr(process.memory_full_info(), "pss", 0)) or _resident(process)
    except psutil.Error:
        return 0


def _mebibytes(size: int) -> str:
    return f"{size / 2**20:,.0f} MiB"


def _signal(number: int) -> str:
    try:
        return Signals(number).name
    except ValueError:
        return f"signal {number}"
