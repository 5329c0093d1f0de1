"""Intervals for few seeds: Student's t on values, on paired differences and on logarithms of paired ratios."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

ALPHA = 0.05
"""Error rate of every verdict and of each side of every interval: both sides together hold 1 - 2 alpha, 90 %."""


@dataclass(frozen=True)
class Interval:
    """A mean with the limits that it is compared by.

    Numbers without any spread (exact ones, or several equal ones) have `low == mean == high`. One number alone that another
    seed would change has no limits: None.
    """

    mean: float
    low: float | None
    high: float | None
    n: int

    def above(self, limit: float) -> bool:
        return self.low is not None and self.low > limit

    def below(self, limit: float) -> bool:
        return self.high is not None and self.high < limit

    def inside(self, low: float, high: float) -> bool:
        return self.low is not None and self.high is not None and low <= self.low and self.high <= high


def interval(values: Sequence[float], alpha: float = ALPHA, *, exact: bool = False) -> Interval:
    """Mean with one-sided limits, each wrong with probability `alpha` for normal values; `exact` ones are their own limits.

    Raises ValueError without values, for values too large to add, and for exact ones that differ.
    """
    if not values:
        raise ValueError("an interval needs at least one value")
    first, n = values[0], len(values)
    if not all(map(math.isfinite, values)):
        raise ValueError("the numbers are too large to be compared")
    if min(values) == max(values):
        alone = n == 1 and not exact
        return Interval(first, None if alone else first, None if alone else first, n)
    if exact:
        raise ValueError("numbers that should be exact differ")
    try:
        mean, half = fmean(values), t_quantile(1 - alpha, n - 1) * stdev(values) / math.sqrt(n)
        if math.isfinite(mean - half) and math.isfinite(mean + half):
            return Interval(mean, mean - half, mean + half, n)
    except OverflowError:
        pass
    raise ValueError("the numbers are too large to be compared")


def differences(
    upper: Sequence[float], lower: Sequence[float], alpha: float = ALPHA, *, exact: bool = False
) -> Interval:
    """Interval of `upper - lower`, pair by pair."""
    return interval([a - b for a, b in zip(upper, lower, strict=True)], alpha, exact=exact)


def ratios(of: Sequence[float], to: Sequence[float], alpha: float = ALPHA, *, exact: bool = False) -> Interval:
    """Interval of `of / to`, pair by pair, on the logarithmic scale. Raises ValueError unless all are positive."""
    pairs = list(zip(of, to, strict=True))
    if any(a <= 0 or b <= 0 for a, b in pairs):
        raise ValueError("a ratio needs positive numbers")
    if exact:
        return interval([a / b for a, b in pairs], alpha, exact=True)
    logs = interval([math.log(a) - math.log(b) for a, b in pairs], alpha)
    low, high = (None if log is None else _exp(log) for log in (logs.low, logs.high))
    return Interval(_exp(logs.mean), low, high, logs.n)


def _exp(log: float) -> float:
    try:
        return math.exp(log)
    except OverflowError:
        raise ValueError("the ratio is too large to be compared") from None


def t_quantile(p: float, degrees: int) -> float:
    """Quantile of Student's t distribution."""
    from scipy.special import stdtrit

    return float(stdtrit(degrees, p))
