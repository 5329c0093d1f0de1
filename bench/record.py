"""Record: the outcome of one stage of one case, and the only thing that crosses module borders."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from typing import Any, Literal

SCHEMA = 1
"""Version of the record's shape; a store with a newer one is refused."""

Direction = Literal["higher", "lower", "none"]
Stage = Literal["fit", "evaluate"]


class Status(StrEnum):
    """How a stage ended; only `ok` is ever taken from the cache."""

    OK = "ok"
    FAILED = "failed"
    TIMEOUT = "timeout"
    OUT_OF_MEMORY = "out-of-memory"
    MISSING = "missing"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One metric's number with its meaning; `value` is None exactly when `reason` says why."""

    value: float | None
    unit: str = ""
    direction: Direction = "none"
    version: str = "1"
    n: int | None = None
    reason: str | None = None
    floor: float | None = None
    exact: bool = False
    samples: tuple[float, ...] | None = None
    details: Mapping[str, str | float | int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.value is not None and not math.isfinite(self.value):
            object.__setattr__(self, "reason", f"the value is {self.value}")
            object.__setattr__(self, "value", None)
        if (self.value is None) == (self.reason is None):
            raise ValueError("a measurement holds either a value or the reason why there is none")


@dataclass(frozen=True, kw_only=True)
class Artefact:
    """A file that a stage left beside the store: path relative to the artefact folder, digest, size in bytes."""

    path: str
    sha256: str
    bytes: int


@dataclass(frozen=True, kw_only=True)
class Failure:
    """What went wrong: the exception's type and message, and its traceback."""

    type: str
    message: str
    traceback: str = ""


@dataclass(frozen=True, kw_only=True)
class Record:
    """The outcome of one stage (fit or evaluate) of one case; immutable, one row of the store.

    `ingredients` are what the key digests. `timings` are seconds by name. `memory` is bytes by name. `log` holds what a fit
    reports of itself (loss curve, codebook use). `kernels` are the backends that ran each operator. `needs` are the
    keys of the stages whose output this one read. `unkeyed` are files beside a plug-in that it read and no key covers.
    `changed` names what of its process, or of data that others share, it changed and was put back after it.
    `node` is the machine it ran on, where that is not the driver's; `lost` says of each earlier try why it came to nothing.
    `claims` are what the suite said of this row when it was run, by name; None where nobody wrote it down. `more` are
    fields that a later version of the same schema wrote: they are not understood, and kept.
    """

    key: str
    stage: Stage
    suite: str
    entry: str
    profile: str
    repetition: int
    seed: int
    status: Status
    ingredients: Mapping[str, Any]
    needs: tuple[str, ...] = ()
    metrics: Mapping[str, Measurement] = field(default_factory=dict)
    timings: Mapping[str, float] = field(default_factory=dict)
    memory: Mapping[str, int] = field(default_factory=dict)
    artefacts: Mapping[str, Artefact] = field(default_factory=dict)
    log: Mapping[str, Any] = field(default_factory=dict)
    kernels: Mapping[str, Any] = field(default_factory=dict)
    unkeyed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    claims: Mapping[str, str] | None = None
    environment: str = ""
    node: str = ""
    lost: tuple[str, ...] = ()
    failure: Failure | None = None
    created: str = ""
    schema: int = SCHEMA
    more: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return self.status is Status.OK

    @property
    def ended(self) -> bool:
        """Whether an evaluation came to its end: `ok`, or with some metrics that failed beside others that did not."""
        return self.ok or (self.status in (Status.FAILED, Status.MISSING) and bool(self.metrics))

    def to_json(self) -> str:
        """Strict canonical JSON of the record."""
        known = dataclasses.asdict(self)
        return canonical({**known.pop("more"), **known})

    @classmethod
    def from_json(cls, text: str) -> Record:
        """The record that `to_json` wrote; fields that a later version of the same schema added are kept."""
        told = json.loads(text)
        known = {f.name for f in dataclasses.fields(cls)} - {"more"}
        raw = {name: value for name, value in told.items() if name in known}
        raw["more"] = {name: value for name, value in told.items() if name not in known}
        raw["status"] = Status(raw["status"])
        raw["needs"] = tuple(raw["needs"])
        raw["unkeyed"] = tuple(raw.get("unkeyed", ()))
        raw["changed"] = tuple(raw.get("changed", ()))
        raw["lost"] = tuple(raw.get("lost", ()))
        raw["metrics"] = {name: _measurement(value) for name, value in raw["metrics"].items()}
        raw["artefacts"] = {name: Artefact(**value) for name, value in raw["artefacts"].items()}
        raw["failure"] = Failure(**raw["failure"]) if raw["failure"] else None
        return cls(**raw)


def _measurement(raw: dict[str, Any]) -> Measurement:
    samples = raw.pop("samples", None)
    return Measurement(**raw, samples=None if samples is None else tuple(samples))


def canonical(value: Any) -> str:
    """JSON with sorted keys and no NaN, so that equal values have equal text."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    raise TypeError(f"{type(value).__name__} has no place in a record")


def digest(value: Any) -> str:
    """SHA-256 of the canonical JSON of a value."""
    return sha256(canonical(value).encode()).hexdigest()
