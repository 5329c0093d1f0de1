"""Agent: the other side of a distributed run. It is what an engine calls on a node, with an envelope and two folders.

It checks that this machine is the driver's equal, and runs the job in a worker process, as a run on one machine does: the same
pinned threads and numerics, the same limits. An answer is plain JSON; files stay in the outbox for the engine to carry.
"""

from __future__ import annotations

import json
import os
import pickle
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from retable.bench.record import Status
from retable.bench.run.desk import Inputs, Room
from retable.bench.run.identity import Identity, difference, identity
from retable.bench.run.job import Job, Reply
from retable.bench.run.pool import Pool
from retable.bench.run.worker import storable

LOG_LIMIT = 200_000
"""Characters of what a job printed that travel with its answer; the middle of a longer log is left out."""


@dataclass(frozen=True, kw_only=True)
class Envelope:
    """What a node is sent: the pickled job with its inputs, and what has to hold before it is opened."""

    run: str
    plugins: tuple[str, ...]
    driver: Identity
    letter: bytes

    @classmethod
    def seal(cls, job: Job, inputs: Inputs, *, run: str, plugins: tuple[str, ...]) -> bytes:
        """As bytes. Raises whatever pickle does of a payload that cannot be sent."""
        letter = pickle.dumps((job, {key: dict(files) for key, files in inputs.items()}))
        return pickle.dumps(cls(run=run, plugins=plugins, driver=identity(), letter=letter))


@dataclass(frozen=True, kw_only=True)
class Answer:
    """How a job ended on a node. `refused` says why the node must not run it; then there is nothing else."""

    node: str
    refused: str = ""
    outcome: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    files: tuple[str, ...] = ()
    printed: str = ""

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Answer:
        raw = json.loads(text)
        return cls(**{**raw, "files": tuple(raw["files"])})

    def reply(self, job: Job, outbox: Path, lost: tuple[str, ...]) -> Reply:
        """The same as an executor tells it."""
        return Reply(
            job=job,
            record=self.outcome["record"],
            status=Status(self.outcome["status"]),
            failure=self.outcome["failure"],
            seconds=self.outcome["seconds"],
            resident=self.outcome["resident"],
            created=self.outcome["created"],
            outbox=outbox,
            node=self.node,
            environment=self.environment or None,
            lost=lost,
        )


def serve(envelope: bytes, room: Room, *, node: str) -> Answer:
    """Run the job of an envelope here; its files are in `room.outbox` of its key until the next one is served."""
    sealed: Envelope = pickle.loads(envelope)
    if why := difference(sealed.driver, identity()):
        return Answer(node=node, refused=why)
    job, inputs = pickle.loads(sealed.letter)
    try:
        why = _foreign(sealed.plugins, job)
    except Exception as error:  # a plug-in that is not here, or is broken here
        why = str(error)
    if why:
        return Answer(node=node, refused=why)
    return _answer(_run(_pool(sealed.run, room, sealed.plugins), job, inputs), room, node)


def _run(pool: Pool, job: Job, inputs: Inputs) -> Reply:
    reading, writing = os.pipe()  # nobody writes: there is nothing but the job to wake up for
    try:
        pool.start(job, inputs)
        while True:
            for reply in pool.wait(60.0, reading):
                return reply
    finally:
        os.close(reading)
        os.close(writing)


def _answer(reply: Reply, room: Room, node: str) -> Answer:
    outcome = {
        "record": reply.record,
        "status": str(reply.status),
        "failure": reply.failure,
        "seconds": reply.seconds,
        "resident": reply.resident,
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    files = json.loads(reply.record)["artefacts"].values() if reply.record is not None else ()
    printed = ""
    with suppress(OSError):
        printed = room.log(reply.job.key).read_text(errors="replace")
    return Answer(
        node=node,
        outcome=outcome,
        environment=_machine(node, reply.job),
        files=tuple(dict.fromkeys(file["path"] for file in files)),
        printed=storable(printed, LOG_LIMIT),
    )


@cache
def _pool(run: str, room: Room, plugins: tuple[str, ...]) -> Pool:
    """One worker process, kept from job to job as an engine keeps the process that calls this."""
    return Pool(run, room, size=1, plugins=plugins)


def _machine(node: str, job: Job) -> dict[str, Any]:
    from retable.bench.probes import environment
    from retable.bench.run import numerics

    facts = {**environment(), "threads": job.limits.threads, "numerics": numerics.facts(job.numerics)}
    return {**facts, "node": node}


@cache
def _loaded(plugin: str) -> None:
    from retable.bench.plugins import load_plugin

    load_plugin(plugin)


def _foreign(plugins: tuple[str, ...], job: Job) -> str:
    """Which component of the job has other sources here; its key would lie. Empty where all are the driver's."""
    from retable.bench import registry
    from retable.bench.store.sources import source_digest

    if not job.sources:
        return ""
    for plugin in plugins:
        _loaded(plugin)
    for (kind, name), digest in job.sources.items():
        if source_digest(registry.resolve(kind, name).__module__) != digest:  # type: ignore[arg-type]
            return f"{kind} {name!r} has other sources there than on the driver's machine: copy them"
    return ""
