"""Intervals for few seeds: Student's t on values, on paired differences and on logarithms of paired ratios.

A bootstrap of three to five numbers is far too narrow (its intervals miss the truth several times as often as they say;
a test shows it), so few seeds are Student's alone. From `BOOTSTRAP` pairs on, where numbers can show that they are
skewed, a verdict's limits are the outer ones of Student's t and of SciPy's BCa bootstrap.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import fmean, stdev

ALPHA = 0.05
"""Error rate of a verdict, and of each side of an interval (both sides hold 1 - 2 alpha, 90 %), unless a suite declares another."""
BOOTSTRAP = 10
"""Numbers from which on a bootstrap has a say in a verdict."""
MOST_SEEDS = 10_000
"""No suite has more; an effect that needs more of them is too small to declare."""

NODES, DEPTH = 33, 12.0
"""Nodes of a sum over an unknown variance, out to exp(-DEPTH) of its density's peak."""


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


def careful(values: Sequence[float], alpha: float = ALPHA, *, exact: bool = False) -> Interval:
    """As `interval`; from `BOOTSTRAP` values on, each limit is the outer one of Student's and the bootstrap's."""
    found = interval(values, alpha, exact=exact)
    if len(values) < BOOTSTRAP or found.low is None or found.high is None or found.low == found.high:
        return found
    low, high = bootstrap(values, alpha)
    return Interval(found.mean, min(found.low, low), max(found.high, high), found.n)


def bootstrap(values: Sequence[float], alpha: float = ALPHA) -> tuple[float, float]:
    """One-sided limits of the mean by SciPy's BCa bootstrap; the same numbers give the same limits.

    What is not finite (numbers too lopsided to be resampled) gives the mean itself, which no other limit lies inside.
    """
    import warnings

    import numpy as np
    from scipy.stats import bootstrap as resample

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = resample(
            (np.sort(values),), np.mean, confidence_level=1 - 2 * alpha, method="BCa", rng=np.random.default_rng(0)
        ).confidence_interval
    mean = fmean(values)
    return (
        float(found.low) if math.isfinite(found.low) else mean,
        float(found.high) if math.isfinite(found.high) else mean,
    )


def differences(
    upper: Sequence[float], lower: Sequence[float], alpha: float = ALPHA, *, exact: bool = False
) -> Interval:
    """Interval of `upper - lower`, pair by pair: with its limits compared with 0, the paired test."""
    return careful([a - b for a, b in zip(upper, lower, strict=True)], alpha, exact=exact)


def ratios(of: Sequence[float], to: Sequence[float], alpha: float = ALPHA, *, exact: bool = False) -> Interval:
    """Interval of `of / to`, pair by pair, on the logarithmic scale. Raises ValueError unless all are positive."""
    pairs = list(zip(of, to, strict=True))
    if any(a <= 0 or b <= 0 for a, b in pairs):
        raise ValueError("a ratio needs positive numbers")
    if exact:
        return interval([a / b for a, b in pairs], alpha, exact=True)
    logs = careful([math.log(a) - math.log(b) for a, b in pairs], alpha)
    low, high = (None if log is None else _exp(log) for log in (logs.low, logs.high))
    return Interval(_exp(logs.mean), low, high, logs.n)


def _exp(log: float) -> float:
    try:
        return math.exp(log)
    except OverflowError:
        raise ValueError("the ratio is too large to be compared") from None


def t_quantile(p: float, degrees: int) -> float:
    """Quantile of Student's t distribution (a whole number of degrees of freedom), to the last digits of a double.

    Written out because importing SciPy takes longer than printing the largest table.
    """
    if p < 0.5:
        return -t_quantile(1 - p, degrees)
    return _upper_quantile(p, degrees)


@lru_cache(maxsize=1024)
def _upper_quantile(p: float, degrees: int) -> float:
    low, high = 0.0, 1.0
    while _t_cdf(high, degrees) < p:
        low, high = high, 2 * high
    while low < (middle := (low + high) / 2) < high:
        if _t_cdf(middle, degrees) < p:
            low = middle
        else:
            high = middle
    return high


def _t_cdf(t: float, degrees: int) -> float:
    """Distribution function at t >= 0: the finite series of Abramowitz and Stegun, 26.7.3 and 26.7.4."""
    theta = math.atan2(t, math.sqrt(degrees))
    square, term, total = math.cos(theta) ** 2, 1.0, 0.0
    for k in range(2 + degrees % 2, degrees + 1, 2):
        total += term
        term *= (k - 1) / k * square
    if degrees % 2 == 0:
        return 0.5 + math.sin(theta) * total / 2
    return 0.5 + (theta + math.sin(theta) * math.cos(theta) * total) / math.pi


def normal_cdf(z: float) -> float:
    """Distribution function of the standard normal."""
    return math.erfc(-z / math.sqrt(2)) / 2


@lru_cache(maxsize=256)
def variance_nodes(degrees: int) -> tuple[tuple[float, float], ...]:
    """Values of a chi-square variable over its degrees of freedom with their weights, which add up to 1.

    For sums in place of integrals over an unknown variance: the trapezoid rule in the logarithm, where the density is
    smooth and dies out on both sides, so that few nodes give many digits.
    """
    depth = 2 * DEPTH / degrees
    low, high = _where_lost(depth, -depth - 1.0), _where_lost(depth, math.log(depth + 1) + 1.0)
    places = [low + (high - low) * index / (NODES - 1) for index in range(NODES)]
    weights = [math.exp(degrees / 2 * (place + 1 - math.exp(place))) for place in places]
    total = sum(weights)
    return tuple((math.exp(place), weight / total) for place, weight in zip(places, weights, strict=True))


def _where_lost(depth: float, far: float) -> float:
    """Where exp(x) - x - 1 reaches `depth`, between 0 and `far`, which lies beyond."""
    near = 0.0
    for _ in range(60):
        middle = (near + far) / 2
        near, far = (middle, far) if math.expm1(middle) - middle < depth else (near, middle)
    return far


def power(effect: float, seeds: int, alpha: float = ALPHA) -> float:
    """Chance that `seeds` normal differences show an effect of so many of their standard deviations, one-sided at alpha."""
    from scipy.special import nctdtr

    return 1 - float(nctdtr(seeds - 1, effect * math.sqrt(seeds), t_quantile(1 - alpha, seeds - 1)))


@lru_cache
def seeds_needed(effect: float, wanted: float, alpha: float = ALPHA) -> int:
    """The fewest seeds (2 at least) that show an effect with the power `wanted`. Raises ValueError above MOST_SEEDS."""
    low, high = 1, 2
    while power(effect, high, alpha) < wanted:
        low, high = high, 2 * high
        if high > MOST_SEEDS:
            raise ValueError(f"an effect of {effect:g} standard deviations needs more than {MOST_SEEDS} seeds")
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power(effect, middle, alpha) >= wanted else (middle, high)
    return high
