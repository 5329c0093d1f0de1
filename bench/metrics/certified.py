"""What certificates add up to: certified accuracy at a radius, the average certified radius, abstentions.

Radii of Gaussian noise are L2 distances, those of Bernoulli spikes L1 distances, in units of the pixels; the two are different
metrics and stand in different columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from retable.bench.errors import BenchError
from retable.bench.metrics.certificates import surely
from retable.bench.metrics.measured import absent, measured, unusable
from retable.bench.record import Direction, Measurement

if TYPE_CHECKING:
    import numpy as np

Norm = Literal["L1", "L2"]
RHO = 0.001
"""Error rate of the high-probability certified accuracy in the details."""


def curve(correct: np.ndarray, radius: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """Share of all images whose prediction is right with a radius of at least r, for each r."""
    import numpy as np

    return np.array([(correct & (radius >= r)).mean() for r in radii])


def mean_radius(correct: np.ndarray, radius: np.ndarray) -> float:
    """Average certified radius: that of a wrong or absent prediction is 0."""
    return float((correct * radius).mean())


@dataclass(frozen=True, kw_only=True)
class CertifiedAccuracyL2:
    """Share of images certified right within an L2 distance of at least `radius`."""

    NAME: ClassVar[str] = "certified_accuracy_l2"

    radius: float

    UNIT: ClassVar[str] = "%"
    DIRECTION: ClassVar[Direction] = "higher"
    VERSION: ClassVar[str] = "1"
    EXACT: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _check(self.radius)

    def measure(self, evidence: Any) -> Measurement:
        return _accuracy(self, evidence, "L2")


@dataclass(frozen=True, kw_only=True)
class CertifiedAccuracyL1:
    """The same within an L1 distance."""

    NAME: ClassVar[str] = "certified_accuracy_l1"

    radius: float

    UNIT: ClassVar[str] = "%"
    DIRECTION: ClassVar[Direction] = "higher"
    VERSION: ClassVar[str] = "1"
    EXACT: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _check(self.radius)

    def measure(self, evidence: Any) -> Measurement:
        return _accuracy(self, evidence, "L1")


@dataclass(frozen=True, kw_only=True)
class AverageRadiusL2:
    """Mean over all images of the certified L2 radius, 0 where the prediction is wrong or absent; the curve is in the details."""

    NAME: ClassVar[str] = "average_radius_l2"

    UNIT: ClassVar[str] = ""
    DIRECTION: ClassVar[Direction] = "higher"
    VERSION: ClassVar[str] = "1"
    EXACT: ClassVar[bool] = False

    def measure(self, evidence: Any) -> Measurement:
        return _average(self, evidence, "L2")


@dataclass(frozen=True, kw_only=True)
class AverageRadiusL1:
    """The same of the certified L1 radius."""

    NAME: ClassVar[str] = "average_radius_l1"

    UNIT: ClassVar[str] = ""
    DIRECTION: ClassVar[Direction] = "higher"
    VERSION: ClassVar[str] = "1"
    EXACT: ClassVar[bool] = False

    def measure(self, evidence: Any) -> Measurement:
        return _average(self, evidence, "L1")


@dataclass(frozen=True, kw_only=True)
class Abstained:
    """Share of images for which the smoothed classifier names no class."""

    NAME: ClassVar[str] = "abstained"

    UNIT: ClassVar[str] = "%"
    DIRECTION: ClassVar[Direction] = "lower"
    VERSION: ClassVar[str] = "1"
    EXACT: ClassVar[bool] = False

    def measure(self, evidence: Any) -> Measurement:
        shares = 100.0 * evidence.abstained
        if reason := unusable(shares, "certified images"):
            return absent(self, reason)
        return measured(self, shares.mean(), n=len(shares), samples=tuple(shares.tolist()), details=evidence.settings)


def _check(radius: float) -> None:
    if not radius >= 0:
        raise BenchError(f"`radius` must be at least 0, not {radius}")


def _accuracy(metric: CertifiedAccuracyL1 | CertifiedAccuracyL2, evidence: Any, norm: Norm) -> Measurement:
    if reason := _unusable(evidence, norm):
        return absent(metric, reason)
    hits = 100.0 * (evidence.correct & (evidence.radius >= metric.radius))
    share = float(hits.mean())
    return measured(
        metric,
        share,
        n=len(hits),
        samples=tuple(hits.tolist()),
        details={
            **evidence.settings,
            "at_least_with_high_probability": 100 * surely(share / 100, len(hits), evidence.alpha, RHO),
            "largest_attainable_radius": evidence.largest_radius,
        },
    )


def _average(metric: AverageRadiusL1 | AverageRadiusL2, evidence: Any, norm: Norm) -> Measurement:
    if reason := _unusable(evidence, norm):
        return absent(metric, reason)
    radii = evidence.correct * evidence.radius
    at, certified = evidence.curve()
    details = evidence.settings | {f"radius {r:.6g}": float(100 * c) for r, c in zip(at, certified, strict=True)}
    return measured(
        metric,
        mean_radius(evidence.correct, evidence.radius),
        n=len(radii),
        samples=tuple(radii.tolist()),
        details=details,
    )


def _unusable(evidence: Any, norm: Norm) -> str | None:
    if evidence.norm != norm:
        return f"the certificate of {evidence.law} noise is an {evidence.norm} radius, not an {norm} one"
    return unusable(evidence.radius, "certified images")
