"""Executor: a graph of jobs, run here or in worker processes. The driver alone writes records to the store."""

from __future__ import annotations

import heapq
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

from retable.bench.errors import StoreError
from retable.bench.record import Failure, Record, Status, digest
from retable.bench.run.desk import Inputs, Room
from retable.bench.run.job import Event, Executor, Job, Reply
from retable.bench.run.pool import Pool
from retable.bench.run.worker import attempt
from retable.bench.store.locks import Locks
from retable.bench.store.store import Store

TICK = 0.2
"""Seconds between two looks at jobs that another process is working on."""
PATIENCE = 5.0
"""Seconds of nothing but such looks after which it is told whom the run waits for."""


def execute(
    jobs: Sequence[Job],
    run: str,
    *,
    store: Store,
    workers: int,
    on_event: Callable[[Event], object] = lambda event: None,
    plugins: Sequence[str] = (),
    isolated: bool = False,
    rerun: bool = False,
    elsewhere: Callable[[Room], Executor] | None = None,
) -> tuple[Mapping[str, Record], bool]:
    """Run `run` ("module:function", payload and desk -> Record) on every job; records by key, and whether it was interrupted.

    `workers` is the number of processes; 0 runs the jobs in this process, for debugging: their limits do not hold
    there. `isolated` gives each job a process of its own. `elsewhere` makes an executor that takes their place. Each record
    is durable before `on_event` hears of it. A job whose need failed is not run; its record has the status of the need. A job
    that the store holds as `ok` is not run unless `rerun`; so runs of several processes over one store share their jobs. A
    first SIGINT, SIGTERM or SIGHUP stops the jobs, records them as interrupted and returns; a second one raises
    KeyboardInterrupt.
    """
    room = Room.beside(store.folder)
    pool: Executor
    if elsewhere is not None:
        pool = elsewhere(room)
    elif workers:
        pool = Pool(run, room, size=workers, plugins=plugins, isolated=isolated)
    else:
        pool = Here(run, room)
    locks = Locks(store.folder / "locks")
    try:
        for key in () if rerun else store.ok_keys(pool.first):
            pool.settled(key)  # a driver died between its record and this
        with _Interrupt(pool) as interrupt:
            schedule = _Schedule(jobs, store, locks, pool, on_event, rerun)
            return schedule.run(interrupt), interrupt.requested
    finally:
        pool.close()
        locks.close()


class Here:
    """This process, one job at a time."""

    first: frozenset[str] = frozenset()

    def __init__(self, run: str, room: Room) -> None:
        self._run, self._room = run, room
        self._replies: list[Reply] = []
        self.running: list[Job] = []
        self.inside = False

    @property
    def free(self) -> bool:
        return not self.running

    def start(self, job: Job, inputs: Inputs) -> None:
        """Run the job to its end; KeyboardInterrupt leaves it among the running ones."""
        self.running = [job]
        desk = self._room.desk(job.key, inputs)
        started = time.perf_counter()
        with redirect_stdout(sys.stderr):  # stdout is for the command's data
            self.inside = True
            try:
                outcome = attempt(self._run, lambda: job.payload, desk)
            finally:
                self.inside = False
        seconds = time.perf_counter() - started
        self._replies.append(Reply.of(job, outcome, seconds, outbox=Path(desk.outbox)))

    def wait(self, seconds: float, wake: Any) -> list[Reply]:
        """The job that has ended; without one, waits like a pool does."""
        if not self._replies:
            from select import select

            select([wake], [], [], seconds)
            return []
        replies, self._replies, self.running = self._replies, [], []
        return replies

    def settled(self, key: str) -> None:
        """The record is durable and its files are taken over."""
        self._room.clear(key)

    def close(self) -> None:
        """Let go of the desks."""
        self._room.close()


