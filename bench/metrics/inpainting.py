"""How well a hole is filled: squared errors of images in [-1, 1], and what the mean image would have given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from retable.bench.metrics.measured import absent, measured, unusable
from retable.bench.record import Direction, Measurement

if TYPE_CHECKING:
    import numpy as np

Region = Literal["inside", "outside", "whole"]


@dataclass(frozen=True, kw_only=True)
class InpaintError:
    """Mean squared error after all steps `inside` the hole, `outside` of it, or of the `whole` image."""

    region: Region

    NAME: ClassVar[str] = "inpaint_error"
    UNIT: ClassVar[str] = ""
    DIRECTION: ClassVar[Direction] = "lower"
    VERSION: ClassVar[str] = "1"
    EXACT: ClassVar[bool] = False

    def measure(self, evidence: Any) -> Measurement:
        details = {
            f"step {t}": float(evidence.errors(x, self.region).mean()) for t, x in enumerate(evidence.fillings_TN, 1)
        }
        return _mean(self, evidence.errors(evidence.filled, self.region), details)


@dataclass(frozen=True, kw_only=True)
class ExitError:
    """The same after each sample's own exit; its curve over thresholds is in the details."""

    region: Region

    NAME: ClassVar[str] = "exit_error"
    UNIT: ClassVar[str] = ""
    DIRECTION: ClassVar[Direction] = "lower"
    VERSION: ClassVar[str] = "1"
    EXACT: ClassVar[bool] = False

    def measure(self, evidence: Any) -> Measurement:
        found = evidence.exits
        details = {
            f"threshold {x:g}": float(evidence.errors(evidence.filled_at(at), self.region).mean())
            for x, at in found.curve.items()
        }
        return _mean(self, evidence.errors(evidence.filled_at(found.at), self.region), details)


@dataclass(frozen=True, kw_only=True)
class ExitExcess:
    """By how many per cent stopping early raises the mean error; negative where it lowers it."""

    region: Region

    NAME: ClassVar[str] = "exit_excess"
    UNIT: ClassVar[str] = "%"
    DIRECTION: ClassVar[Direction] = "lower"
    VERSION: ClassVar[str] = "1"
    EXACT: ClassVar[bool] = False

    def measure(self, evidence: Any) -> Measurement:
        whole = evidence.errors(evidence.filled, self.region)
        stopped = evidence.errors(evidence.filled_at(evidence.exits.at), self.region)
        if reason := unusable(whole, "filled images"):
            return absent(self, reason)
        if not whole.mean():
            return absent(self, "all steps leave no error to compare with")
        return measured(self, 100 * (stopped.mean() / whole.mean() - 1), n=len(whole))


@dataclass(frozen=True, kw_only=True)
class MeanImageError:
    """The same of the mean training image, which sees nothing of the damaged one."""

    region: Region

    NAME: ClassVar[str] = "mean_image_error"
    UNIT: ClassVar[str] = ""
    DIRECTION: ClassVar[Direction] = "none"
    VERSION: ClassVar[str] = "1"
    EXACT: ClassVar[bool] = False

    def measure(self, evidence: Any) -> Measurement:
        return _mean(self, _of_mean_image(evidence, self.region), {})


@dataclass(frozen=True, kw_only=True)
class HoleGain:
    """Share of the mean image's error inside the hole that the filling takes away, in per cent; 0 knows no more than it."""

    NAME: ClassVar[str] = "hole_gain"
    UNIT: ClassVar[str] = "%"
    DIRECTION: ClassVar[Direction] = "higher"
    VERSION: ClassVar[str] = "1"
    EXACT: ClassVar[bool] = False

    def measure(self, evidence: Any) -> Measurement:
        errors, others = evidence.errors(evidence.filled, "inside"), _of_mean_image(evidence, "inside")
        if reason := unusable(errors, "filled images"):
            return absent(self, reason)
        if not others.mean():
            return absent(self, "the mean image is right everywhere inside the hole")
        details = {"filling": float(errors.mean()), "mean_image": float(others.mean())}
        return measured(self, 100 * (1 - errors.mean() / others.mean()), n=len(errors), details=details)


def _of_mean_image(evidence: Any, region: Region) -> np.ndarray:
    import numpy as np

    errors: np.ndarray = evidence.errors(np.broadcast_to(evidence.mean_image, evidence.clean.shape), region)
    return errors


def _mean(metric: Any, errors_N: np.ndarray, details: dict[str, Any]) -> Measurement:
    if reason := unusable(errors_N, "filled images"):
        return absent(metric, reason)
    return measured(metric, errors_N.mean(), n=len(errors_N), samples=tuple(errors_N.tolist()), details=details)
