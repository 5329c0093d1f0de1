"""Limits of the mean of one row's numbers, as a value claim is judged by them: honest also where numbers are not normal.

Student's t on few numbers misses far more often than it says when they are skewed (the upper limit of lognormal numbers
one time in four at 5 %), when they are shares of few samples, and when they are equal, where it has no width at all. So a
limit here is the outer one of Student's t and of the mean of a lognormal law where all numbers have one sign, widened by
the sampling error that the records have; equal numbers without a sampling error have no limits. Normal numbers with a
small spread keep Student's limits. Paired differences need none of this: what skews both sides cancels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from statistics import NormalDist, fmean, stdev

from retable.bench.judge import stats
from retable.bench.judge.stats import ALPHA, Interval

EQUAL = 1e-12
"""Relative distance below which numbers differ by rounding alone."""
NO_SPREAD = "undecided: equal numbers that are not exact show no spread"
LARGEST_LOG = 700.0


def of_mean(values: Sequence[float], alpha: float = ALPHA, *, exact: bool = False, error: float = 0.0) -> Interval:
    """Mean with one-sided limits; `error` is the sampling error that all values share.

    Raises ValueError as `stats.interval` does.
    """
    if exact or len(values) == 1:
        return stats.interval(values, alpha, exact=exact)
    found = stats.careful(values, alpha)
    margin = shared_margin(error, alpha)
    if same(values):
        return Interval(found.mean, found.mean - margin, found.mean + margin, found.n) if margin else blank(found)
    assert found.low is not None
    assert found.high is not None
    low, high = found.low, found.high
    if min(values) > 0 or max(values) < 0:
        bottom, top = _lognormal(values, alpha)
        low, high = min(low, bottom), max(high, top)
    low, high = found.mean - math.hypot(found.mean - low, margin), found.mean + math.hypot(high - found.mean, margin)
    return Interval(found.mean, low, high, found.n)


def shared_margin(error: float, alpha: float) -> float:
    """How far a normal error of this size reaches on one side."""
    return NormalDist().inv_cdf(1 - alpha) * error


def same(values: Sequence[float]) -> bool:
    """Whether numbers differ by nothing but rounding."""
    return max(values) - min(values) <= EQUAL * max(map(abs, values))


def blank(found: Interval) -> Interval:
    """The mean without limits."""
    return Interval(found.mean, None, None, found.n)


def _lognormal(values: Sequence[float], alpha: float) -> tuple[float, float]:
    """Generalised limits (Krishnamoorthy and Mathew 2003) of the mean exp(mu + sigma^2 / 2) of numbers of one sign."""
    sign = 1 if min(values) > 0 else -1
    logs = [math.log(sign * value) for value in values]
    centre, deviation = fmean(logs), round(stdev(logs), 12)
    low, high = (math.exp(min(LARGEST_LOG, centre + _reach(p, deviation, len(logs)))) for p in (alpha, 1 - alpha))
    return (low, high) if sign > 0 else (-high, -low)


@lru_cache(maxsize=1024)
def _reach(p: float, deviation: float, n: int) -> float:
    """Quantile p of mu + sigma^2 / 2 above the mean logarithm, given what n logarithms say of mu and sigma."""
    low, high = -1.0, 1.0
    while _below(low, deviation, n) > p:
        low *= 2
    while _below(high, deviation, n) < p:
        high *= 2
    for _ in range(36):
        middle = (low + high) / 2
        low, high = (middle, high) if _below(middle, deviation, n) < p else (low, middle)
    return (low + high) / 2


def _below(reach: float, deviation: float, n: int) -> float:
    """P(mu + sigma^2 / 2 - centre < reach): sigma^2 is deviation^2 over a chi-square, mu normal given sigma."""
    total = 0.0
    for scale, weight in stats.variance_nodes(n - 1):
        sigma = deviation / math.sqrt(scale)
        total += weight * stats.normal_cdf((reach - sigma**2 / 2) / sigma * math.sqrt(n))
    return total