class Stored(Mapping[str, Record]):
    """The records of what has ended, by key; they are read from the store when they are asked for, so that none is held."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._ended: dict[str, bool] = {}

    def add(self, job: Job, record: Record) -> None:
        self._ended[job.key] = record.ok

    def __getitem__(self, key: str) -> Record:
        record = self._store.get(key) if self._ended[key] else self._store.last(key)
        if record is None:
            raise KeyError(key)
        return record

    def __contains__(self, key: object) -> bool:
        return key in self._ended

    def __iter__(self) -> Iterator[str]:
        return iter(self._ended)

    def __len__(self) -> int:
        return len(self._ended)


class _Schedule:
    """Which job may start, what has ended, and what that means for those that wait."""

    def __init__(
        self,
        jobs: Sequence[Job],
        store: Store,
        locks: Locks,
        pool: Executor,
        on_event: Callable[[Event], object],
        rerun: bool,
    ) -> None:
        self._jobs = {job.key: job for job in jobs}
        ordered = sorted(self._jobs, key=lambda key: key not in pool.first)
        self._order = {key: number for number, key in enumerate(ordered)}
        self._by_order = [self._jobs[key] for key in ordered]
        self._store, self._locks, self._pool, self._on_event, self._rerun = store, locks, pool, on_event, rerun
        self._records = Stored(store)
        self._machines: set[str] = set()
        self._elsewhere: list[Job] = []
        self._idle_since: float | None = None
        self._told: set[int | None] = set()
        needed = {need for job in self._jobs.values() for need in job.needs if need not in self._jobs}
        if unknown := needed - store.ok_keys(needed):
            raise ValueError(f"jobs need {min(unknown)!r}, which is neither among them nor in the store")
        self._unmet = {key: {need for need in job.needs if need in self._jobs} for key, job in self._jobs.items()}
        self._waiting_for: dict[str, list[str]] = {key: [] for key in self._jobs}
        for key, needs in self._unmet.items():
            for need in needs:
                self._waiting_for[need].append(key)
        self._ready = [self._order[key] for key, needs in self._unmet.items() if not needs]

    def run(self, interrupt: _Interrupt) -> Stored:
        try:
            while len(self._records) < len(self._jobs) and not interrupt.requested:
                self._retry_elsewhere()
                while self._ready and self._pool.free and not interrupt.requested:
                    self._start(self._by_order[heapq.heappop(self._ready)])
                if not (self._pool.running or self._ready or self._elsewhere) and len(self._records) < len(self._jobs):
                    raise ValueError("jobs need each other in a circle")
                self._tell_of_waiting()
                if self._pool.running or self._elsewhere:
                    for reply in self._pool.wait(TICK, interrupt):
                        self._collect(reply)
        except KeyboardInterrupt:
            if interrupt.signals > 1 or not interrupt.requested:
                raise
        if interrupt.requested:
            self._interrupt(interrupt)
        return self._records

    def _start(self, job: Job) -> None:
        if not self._locks.take(job.key):
            self._elsewhere.append(job)
        elif not self._rerun and (record := self._stored(job.key)):
            self._settle(job, record)
        else:
            self._on_event(Event(kind="started", job=job))
            self._pool.start(job, self._inputs(job))

    def _inputs(self, job: Job) -> Inputs:
        records = {key: self._store.get(key) for key in job.reads}
        return {key: record.artefacts for key, record in records.items() if record is not None}

    def _tell_of_waiting(self) -> None:
        """Of each process that holds a job which this run waits for, once: it may be stopped."""
        if self._pool.running or not self._elsewhere:
            self._idle_since = None
            return
        self._idle_since = self._idle_since or time.monotonic()
        if time.monotonic() - self._idle_since < PATIENCE:
            return
        for job in self._elsewhere:
            if (holder := self._locks.holder(job.key)) not in self._told:
                self._told.add(holder)
                self._on_event(Event(kind="waits", job=job, holder=holder))

    def _retry_elsewhere(self) -> None:
        for job in self._elsewhere:
            heapq.heappush(self._ready, self._order[job.key])
        self._elsewhere = []

    def _stored(self, key: str) -> Record | None:
        return self._store.get(key) if self._store.ok_keys([key]) else None

    def _collect(self, reply: Reply) -> None:
        """Take over the files of a job that has ended, then make its record durable, then let go of what was kept of it."""
        record = _record(reply)
        try:
            if reply.outbox is not None:
                for artefact in record.artefacts.values():
                    self._store.artefacts.adopt(artefact, reply.outbox)
        except StoreError as error:
            failure = Failure(type="StoreError", message=str(error))
            record = _failed(reply.job, Status.FAILED, failure, {"wall": reply.seconds})
        if reply.node or reply.lost:
            record = self._placed(record, reply)
        if not (reply.node and self._known(record)):
            self._store.append(record)
        self._pool.settled(reply.job.key)
        self._settle(reply.job, record)

    def _known(self, record: Record) -> bool:
        """A driver that was killed right after it had written a record is given the same answer again when it comes back."""
        last = self._store.last(record.key)
        return last is not None and replace(last, lost=()).to_json() == replace(record, lost=()).to_json()

    def _placed(self, record: Record, reply: Reply) -> Record:
        """The record with the machine that made it in the place of the driver's."""
        environment = record.environment
        if reply.environment is not None:
            environment = digest(reply.environment)
            if environment not in self._machines:
                self._store.save_environment(reply.environment)
                self._machines.add(environment)
        return replace(record, environment=environment, node=reply.node, lost=reply.lost)

    def _finish(self, job: Job, record: Record) -> None:
        self._store.append(record)
        self._settle(job, record)

    def _settle(self, job: Job, record: Record) -> None:
        """A record is stored: tell of it, and let those who waited for it start or fail."""
        self._locks.release(job.key)
        self._records.add(job, record)
        self._on_event(Event(kind="ended", job=job, record=record))
        del self._unmet[job.key]  # so that what is held shrinks by a job as the records grow by one
        for key in self._waiting_for.pop(job.key):
            if key in self._records:
                continue
            if not record.ok:
                self._finish(self._jobs[key], _blocked(self._jobs[key], job, record))
                continue
            self._unmet[key].discard(job.key)
            if not self._unmet[key]:
                heapq.heappush(self._ready, self._order[key])

    def _interrupt(self, interrupt: _Interrupt) -> None:
        """Keep what has just ended, stop what runs, and leave a record that says so."""
        for reply in self._pool.wait(0.0, interrupt):
            self._collect(reply)
        stopped = self._pool.running
        self._pool.close()
        for job in stopped:
            failure = Failure(type="Interrupted", message="the run was interrupted before this stage had ended")
            record = _failed(job, Status.INTERRUPTED, failure, {})
            self._store.append(record)
            self._records.add(job, record)
            self._on_event(Event(kind="ended", job=job, record=record))


