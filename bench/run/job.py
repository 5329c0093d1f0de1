"""Job: what an executor is given, and how one ends: the words that schedule and workers share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol

from retable.bench.record import Record, Status
from retable.bench.suite import Limits, Numerics


@dataclass(frozen=True, kw_only=True)
class Job:
    """One call of the run function: `payload` is its argument, `template` the record that a failure fills in.

    It starts when the jobs whose keys are in `needs` have ended `ok`.
    """

    key: str
    name: str
    limits: Limits
    template: Record
    payload: Any
    needs: tuple[str, ...] = ()
    numerics: Numerics = "native"


@dataclass(frozen=True, kw_only=True)
class Reply:
    """How a job ended: its record as JSON, or a status with a failure; seconds, and the bytes it was last seen with."""

    job: Job
    record: str | None = None
    status: Status = Status.FAILED
    failure: dict[str, str] | None = None
    seconds: float = 0.0
    resident: int | None = None

    @classmethod
    def of(cls, job: Job, outcome: dict[str, Any], seconds: float, resident: int = 0) -> Reply:
        """What `attempt` returned, typed; `seconds` where it does not say."""
        return cls(
            job=job,
            record=outcome.get("record"),
            status=Status(outcome.get("status", Status.FAILED)),
            failure=outcome.get("failure"),
            seconds=outcome.get("seconds", seconds),
            resident=resident or None,
        )


@dataclass(frozen=True, kw_only=True)
class Event:
    """What a progress display is told; a job that could not start because of its needs only ends."""

    kind: Literal["started", "ended"]
    job: Job
    record: Record | None = None


class Executor(Protocol):
    """Where jobs run: started one by one while there is a free place, waited for together."""

    @property
    def running(self) -> list[Job]: ...
    @property
    def free(self) -> bool: ...
    def start(self, job: Job) -> None: ...
    def wait(self, seconds: float, wake: Any) -> list[Reply]: ...
    def close(self) -> None: ...
