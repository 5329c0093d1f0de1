"""RayEngine: jobs as Ray tasks. Ray decides where and when; its own retries are off.

Tasks die with the driver that sent them. So they are sent by a keeper, a detached actor on the head node that also keeps what has
ended: a driver may die, and the next one over the same store finds all of it. Files and envelopes travel by value.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import socket
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from pathlib import Path
from select import select
from textwrap import shorten
from typing import Any

from retable.bench.errors import BenchError
from retable.bench.record import Status
from retable.bench.run.agent import Answer, serve
from retable.bench.run.desk import Room
from retable.bench.run.remote import Ended, NowhereError, Wants

NAMESPACE = "retable"
HEAD = {"node:__internal_head__": 0.001}
"""Ray gives this resource to the head node alone: if that is lost, so is the cluster."""
LONG_POLL = 30.0
"""Seconds that a question for news may stay open."""
MOST_HELD = 8
"""Files that the keeper holds although no job waits for them: the next ones mostly need the same."""
CENSUS = 5.0
"""Seconds for which what is known of the nodes holds."""
MOST_TOLD = 200
"""Characters of an exception of Ray's."""
OBJECTS = 256 << 20
"""Bytes of a cluster that is started here; Ray would take a third of the memory."""


class RayEngine:
    """`address` is that of a cluster, empty for the one that Ray finds, or `local` to start one that ends with this process.

    `lasting` jobs outlive the driver; `store` gives the name under which the next driver finds them.
    """

    name = "ray"

    def __init__(self, store: Path, room: Room, *, address: str = "", lasting: bool = True) -> None:
        self._ray = _connect(address)
        self._room, self._lasting = room, lasting and address != "local"
        self._who = secrets.token_hex(8)
        self._title = f"keeper-{sha256(f'{socket.gethostname()}:{store.resolve()}'.encode()).hexdigest()[:16]}"
        self._mine: dict[str, _Parcel] = {}
        self._asked: Any = None
        self._reader, self._writer = os.pipe()
        self._seen = 0.0
        self._nodes: list[dict[str, Any]] = []
        self._keeper = self._find_keeper()

    def kept(self) -> frozenset[str]:
        """The keys of jobs that earlier drivers sent and that run still, or ended unseen."""
        return frozenset(self._ray.get(self._keeper.kept.remote()))

    def send(self, key: str, envelope: bytes, wants: Wants, files: Mapping[str, Path]) -> None:
        """Start a job; one that is kept is waited for instead. Raises NowhereError where no node can ever take it."""
        self._mine[key] = _Parcel(envelope, self._options(wants), dict(files))
        self._send(key)

    def wait(self, seconds: float, wake: Any) -> list[Ended]:
        """What has ended of what this driver sent; as soon as there is something, or `wake` can be read."""
        if self._asked is None:
            self._ask()
        readable, _, _ = select([wake, self._reader], [], [], seconds)
        if self._reader not in readable:
            return []
        os.read(self._reader, 1)
        asked, self._asked = self._asked, None
        try:
            news = self._ray.get(asked)
        except self._ray.exceptions.RayActorError as error:
            lost, self._mine = self._mine, {}
            self._keeper = self._find_keeper()  # a new one, which knows of nothing
            return [Ended(key=key, reason=f"the keeper of the jobs died ({_first_line(error)})") for key in lost]
        mine = {one.key: one for one in news if one.key in self._mine}
        for one in mine.values():
            if one.lacking:
                files = self._mine[one.key].files
                self._keeper.hold.remote({name: files[name].read_bytes() for name in one.lacking})
                self._send(one.key)
        ended = [one for one in mine.values() if not one.lacking]
        for one in ended:
            del self._mine[one.key]
        return [self._ended(one) for one in ended]

    def forget(self, key: str) -> None:
        """Nothing of a job that has ended has to be kept."""
        self._keeper.forget.remote([key])

    def cancel(self, keys: Sequence[str]) -> None:
        """Stop jobs and forget them."""
        with suppress(self._ray.exceptions.RayError):
            self._ray.get(self._keeper.cancel.remote(list(keys)))

    def close(self) -> None:
        """Let go; what runs goes on, and is kept."""
        with suppress(self._ray.exceptions.RayError):
            if not self._ray.get(self._keeper.leave.remote(self._who)):
                self._ray.kill(self._keeper)
        self._asked = None
        os.close(self._reader)
        os.close(self._writer)

    def _send(self, key: str) -> None:
        """Nobody waits for it: what the keeper has to say comes as news. Calls of one driver arrive in their order."""
        parcel = self._mine[key]
        self._keeper.send.remote(self._who, key, parcel.envelope, parcel.options, list(parcel.files))

    def _ask(self) -> None:
        self._asked = self._keeper.news.remote(self._who, LONG_POLL)
        writer = self._writer

        def tell(_: Any) -> None:
            with suppress(OSError):  # the run is over
                os.write(writer, b"!")

        self._asked.future().add_done_callback(tell)

    def _ended(self, one: News) -> Ended:
        if one.text is None:
            return Ended(key=one.key, status=None if one.status is None else Status(one.status), reason=one.reason)
        answer = Answer.from_json(one.text)
        outbox = self._room.outbox(one.key)
        try:
            contents = self._ray.get(one.files[0]) if answer.files else {}
        except self._ray.exceptions.RayError as error:
            return Ended(key=one.key, node=answer.node, reason=f"its files went with it ({_first_line(error)})")
        for name, content in contents.items():
            outbox.mkdir(parents=True, exist_ok=True)
            (outbox / Path(name).name).write_bytes(content)
        return Ended(key=one.key, answer=answer, outbox=outbox, node=answer.node)

    def _options(self, wants: Wants) -> dict[str, Any]:
        """What Ray is asked for. Raises NowhereError: Ray itself would wait for ever."""
        if time.monotonic() - self._seen > CENSUS:
            self._nodes, self._seen = [node for node in self._ray.nodes() if node["Alive"]], time.monotonic()
        asked = {"CPU": wants.cpus, "GPU": wants.gpus, "memory": wants.memory}
        avoided = [
            node["NodeID"] for node in self._nodes if {_node_name(node), node["NodeManagerHostname"]} & wants.avoid
        ]
        fitting = [
            node
            for node in self._nodes
            if node["NodeID"] not in avoided
            and all(node["Resources"].get(name, 0) >= amount for name, amount in asked.items())
        ]
        if not fitting:
            other = f" besides {', '.join(sorted(wants.avoid))}" if wants.avoid else ""
            raise NowhereError(
                f"none of the {len(self._nodes)} nodes of the cluster{other} has {wants.cpus} CPUs, {wants.gpus} GPUs and "
                f"{wants.memory / 1e9:.3g} GB of memory"
            )
        options: dict[str, Any] = {"num_cpus": wants.cpus, "num_gpus": wants.gpus, "memory": wants.memory}
        if avoided:
            options["label_selector"] = {"ray.io/node-id": f"!in({', '.join(avoided)})"}
        return options

    def _find_keeper(self) -> Any:
        actor = self._ray.remote(Keeper).options(
            name=self._title if self._lasting else f"{self._title}-{self._who}",
            namespace=NAMESPACE,
            lifetime="detached" if self._lasting else None,
            get_if_exists=True,
            num_cpus=0,
            resources=HEAD,
            max_restarts=0,
            max_task_retries=0,
            max_concurrency=10_000,
        )
        return actor.remote()