class _Interrupt:
    """SIGINT, SIGTERM and SIGHUP as a request to stop, which also ends a wait: `fileno` becomes readable.

    A job that runs in this very process is stopped by KeyboardInterrupt; so is everything, the second time.
    """

    def __init__(self, pool: Executor) -> None:
        self._pool = pool
        self.signals = 0

    @property
    def requested(self) -> bool:
        return self.signals > 0

    def fileno(self) -> int:
        return self._reader

    def __enter__(self) -> _Interrupt:
        from threading import current_thread, main_thread

        self._reader, self._writer = os.pipe()
        self._before: dict[int, Any] = {}
        if current_thread() is main_thread():
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                if signal.getsignal(number) == signal.SIG_IGN:  # nohup
                    continue
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        os.close(self._reader)
        os.close(self._writer)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.signals += 1
        os.write(self._writer, b"!")
        if self.signals > 1 or (isinstance(self._pool, Here) and self._pool.inside):
            raise KeyboardInterrupt


def _record(reply: Reply) -> Record:
    """The record of a job that has ended, checked; or one that tells of its failure."""
    job = reply.job
    if reply.record is not None:
        record = Record.from_json(reply.record)
        if record.key == job.key:
            return record
        failure = Failure(type="WrongRecord", message=f"the run function returned a record of key {record.key!r}")
        return _failed(job, Status.FAILED, failure, {"wall": reply.seconds})
    assert reply.failure is not None
    failure = Failure(**reply.failure)
    if reply.node and reply.status is Status.MISSING:  # an obstacle of that machine, which others may not have
        failure = replace(failure, message=f"on node {reply.node}: {failure.message}")
    seen = reply.resident if reply.status is Status.OUT_OF_MEMORY else None
    return replace(
        _failed(job, reply.status, failure, {"wall": reply.seconds}, reply.created),
        memory={} if seen is None else {"resident_when_stopped": seen},
    )


def _blocked(job: Job, need: Job, record: Record) -> Record:
    """A job that could not start ends as its need did: what is missing for the fit is missing for the evaluation."""
    message = record.failure.message if record.failure else "no reason given"
    if record.failure is None or record.failure.type != "Blocked":  # along a chain, the first reason is the one to read
        message = f"needs {need.name} ({record.status}): {message}"
    return _failed(job, record.status, Failure(type="Blocked", message=message), {})


def _failed(job: Job, status: Status, failure: Failure, timings: dict[str, float], created: str = "") -> Record:
    created = created or time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return replace(job.template, key=job.key, status=status, failure=failure, timings=timings, created=created)
