"""Job: what an executor is given, and how one ends: the words that schedule and workers share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from retable.bench.record import Record, Status
from retable.bench.run.desk import Inputs
from retable.bench.suite import Limits, Numerics


@dataclass(frozen=True, kw_only=True)
class Job:
    """One call of the run function: `payload` is its argument, `template` the record that a failure fills in.

    It starts when the jobs whose keys are in `needs` have ended `ok`, and may read the artefacts of `reads`. `sources` are
    the digests of components that are not Retable's own, by (kind, name): another machine has to have the same. `avoid`
    names nodes on which it must not run. `offline` keeps it, and what it starts, from the network.
    """

    key: str
    name: str
    limits: Limits
    template: Record
    payload: Any
    needs: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    numerics: Numerics = "native"
    gpus: int = 0
    sources: Mapping[tuple[str, str], str] = field(default_factory=dict)
    avoid: frozenset[str] = frozenset()
    offline: bool = False


@dataclass(frozen=True, kw_only=True)
class Reply:
    """How a job ended: its record as JSON, or a status with a failure; seconds, and the bytes it was last seen with.

    Its files lie in `outbox`. Of a job that ran elsewhere also the node, what is known of that machine (`environment`),
    and why earlier tries of it were lost.
    """

    job: Job
    record: str | None = None
    status: Status = Status.FAILED
    failure: dict[str, str] | None = None
    seconds: float = 0.0
    resident: int | None = None
    outbox: Path | None = None
    node: str = ""
    environment: Mapping[str, Any] | None = None
    lost: tuple[str, ...] = ()
    created: str = ""

    @classmethod
    def of(
        cls, job: Job, outcome: Mapping[str, Any], seconds: float, resident: int = 0, outbox: Path | None = None
    ) -> Reply:
        """What `attempt` returned, typed; `seconds` where it does not say."""
        return cls(
            job=job,
            outbox=outbox,
            record=outcome.get("record"),
            status=Status(outcome.get("status", Status.FAILED)),
            failure=outcome.get("failure"),
            seconds=outcome.get("seconds", seconds),
            resident=resident or None,
        )


@dataclass(frozen=True, kw_only=True)
class Event:
    """What a progress display is told; a job that could not start because of its needs only ends.

    `waits` says that nothing is left to do here but to wait for a job that another process has taken, `holder` if it is known.
    """

    kind: Literal["started", "ended", "waits"]
    job: Job
    record: Record | None = None
    holder: int | None = None


class Executor(Protocol):
    """Where jobs run: started one by one while there is a free place, waited for together.

    `first` are the keys of jobs that were started before by a driver that is gone: they are waited for, not started again.
    `settled` says that a job's record is durable, so that nothing of it has to be kept any more.
    """

    @property
    def first(self) -> frozenset[str]: ...
    @property
    def running(self) -> list[Job]: ...
    @property
    def free(self) -> bool: ...
    def start(self, job: Job, inputs: Inputs) -> None: ...
    def wait(self, seconds: float, wake: Any) -> list[Reply]: ...
    def settled(self, key: str) -> None: ...
    def close(self) -> None: ...
