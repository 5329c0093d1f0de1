"""Intervals for few seeds: Student's t on values, on paired differences and on logarithms of paired ratios."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

ALPHA = 0.05
"""Error rate of every verdict: an interval misses the truth on either side in at most this share of suites."""


@dataclass(frozen=True)
class Interval:
    """A mean with the range that it is compared by; exact numbers have `low == mean == high`."""

    mean: float
    low: float
    high: float
    n: int


def interval(values: Sequence[float], alpha: float = ALPHA) -> Interval:
    """Mean with one-sided limits at `alpha` on each side; a single value, or equal ones, have no width.

    A side is wrong with probability `alpha`; the two-sided interval holds 1 - 2 alpha. Raises ValueError without values.
    """
    if not values:
        raise ValueError("an interval needs at least one value")
    mean, n = fmean(values), len(values)
    if n == 1 or min(values) == max(values):
        return Interval(mean, mean, mean, n)
    half = t_quantile(1 - alpha, n - 1) * stdev(values) / math.sqrt(n)
    return Interval(mean, mean - half, mean + half, n)


def differences(upper: Sequence[float], lower: Sequence[float], alpha: float = ALPHA) -> Interval:
    """Interval of `upper - lower`, pair by pair."""
    return interval([a - b for a, b in zip(upper, lower, strict=True)], alpha)


def ratios(of: Sequence[float], to: Sequence[float], alpha: float = ALPHA) -> Interval:
    """Interval of `of / to`, pair by pair, on the logarithmic scale. Raises ValueError unless all are positive."""
    if min(*of, *to) <= 0:
        raise ValueError("a ratio needs positive numbers")
    logs = interval([math.log(a / b) for a, b in zip(of, to, strict=True)], alpha)
    return Interval(math.exp(logs.mean), math.exp(logs.low), math.exp(logs.high), logs.n)


def t_quantile(p: float, degrees: int) -> float:
    """Quantile of Student's t distribution."""
    from scipy.special import stdtrit

    return float(stdtrit(degrees, p))
