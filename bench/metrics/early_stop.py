"""What an input-aware early stop costs and saves; every metric holds its curve over thresholds in its details."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from retable.bench.accountant.names import RuleName
from retable.bench.metrics.measured import absent, measured, unusable
from retable.bench.metrics.operations import figure_of
from retable.bench.record import Direction, Measurement

if TYPE_CHECKING:
    import numpy as np

NO_STOP = "the task stops no sample early"


@dataclass(frozen=True, kw_only=True)
class ExitStep:
    """Mean step after which a sample is done, from 1 to T."""

    NAME: ClassVar[str] = "exit_step"
    UNIT: ClassVar[str] = "steps"
    DIRECTION: ClassVar[Direction] = "lower"
    VERSION: ClassVar[str] = "1"
    EXACT: ClassVar[bool] = False

    def measure(self, evidence: Any) -> Measurement:
        return _over_thresholds(self, evidence, lambda exits_N: exits_N)


@dataclass(frozen=True, kw_only=True)
class LoadSaving:
    """Share of the T steps that samples do not need: 1 - mean exit step / T, in per cent."""

    NAME: ClassVar[str] = "load_saving"
    UNIT: ClassVar[str] = "%"
    DIRECTION: ClassVar[Direction] = "higher"
    VERSION: ClassVar[str] = "1"
    EXACT: ClassVar[bool] = False

    def measure(self, evidence: Any) -> Measurement:
        return _over_thresholds(self, evidence, lambda exits_N: 100 * (1 - exits_N / evidence.steps))


@dataclass(frozen=True, kw_only=True)
class ExitAccuracy:
    """Share of samples named right after their own exits; a sample counts 100 or 0."""

    NAME: ClassVar[str] = "exit_accuracy"
    UNIT: ClassVar[str] = "%"
    DIRECTION: ClassVar[Direction] = "higher"
    VERSION: ClassVar[str] = "1"
    EXACT: ClassVar[bool] = False

    def measure(self, evidence: Any) -> Measurement:
        if reason := _not_finite(evidence):
            return absent(self, reason)
        return _over_thresholds(self, evidence, lambda exits_N: 100.0 * evidence.correct_at(exits_N))


@dataclass(frozen=True, kw_only=True)
class ExitCost:
    """Points of accuracy that stopping early loses against running all T steps; negative where it wins some."""

    NAME: ClassVar[str] = "exit_cost"
    UNIT: ClassVar[str] = "points"
    DIRECTION: ClassVar[Direction] = "lower"
    VERSION: ClassVar[str] = "1"
    EXACT: ClassVar[bool] = False

    def measure(self, evidence: Any) -> Measurement:
        if reason := _not_finite(evidence):
            return absent(self, reason)
        whole_N = 100.0 * evidence.correct_by_step[-1]
        return _over_thresholds(self, evidence, lambda exits_N: whole_N - 100.0 * evidence.correct_at(exits_N))


@dataclass(frozen=True, kw_only=True)
class ExitGain:
    """Points of accuracy by which choosing each sample's exit beats one exit for all samples at the same mean step.

    The accuracy of a mean step between two whole ones lies on the line between theirs, as of a coin that picks one of them.
    """

    NAME: ClassVar[str] = "exit_gain"
    UNIT: ClassVar[str] = "points"
    DIRECTION: ClassVar[Direction] = "higher"
    VERSION: ClassVar[str] = "1"
    EXACT: ClassVar[bool] = False

    def measure(self, evidence: Any) -> Measurement:
        import numpy as np

        if reason := _not_finite(evidence):
            return absent(self, reason)
        by_step = 100 * evidence.correct_by_step.mean(1)
        steps = np.arange(1, evidence.steps + 1)

        def gain(exits_N: np.ndarray) -> np.ndarray:
            fixed = np.interp(exits_N.mean(), steps, by_step)
            return 100.0 * evidence.correct_at(exits_N) - fixed

        return _over_thresholds(self, evidence, gain)


@dataclass(frozen=True, kw_only=True)
class ExitEnergy:
    """Millijoules a sample under `rule`, of samples that run up to their own exits only."""

    rule: RuleName

    NAME: ClassVar[str] = "exit_energy_mj"
    UNIT: ClassVar[str] = "mJ/sample"
    DIRECTION: ClassVar[Direction] = "lower"
    VERSION: ClassVar[str] = "1"
    EXACT: ClassVar[bool] = False

    def measure(self, evidence: Any) -> Measurement:
        if evidence.exits is None:
            return absent(self, NO_STOP)
        return figure_of(self, evidence.account_at_exit, evidence.why_no_account_at_exit, self.rule, "energy")


def _not_finite(evidence: Any) -> str | None:
    if evidence.exits is None:
        return NO_STOP
    if wrong := int(evidence.unusable_by_step.sum()):
        return f"{wrong} predictions rest on logits that are not finite"
    return None


def _over_thresholds(metric: Any, evidence: Any, of_sample: Callable[[np.ndarray], np.ndarray]) -> Measurement:
    """The mean of a number a sample at the task's threshold; the same at the others as details `threshold <x>`."""
    found = evidence.exits
    if found is None:
        return absent(metric, NO_STOP)
    values = of_sample(found.at)
    if reason := unusable(values, "samples"):
        return absent(metric, reason)
    details: dict[str, float] = {"at": found.threshold, "steps": found.steps, "mean_exit": float(found.at.mean())}
    details |= {f"threshold {x:g}": float(of_sample(at).mean()) for x, at in found.curve.items()}
    return measured(metric, values.mean(), n=len(values), samples=tuple(map(float, values)), details=details)