@dataclass(frozen=True)
class _Parcel:
    envelope: bytes
    options: Mapping[str, Any]
    files: Mapping[str, Path]


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
            task.news = News(key=key, status=None if status is None else str(status), reason=_first_line(error))
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
    return _node_name({"NodeManagerHostname": socket.gethostname(), "NodeID": context.get_node_id()})


def _node_name(node: Mapping[str, Any]) -> str:
    return f"{node['NodeManagerHostname']}-{node['NodeID'][:8]}"


def _connect(address: str) -> Any:
    try:
        import ray
        from ray import exceptions
    except ImportError as error:
        raise BenchError(f'Ray is not installed ({error}): pip install "retable[ray]"') from None
    except KeyError as error:  # amdsmi on a machine without AMD's driver
        raise BenchError(f"Ray cannot be imported beside the package amdsmi ({error}): pip uninstall amdsmi") from None
    quiet: dict[str, Any] = {"namespace": NAMESPACE, "log_to_driver": False, "logging_level": "warning"}
    if not ray.is_initialized():
        try:
            if address == "local":
                ray.init(address="local", object_store_memory=OBJECTS, include_dashboard=False, **quiet)
            else:
                ray.init(address=address or "auto", **quiet)
        except (ConnectionError, exceptions.RaySystemError) as error:
            where = f"at {address}" if address else "here"
            raise BenchError(
                f"there is no Ray cluster {where} ({_first_line(error)}): `ray start --head` starts one, "
                "`--address local` one that ends with the run"
            ) from None
    return ray


def _first_line(error: BaseException) -> str:
    """Ray tells more than a record needs."""
    lines = str(error).strip().splitlines()
    return shorten(lines[0], MOST_TOLD, placeholder=" ...") if lines else type(error).__name__
