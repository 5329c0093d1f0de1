"""Accuracy when every read of a weight is noisy: at one noise, and over all that the task tried."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from retable.bench.errors import BenchError
from retable.bench.metrics.measured import absent, measured, unusable
from retable.bench.record import Direction, Measurement

NO_NOISE = "the task reads no weight with noise"


@dataclass(frozen=True, kw_only=True)
class NoisyAccuracy:
    """Share of held-out samples named right with the relative read `noise`, a mean over its draws."""

    noise: float

    NAME: ClassVar[str] = "noisy_accuracy"
    UNIT: ClassVar[str] = "%"
    DIRECTION: ClassVar[Direction] = "higher"
    VERSION: ClassVar[str] = "1"
    EXACT: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.noise < 0:
            raise BenchError(f"`noise` must be at least 0, not {self.noise}")

    def measure(self, evidence: Any) -> Measurement:
        found = evidence.noisy_correct.get(self.noise)
        if found is None:
            tried = ", ".join(f"{noise:g}" for noise in evidence.noisy_correct)
            return absent(self, f"the task did not try the noise {self.noise:g}, only {tried}" if tried else NO_NOISE)
        hits = 100 * found
        if reason := unusable(hits, "classified samples"):
            return absent(self, reason)
        return measured(self, hits.mean(), n=len(hits), samples=tuple(hits.tolist()))


@dataclass(frozen=True, kw_only=True)
class NoiseCost:
    """Points of accuracy that the relative read `noise` takes away."""

    noise: float

    NAME: ClassVar[str] = "noise_cost"
    UNIT: ClassVar[str] = "points"
    DIRECTION: ClassVar[Direction] = "lower"
    VERSION: ClassVar[str] = "1"
    EXACT: ClassVar[bool] = False

    def measure(self, evidence: Any) -> Measurement:
        noisy = NoisyAccuracy(noise=self.noise).measure(evidence)
        if noisy.value is None:
            return absent(self, str(noisy.reason))
        if wrong := int(evidence.unusable_by_step[-1]):
            return absent(self, f"{wrong} predictions without noise rest on logits that are not finite")
        whole = 100 * evidence.correct_by_step[-1].mean()
        return measured(self, whole - noisy.value, n=noisy.n, details={"without_noise": float(whole)})


@dataclass(frozen=True, kw_only=True)
class NoiseArea:
    """Mean accuracy over the noises from the smallest to the largest (trapezoids), with the curve in the details."""

    NAME: ClassVar[str] = "noise_area"
    UNIT: ClassVar[str] = "%"
    DIRECTION: ClassVar[Direction] = "higher"
    VERSION: ClassVar[str] = "1"
    EXACT: ClassVar[bool] = False

    def measure(self, evidence: Any) -> Measurement:
        import numpy as np

        curve = sorted(evidence.noisy_correct.items())
        if len(curve) < 2 or curve[0][0] == curve[-1][0]:
            return absent(self, NO_NOISE if not curve else "one noise has no area")
        noise = np.array([x for x, _ in curve])
        accuracy = np.array([100 * share.mean() for _, share in curve])
        area = np.trapezoid(accuracy, noise) / (noise[-1] - noise[0])
        details = {f"noise {x:g}": float(y) for x, y in zip(noise, accuracy, strict=True)}
        return measured(self, area, n=len(curve[0][1]), details=details)
