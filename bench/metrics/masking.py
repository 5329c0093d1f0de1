"""A checklist for masked gradients: what must hold if attacks fail because the model is robust, and not because they go astray.

After arXiv 1802.00420 and 1902.06705. Comparisons are paired, image by image: an attack counts as weaker than another only
where the images on which just one of them succeeds could hardly fall so by chance (one-sided binomial, LEVEL).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

from retable.bench.metrics.budgets import WHOLE, at
from retable.bench.metrics.measured import absent, measured, unusable
from retable.bench.record import Direction, Measurement

if TYPE_CHECKING:
    import numpy as np

Check = Literal[
    "iterations", "more-steps", "more-draws", "black-box", "random-search", "large-eps", "gradients", "loss-rises"
]
CHECKS: tuple[Check, ...] = get_args(Check)
LEVEL = 0.001
"""Error rate of one comparison."""
LEAST_WITH_GRADIENT = 0.99
LEFT_AT_WHOLE_BUDGET = 0.02
"""Share of images that may survive a budget at which an attacker may paint any image."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Whether a check passed, and the numbers that decided."""

    passed: bool
    details: dict[str, str | float | int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Masking:
    """1 where `check` passed, 0 where it did not."""

    NAME: ClassVar[str] = "masking"

    check: Check

    UNIT: ClassVar[str] = ""
    DIRECTION: ClassVar[Direction] = "higher"
    VERSION: ClassVar[str] = "1"
    EXACT: ClassVar[bool] = False

    def measure(self, evidence: Any) -> Measurement:
        if reason := _unusable(evidence):
            return absent(self, reason)
        found = check(self.check, evidence)
        return measured(self, float(found.passed), n=len(evidence.labels), details=found.details)


@dataclass(frozen=True, kw_only=True)
class MaskingFailures:
    """How many checks of the list did not pass; the details name them."""

    NAME: ClassVar[str] = "masking_failures"

    UNIT: ClassVar[str] = ""
    DIRECTION: ClassVar[Direction] = "lower"
    VERSION: ClassVar[str] = "1"
    EXACT: ClassVar[bool] = False

    def measure(self, evidence: Any) -> Measurement:
        if reason := _unusable(evidence):
            return absent(self, reason)
        failed = [name for name in CHECKS if not check(name, evidence).passed]
        details: dict[str, str | float | int] = {"checks": len(CHECKS), "failed": ", ".join(failed) or "none"}
        return measured(self, len(failed), n=len(evidence.labels), details=details)


def check(name: Check, evidence: Any) -> Finding:
    """One check on the evidence of the task `attack`."""
    return _CHECKS[name](evidence)


def weaker(correct: np.ndarray, than: np.ndarray) -> float:
    """p-value of an attack that leaves `correct` (N,) being no weaker than one that leaves `than` (N,)."""
    from scipy.stats import binom

    only, other = int((correct & ~than).sum()), int((than & ~correct).sum())
    return float(binom.sf(only - 1, only + other, 0.5))


def _no_weaker(evidence: Any, attack: str, than: str) -> Finding:
    correct, other = evidence.correct(attack), evidence.correct(than)
    p = weaker(correct, other)
    accuracy = {attack: 100 * float(correct.mean()), than: 100 * float(other.mean())}
    return Finding(passed=p >= LEVEL, details={**accuracy, "p": p})


def _iterations(evidence: Any) -> Finding:
    """Many small steps are at least as strong as one large one."""
    return _no_weaker(evidence, "pgd", "fgsm")


def _more_steps(evidence: Any) -> Finding:
    return _no_weaker(evidence, f"pgd-{max(evidence.task.more_steps)}", "pgd")


def _more_draws(evidence: Any) -> Finding:
    """A gradient averaged over the noise is at least as strong as that of one draw."""
    return _no_weaker(evidence, "pgd", "one-draw")


def _black_box(evidence: Any) -> Finding:
    """The strongest gradient attack is at least as strong as each attack that sees no gradient of the model."""
    white = f"pgd-{max(evidence.task.more_steps)}"
    findings = [_no_weaker(evidence, white, blind) for blind in ("square", "transfer", "random")]
    details = {name: value for found in findings for name, value in found.details.items() if name != "p"}
    return Finding(
        passed=all(found.passed for found in findings), details={**details, "p": min(f.details["p"] for f in findings)}
    )


def _random_search(evidence: Any) -> Finding:
    """Of the images that survive pgd, random corners break no more than a second look at pgd's own images does."""
    survivors = evidence.correct("pgd")
    random, again = evidence.correct("random")[survivors], evidence.correct("pgd-again")[survivors]
    p = weaker(again, random)
    counts = {"survivors": int(survivors.sum()), "broken": int((~random).sum()), "by_noise": int((~again).sum())}
    return Finding(passed=p >= LEVEL, details={**counts, "p": p})


def _large_eps(evidence: Any) -> Finding:
    """Accuracy falls with the budget, to nothing where any image may be painted."""
    names = ["clean", *_by_budget(evidence), at(WHOLE)]
    p = min(weaker(evidence.correct(b), evidence.correct(a)) for a, b in pairwise(names))
    left = float(evidence.correct(at(WHOLE)).mean())
    return Finding(passed=p >= LEVEL and left <= LEFT_AT_WHOLE_BUDGET, details={at(WHOLE): 100 * left, "p": p})


def _by_budget(evidence: Any) -> list[str]:
    budgets = {evidence.task.eps: "pgd"} | {eps: at(eps) for eps in evidence.task.curve}
    return [budgets[eps] for eps in sorted(budgets)]


def _gradients(evidence: Any) -> Finding:
    import numpy as np

    usable = np.isfinite(evidence.gradient_norms) & (evidence.gradient_norms > 0)
    share = float(usable.mean())
    return Finding(passed=share >= LEAST_WITH_GRADIENT, details={"with_gradient": 100 * share})


def _loss_rises(evidence: Any) -> Finding:
    """On the way of pgd's perturbation the mean loss rises, and never falls by more than chance."""
    import numpy as np

    losses_AN = evidence.losses_AN.astype(np.float64)
    steps_AN = np.diff(losses_AN, axis=0)
    worst_z = min(_z(step_N) for step_N in steps_AN)
    whole_z = _z(losses_AN[-1] - losses_AN[0])
    details: dict[str, str | float | int] = {
        "before": float(losses_AN[0].mean()),
        "after": float(losses_AN[-1].mean()),
        "z": whole_z,
        "z_of_weakest_step": worst_z,
    }
    return Finding(passed=whole_z > Z and worst_z > -Z, details=details)


Z = 3.09
"""Standard errors that belong to LEVEL."""


def _z(values: np.ndarray) -> float:
    """Mean in standard errors; 0 where nothing moves."""
    import numpy as np

    spread = values.std(ddof=1)
    return float(values.mean() / (spread / np.sqrt(len(values)))) if spread else 0.0


def _unusable(evidence: Any) -> str | None:
    if evidence.unusable:
        return f"{evidence.unusable} predictions rest on logits that are not finite"
    return unusable(evidence.labels, "attacked images")


_CHECKS: dict[str, Callable[[Any], Finding]] = {
    "iterations": _iterations,
    "more-steps": _more_steps,
    "more-draws": _more_draws,
    "black-box": _black_box,
    "random-search": _random_search,
    "large-eps": _large_eps,
    "gradients": _gradients,
    "loss-rises": _loss_rises,
}
