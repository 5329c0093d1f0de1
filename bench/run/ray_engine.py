"""RayEngine: jobs as Ray tasks. Ray decides where and when; its own retries are off.

Tasks die with the driver that sent them. So they are sent by a keeper (`ray_keeper`), a detached actor on the head node that also keeps what has
ended: a driver may die, and the next one over the same store finds all of it. Files and envelopes travel by value.
"""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from select import select
from typing import Any

from retable.bench.errors import BenchError
from retable.bench.record import Status
from retable.bench.run.agent import Answer
from retable.bench.run.desk import Room
from retable.bench.run.ray_keeper import NAMESPACE, Keeper, News, first_line, node_name
from retable.bench.run.remote import Ended, NowhereError, Wants

HEAD = {"node:__internal_head__": 0.001}
"""Ray gives this resource to the head node alone: if that is lost, so is the cluster."""
LONG_POLL = 30.0
"""Seconds that a question for news may stay open."""
CENSUS = 5.0
"""Seconds for which what is known of the nodes holds."""
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
            return [Ended(key=key, reason=f"the keeper of the jobs died ({first_line(error)})") for key in lost]
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
            return Ended(key=one.key, node=answer.node, reason=f"its files went with it ({first_line(error)})")
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
            node["NodeID"] for node in self._nodes if {node_name(node), node["NodeManagerHostname"]} & wants.avoid
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
                # without one Ray writes a token into the home, which a machine may not have
                os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
                ray.init(address="local", object_store_memory=OBJECTS, include_dashboard=False, **quiet)
            else:
                ray.init(address=address or "auto", **quiet)
        except (ConnectionError, exceptions.RaySystemError) as error:
            where = f"at {address}" if address else "here"
            raise BenchError(
                f"there is no Ray cluster {where} ({first_line(error)}): `ray start --head` starts one, "
                "`--address local` one that ends with the run, and one that asks for Ray's token needs RAY_AUTH_MODE=token here too"
            ) from None
    return ray
