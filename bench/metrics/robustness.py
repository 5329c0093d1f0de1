"""Accuracy under attack, in per cent of all attacked images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from retable.bench.metrics.measured import absent, measured, unusable
from retable.bench.record import Direction, Measurement


@dataclass(frozen=True, kw_only=True)
class CleanAccuracy:
    """The same images unattacked, by the same number of votes."""

    NAME: ClassVar[str] = "clean_accuracy"

    UNIT: ClassVar[str] = "%"
    DIRECTION: ClassVar[Direction] = "higher"
    VERSION: ClassVar[str] = "1"
    EXACT: ClassVar[bool] = False

    def measure(self, evidence: Any) -> Measurement:
        return _accuracy(self, evidence, "clean")


@dataclass(frozen=True, kw_only=True)
class RobustAccuracy:
    """Share of images named right under `attack`; `worst` is right only where every attack of the same budget failed."""

    NAME: ClassVar[str] = "robust_accuracy"

    attack: str

    UNIT: ClassVar[str] = "%"
    DIRECTION: ClassVar[Direction] = "higher"
    VERSION: ClassVar[str] = "1"
    EXACT: ClassVar[bool] = False

    def measure(self, evidence: Any) -> Measurement:
        return _accuracy(self, evidence, self.attack)


@dataclass(frozen=True, kw_only=True)
class RobustShare:
    """Accuracy under every attack of the budget at once, over the accuracy without one: what an attacker leaves."""

    NAME: ClassVar[str] = "robust_share"

    UNIT: ClassVar[str] = ""
    DIRECTION: ClassVar[Direction] = "higher"
    VERSION: ClassVar[str] = "1"
    EXACT: ClassVar[bool] = False

    def measure(self, evidence: Any) -> Measurement:
        if reason := _unusable(evidence):
            return absent(self, reason)
        clean, worst = (float(evidence.correct(name).mean()) for name in ("clean", "worst"))
        if not clean:
            return absent(self, "no image is named right even without an attack")
        return measured(self, worst / clean, n=len(evidence.labels), details=evidence.settings)


@dataclass(frozen=True, kw_only=True)
class RobustArea:
    """Mean accuracy under pgd over the budgets from 0 to the largest below 1 (trapezoids), with the curve in the details."""

    NAME: ClassVar[str] = "robust_area"

    UNIT: ClassVar[str] = "%"
    DIRECTION: ClassVar[Direction] = "higher"
    VERSION: ClassVar[str] = "1"
    EXACT: ClassVar[bool] = False

    def measure(self, evidence: Any) -> Measurement:
        import numpy as np

        if reason := _unusable(evidence):
            return absent(self, reason)
        eps, accuracy = (np.array(values) for values in zip(*evidence.curve()[:-1], strict=True))
        if eps[-1] == 0:
            return absent(self, "pgd was run at no budget between 0 and 1")
        area = np.trapezoid(accuracy, eps) / eps[-1]
        details = evidence.settings | {"largest_eps": float(eps[-1])}
        details |= {f"eps {budget:.6g}": float(value) for budget, value in zip(eps, accuracy, strict=True)}
        return measured(self, area, n=len(evidence.labels), details=details)


def _accuracy(metric: CleanAccuracy | RobustAccuracy, evidence: Any, attack: str) -> Measurement:
    import numpy as np

    if reason := _unusable(evidence):
        return absent(metric, reason)
    try:
        hits = 100.0 * evidence.correct(attack)
    except KeyError:
        return absent(metric, f"the task ran no attack {attack!r}, only {', '.join(evidence.predictions)}")
    details = dict(evidence.settings)
    if len(hits) > 1:
        details["standard_error"] = float(hits.std(ddof=1) / np.sqrt(len(hits)))
    return measured(metric, hits.mean(), n=len(hits), samples=tuple(hits.tolist()), details=details)


def _unusable(evidence: Any) -> str | None:
    if evidence.unusable:
        return f"{evidence.unusable} predictions rest on logits that are not finite"
    return unusable(evidence.labels, "attacked images")
