"""Remote: an executor whose jobs run on other machines. An engine carries them; here is what is the same for all engines.

Engines place, start and watch jobs, and are told not to repeat any: a job whose node was lost is sent again from here, a stated
number of times, and the record says so. What ran out of memory or time, or failed by itself, is not sent again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from retable.bench.errors import BenchError
from retable.bench.record import Artefact, Status
from retable.bench.run.agent import Answer, Envelope
from retable.bench.run.desk import Inputs, Room
from retable.bench.run.job import Job, Reply
from retable.bench.run.worker import describe

TRIES = 3
"""How often a job is sent in all before its lost nodes, or nodes that refuse it, make it a failure."""


class NowhereError(BenchError):
    """No machine of the cluster can take a job; the message says what it needs."""


@dataclass(frozen=True, kw_only=True)
class Wants:
    """What a job asks an engine for: whole processors and GPUs, bytes, seconds, and which nodes it must not get."""

    cpus: int
    gpus: int
    memory: int
    seconds: float
    avoid: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Ended:
    """What an engine tells of a job: its answer, with the folder of its files; or why there is none.

    Without an answer and with a status the engine itself has ended the job (its limits); without either the job was lost.
    """

    key: str
    answer: Answer | None = None
    outbox: Path | None = None
    status: Status | None = None
    node: str = ""
    reason: str = ""


class Engine(Protocol):
    """What carries envelopes to nodes. It keeps what has ended until `forget`, also from one driver to the next."""

    name: str

    def kept(self) -> frozenset[str]:
        """The keys of jobs that earlier drivers sent and that run still, or ended unseen."""

    def send(self, key: str, envelope: bytes, wants: Wants, files: Mapping[str, Path]) -> None:
        """Start a job; one that is kept is waited for instead. Raises NowhereError where no node can ever take it."""

    def wait(self, seconds: float, wake: Any) -> list[Ended]:
        """What has ended of what this driver sent; as soon as there is something, or `wake` can be read."""

    def forget(self, key: str) -> None:
        """Nothing of a job that has ended has to be kept."""

    def cancel(self, keys: Sequence[str]) -> None:
        """Stop jobs and forget them."""

    def close(self) -> None:
        """Let go; what runs goes on, and is kept."""


@dataclass
class _Sent:
    job: Job
    inputs: Inputs
    lost: list[str] = field(default_factory=list)
    avoid: set[str] = field(default_factory=set)


class Remote:
    """Jobs on an engine, at most `most` at once."""

    def __init__(
        self, engine: Engine, run: str, room: Room, *, most: int, plugins: Sequence[str] = (), tries: int = TRIES
    ) -> None:
        self._engine, self._run, self._room = engine, run, room
        self._most, self._tries, self._plugins = most, tries, tuple(plugins)
        self._sent: dict[str, _Sent] = {}
        self._replies: list[Reply] = []
        self._closed = False
        self.first = engine.kept()

    @property
    def running(self) -> list[Job]:
        """The jobs that have been sent and whose end has not been reported."""
        return [sent.job for sent in self._sent.values()]

    @property
    def free(self) -> bool:
        return len(self._sent) < self._most

    def start(self, job: Job, inputs: Inputs) -> None:
        """Send a job; there must be a free place."""
        self._sent[job.key] = _Sent(job, inputs, avoid=set(job.avoid))
        self._send(job.key)

    def wait(self, seconds: float, wake: Any) -> list[Reply]:
        """The jobs that have ended; waits at most `seconds`, and not longer than until `wake` can be read."""
        if not self._replies:
            for ended in self._engine.wait(seconds, wake):
                if ended.key in self._sent:
                    self._end(ended)
        replies, self._replies = self._replies, []
        for reply in replies:
            del self._sent[reply.job.key]
        return replies

    def settled(self, key: str) -> None:
        """The record is durable and its files are taken over."""
        self._engine.forget(key)
        self._room.clear(key)

    def close(self) -> None:
        """Stop what this driver has sent; an engine is let go of once, however often this is called."""
        if self._closed:
            return
        self._closed = True
        self._engine.cancel(list(self._sent))
        self._sent.clear()
        self._engine.close()
        self._room.close()

    def _send(self, key: str) -> None:
        sent = self._sent[key]
        limits = sent.job.limits
        wants = Wants(
            cpus=limits.threads,
            gpus=sent.job.gpus,
            memory=limits.memory,
            seconds=limits.timeout,
            avoid=frozenset(sent.avoid),
        )
        try:
            envelope = Envelope.seal(sent.job, sent.inputs, run=self._run, plugins=self._plugins)
            self._engine.send(key, envelope, wants, self._files(sent.inputs))
        except NowhereError as error:
            why = "; ".join([str(error), *sent.lost])
            self._fail(sent, Status.MISSING, "Nowhere", why)
        except Exception as error:
            status, failure = describe(error)
            self._replies.append(Reply(job=sent.job, status=status, failure=failure, lost=tuple(sent.lost)))

    def _files(self, inputs: Inputs) -> dict[str, Path]:
        """The paths of all inputs, by the names under which they lie in an inbox."""
        artefacts: list[Artefact] = [artefact for files in inputs.values() for artefact in files.values()]
        return {artefact.path: self._room.inbox / artefact.path for artefact in artefacts}

    def _end(self, ended: Ended) -> None:
        sent = self._sent[ended.key]
        if ended.answer is not None and not ended.answer.refused:
            self._keep_log(ended.key, ended.answer.printed)
            outbox = ended.outbox if ended.outbox is not None else self._room.outbox(ended.key)
            self._replies.append(ended.answer.reply(sent.job, outbox, tuple(sent.lost)))
        elif ended.status is not None:
            self._fail(sent, ended.status, self._engine.name, ended.reason, ended.node)
        else:
            self._again(sent, ended)

    def _again(self, sent: _Sent, ended: Ended) -> None:
        """Send a job once more whose node was lost or refused it; a node that refuses does not get it again."""
        if ended.answer is not None:
            sent.lost.append(f"node {ended.answer.node} was refused: {ended.answer.refused}")
            sent.avoid.add(ended.answer.node)
        else:
            sent.lost.append(f"{f'node {ended.node}' if ended.node else 'its node'} was lost: {ended.reason}")
        self._engine.forget(ended.key)
        if len(sent.lost) < self._tries:
            self._send(ended.key)
        else:
            status = Status.FAILED if ended.answer is None else Status.MISSING
            self._fail(sent, status, "Lost", f"sent {self._tries} times; {'; '.join(sent.lost)}")

    def _fail(self, sent: _Sent, status: Status, kind: str, message: str, node: str = "") -> None:
        failure = {"type": kind, "message": message}
        self._replies.append(Reply(job=sent.job, status=status, failure=failure, node=node, lost=tuple(sent.lost)))

    def _keep_log(self, key: str, printed: str) -> None:
        with suppress(OSError):
            if printed:
                self._room.logs.mkdir(parents=True, exist_ok=True)
                self._room.log(key).write_text(printed)
