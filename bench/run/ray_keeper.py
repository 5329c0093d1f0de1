"""Keeper: Ray's side of a run: the actor that sends the tasks and keeps what has ended, and what a task does on its node."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from textwrap import shorten
from typing import Any

from retable.bench.record import Status
from retable.bench.run.agent import serve
from retable.bench.run.desk import Room

NAMESPACE = "retable"
MOST_HELD = 8
"""Files that the keeper holds although no job waits for them: the next ones mostly need the same."""
MOST_TOLD = 200
"""Characters of an exception of Ray's."""


@dataclass(frozen=True, kw_only=True)
class News:
    """A job that has ended: its answer's text with a reference to its files; or a status or nothing, with the reason.

    Or one that cannot start: its files that are `lacking` have to be held first.
    """

    key: str
    lacking: tuple[str, ...] = ()
    text: str | None = None
    files: tuple[Any, ...] = ()
    status: str | None = None
    reason: str = ""


@dataclass
class _Task:
    answer: Any
    files: Any
    names: tuple[str, ...]
    who: str
    news: News | None = None


@dataclass
class _Queue:
    items: list[News] = field(default_factory=list)
    filled: asyncio.Event = field(default_factory=asyncio.Event)

    def put(self, news: News) -> None:
        self.items.append(news)
        self.filled.set()


class Keeper:
    """An actor: the jobs of all drivers over one store, from when they are sent until they are forgotten."""

    def __init__(self) -> None:
        self._tasks: dict[str, _Task] = {}
        self._held: dict[str, Any] = {}
        self._queues: dict[str, _Queue] = {}

    async def kept(self) -> list[str]:
        return list(self._tasks)

    async def send(self, who: str, key: str, envelope: bytes, options: Mapping[str, Any], names: Sequence[str]) -> None:
        """Start a job, or let `who` wait for the one that is there."""
        if (task := self._tasks.get(key)) is not None:
            task.who = who
            if task.news is not None:
                self._queue(who).put(task.news)
            return
        if lacking := [name for name in names if name not in self._held]:
            self._queue(who).put(News(key=key, lacking=tuple(lacking)))
            return
        contents = [self._held[name] for name in names]
        answer, files = (
            _task().options(max_retries=0, num_returns=2, **options).remote(key, envelope, list(names), *contents)
        )
        self._tasks[key] = _Task(answer, files, tuple(names), who)
        self._watching = asyncio.ensure_future(self._watch(key, self._tasks[key]))

    async def hold(self, files: Mapping[str, bytes]) -> None:
        """Keep files for jobs that will read them."""
        import ray

        self._held.update({name: ray.put(content) for name, content in files.items()})

    async def news(self, who: str, seconds: float) -> list[News]:
        """What has ended since `who` asked last; waits for something."""
        queue = self._queue(who)
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(queue.filled.wait(), seconds)
        queue.filled.clear()
        items, queue.items = queue.items, []
        return items

    async def forget(self, keys: Sequence[str]) -> None:
        for key in keys:
            self._tasks.pop(key, None)
        self._trim()

    async def cancel(self, keys: Sequence[str]) -> None:
        import ray

        for key in keys:
            if (task := self._tasks.pop(key, None)) is not None and task.news is None:
                ray.cancel(task.answer, force=True)

    async def leave(self, who: str) -> int:
        """`who` asks no more; how many jobs there are still."""
        self._queues.pop(who, None)
        return len(self._tasks)

    async def _watch(self, key: str, task: _Task) -> None:
        try:
            task.news = News(key=key, text=await task.answer, files=(task.files,))
        except asyncio.CancelledError:
            raise
        except Exception as error:
            status = _status(error)
            task.news = News(key=key, status=None if status is None else str(status), reason=first_line(error))
        if self._tasks.get(key) is task:
            self._queue(task.who).put(task.news)

    def _queue(self, who: str) -> _Queue:
        return self._queues.setdefault(who, _Queue())

    def _trim(self) -> None:
        wanted = {name for task in self._tasks.values() for name in task.names if task.news is None}
        spare = [name for name in self._held if name not in wanted]
        for name in spare[: max(0, len(spare) - MOST_HELD)]:
            del self._held[name]


def _status(error: Exception) -> Status | None:
    """What an exception says of a job that Ray has ended; None where its node or its process was lost."""
    from ray import exceptions

    if isinstance(error, exceptions.OutOfMemoryError):
        return Status.OUT_OF_MEMORY
    lost = (
        exceptions.WorkerCrashedError,
        exceptions.NodeDiedError,
        exceptions.LocalRayletDiedError,
        exceptions.ObjectLostError,
        exceptions.RaySystemError,
    )
    if isinstance(error, lost):
        return None
    return Status.INTERRUPTED if isinstance(error, exceptions.TaskCancelledError) else Status.FAILED


@cache
def _task() -> Any:
    """Made once: Ray sends every remote function that it is given to all its processes."""
    import ray

    return ray.remote(_serve)


def _serve(key: str, envelope: bytes, names: Sequence[str], *contents: bytes) -> tuple[str, dict[str, bytes]]:
    """The task: lay the inputs ready, run the job, and give back its answer and its files."""
    room = _room()
    room.inbox.mkdir(parents=True, exist_ok=True)
    for old in room.inbox.iterdir():
        if old.name not in names:
            old.unlink(missing_ok=True)
    for name, content in zip(names, contents, strict=True):
        if not (room.inbox / name).exists():
            (room.inbox / name).write_bytes(content)
    answer = serve(envelope, room, node=_here())
    files = {name: (room.outbox(key) / name).read_bytes() for name in answer.files}
    room.clear(key)
    return answer.to_json(), files


@cache
def _room() -> Room:
    """Folders of this process; those of processes that are gone go too."""
    import psutil

    base = Path(tempfile.gettempdir())
    for old in base.glob(f"{NAMESPACE}-{os.getuid()}-*"):
        if not psutil.pid_exists(int(old.name.rpartition("-")[2])):
            shutil.rmtree(old, ignore_errors=True)
    mine = base / f"{NAMESPACE}-{os.getuid()}-{os.getpid()}"
    return Room(inbox=mine / "inbox", outboxes=mine / "outboxes", logs=mine / "logs", away=True)


@cache
def _here() -> str:
    import ray

    context = ray.get_runtime_context()
    return node_name({"NodeManagerHostname": socket.gethostname(), "NodeID": context.get_node_id()})


def node_name(node: Mapping[str, Any]) -> str:
    return f"{node['NodeManagerHostname']}-{node['NodeID'][:8]}"


def first_line(error: BaseException) -> str:
    """Ray tells more than a record needs."""
    lines = str(error).strip().splitlines()
    return shorten(lines[0], MOST_TOLD, placeholder=" ...") if lines else type(error).__name__
