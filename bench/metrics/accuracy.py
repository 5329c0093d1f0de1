"""Accuracy of a classifier in per cent, as papers print it: at the last time step, or after the first t."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from retable.bench.errors import BenchError
from retable.bench.metrics.measured import absent, measured, unusable
from retable.bench.record import Direction, Measurement

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """Share of held-out samples whose class is named after all T steps; a sample counts 100 or 0."""

    NAME: ClassVar[str] = "accuracy"

    UNIT: ClassVar[str] = "%"
    DIRECTION: ClassVar[Direction] = "higher"
    VERSION: ClassVar[str] = "1"
    EXACT: ClassVar[bool] = False

    def measure(self, evidence: Any) -> Measurement:
        return _share(self, evidence, evidence.steps, evidence.correct_by_step[-1:])


@dataclass(frozen=True, kw_only=True)
class AccuracyAtStep:
    """The same by the mean logits of the first `step` steps of the same run; `step` counts from 1."""

    NAME: ClassVar[str] = "accuracy_at_step"

    step: int

    UNIT: ClassVar[str] = "%"
    DIRECTION: ClassVar[Direction] = "higher"
    VERSION: ClassVar[str] = "1"
    EXACT: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.step < 1:
            raise BenchError(f"time steps count from 1, so `step` cannot be {self.step}")

    def measure(self, evidence: Any) -> Measurement:
        if self.step > evidence.steps:
            return absent(self, f"the model runs for {evidence.steps} time steps, so there is no step {self.step}")
        return _share(self, evidence, self.step, evidence.correct_by_step[self.step - 1 : self.step])


@dataclass(frozen=True, kw_only=True)
class Error:
    """Share of held-out samples whose class is not named after all T steps."""

    NAME: ClassVar[str] = "error"

    UNIT: ClassVar[str] = "%"
    DIRECTION: ClassVar[Direction] = "lower"
    VERSION: ClassVar[str] = "1"
    EXACT: ClassVar[bool] = False

    def measure(self, evidence: Any) -> Measurement:
        return _share(self, evidence, evidence.steps, ~evidence.correct_by_step[-1:])


def _share(metric: Accuracy | AccuracyAtStep | Error, evidence: Any, step: int, hits_1N: np.ndarray) -> Measurement:
    """100 times the mean of hits (1, N) of a step; the details say what always naming the commonest class gives."""
    import numpy as np

    hits = 100.0 * hits_1N.astype(np.float64).ravel()
    if reason := unusable(hits, "classified samples"):
        return absent(metric, reason)
    if wrong := int(evidence.unusable_by_step[step - 1]):
        return absent(metric, f"{wrong} of {len(hits)} samples have logits that are not finite at step {step}")
    commonest = np.bincount(evidence.labels).max() / len(hits)
    return measured(
        metric,
        hits.mean(),
        n=len(hits),
        samples=tuple(hits.tolist()),
        details={
            "step": step,
            "steps": evidence.steps,
            "classes": evidence.data.num_classes,
            "commonest_class": float(100 * commonest),
            "standard_error": float(hits.std(ddof=1) / np.sqrt(len(hits))),
        },
    )
