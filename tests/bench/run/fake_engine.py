"""A cluster in this process: nodes that can be lost, refuse a job or damage its files, and that outlive a driver."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import cycle
from pathlib import Path
from typing import Any
from unittest.mock import patch

from retable.bench.run import agent
from retable.bench.run.agent import Answer
from retable.bench.run.desk import Room
from retable.bench.run.executor import Here
from retable.bench.run.identity import Identity, identity
from retable.bench.run.job import Executor
from retable.bench.run.remote import Ended, NowhereError, Remote, Wants


def here(run: str, room: Room, *, size: int, plugins: Sequence[str]) -> Here:
    """In the place of an agent's worker process."""
    return Here(run, room)


@dataclass
class FakeCluster:
    """`lose` names nodes at which every job is lost, `ends` a status with which the engine ends a job by its key.

    `severed` says that the driver was killed: nothing that it still says arrives.
    """

    folder: Path
    nodes: dict[str, Identity] = field(default_factory=lambda: {"a": identity(), "b": identity()})
    lose: set[str] = field(default_factory=set)
    ends: dict[str, Ended] = field(default_factory=dict)
    spoil: Callable[[Path], None] = lambda outbox: None
    severed: bool = False
    sent: Counter[str] = field(default_factory=Counter)
    ran: Counter[str] = field(default_factory=Counter)
    most: int = 0
    jobs: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    answers: dict[str, Answer] = field(default_factory=dict)
    wants: list[Wants] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.turn = cycle(list(self.nodes))
        self.room = Room(
            inbox=self.folder / "inbox", outboxes=self.folder / "outboxes", logs=self.folder / "logs", away=True
        )

    def executor(self, run: str, **options: Any) -> Callable[[Room], Executor]:
        """What `execute` takes."""
        return lambda room: Remote(FakeEngine(self), run, room, **{"most": 4, **options})

    def work(self, key: str) -> None:
        """Run one job to its end."""
        node, envelope = self.jobs[key]
        self.ran[key] += 1
        with patch.object(agent, "identity", lambda: self.nodes[node]), patch.object(agent, "Pool", here):
            self.answers[key] = agent.serve(envelope, self.room, node=node)
        self.spoil(self.room.outbox(key))


class FakeEngine:
    name = "fake"

    def __init__(self, cluster: FakeCluster) -> None:
        self._cluster = cluster
        self._mine: list[str] = []
        self._closed = False

    def kept(self) -> frozenset[str]:
        return frozenset(self._cluster.jobs)

    def send(self, key: str, envelope: bytes, wants: Wants, files: Mapping[str, Path]) -> None:
        cluster = self._cluster
        self._mine.append(key)
        cluster.most = max(cluster.most, len(self._mine))
        if key in cluster.jobs:
            return
        cluster.wants.append(wants)
        for name, path in files.items():
            cluster.room.inbox.mkdir(parents=True, exist_ok=True)
            (cluster.room.inbox / name).write_bytes(path.read_bytes())
        free = [node for node in cluster.nodes if node not in wants.avoid]
        if not free:
            raise NowhereError(f"none of the {len(cluster.nodes)} nodes may take it")
        node = next(node for node in cluster.turn if node in free)
        cluster.sent[key] += 1
        cluster.jobs[key] = node, envelope

    def wait(self, seconds: float, wake: Any) -> list[Ended]:
        if not self._mine:
            return []
        key = self._mine.pop(0)
        if (ended := self._cluster.ends.get(key)) is not None:
            return [replace(ended, key=key)]
        node, _ = self._cluster.jobs[key]
        if node in self._cluster.lose:
            return [Ended(key=key, node=node, reason="it went dark")]
        if key not in self._cluster.answers:
            self._cluster.work(key)
        answer = Answer.from_json(self._cluster.answers[key].to_json())
        return [Ended(key=key, answer=answer, outbox=self._cluster.room.outbox(key), node=node)]

    def forget(self, key: str) -> None:
        if not self._cluster.severed:
            self._cluster.jobs.pop(key, None)
            self._cluster.answers.pop(key, None)

    def cancel(self, keys: Sequence[str]) -> None:
        for key in keys:
            self.forget(key)

    def close(self) -> None:
        assert not self._closed, "what an engine holds can be let go of once"
        self._closed = True
