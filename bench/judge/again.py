"""Again: how probable it is that an independent repetition of a suite gives a claim the same verdict.

A repetition has the same rows, the same number of seeds, and other seeds. Given the n numbers that a claim rests on (values,
paired differences, or logarithms of paired ratios) with mean m and standard deviation s, what is known of their law is
its posterior under the prior that favours nothing: sigma^2 is (n - 1) s^2 over a chi-square variable with n - 1 degrees
of freedom, and mu is normal about m with variance sigma^2 / n. A repetition's mean is then normal about m with variance
2 sigma^2 / n, its standard deviation sigma times the root of a second chi-square over n - 1. Its limits are as many of its
standard errors away from its mean as here; a sampling error stays as it is, since the test set does. The probability is
the sum over both chi-squares of how often those limits give the verdict. Over effects of all sizes it is calibrated (of
the verdicts with 0.9, nine in ten come again); of a claim picked because it was decided it says too much.
Exact numbers come again with 1. One seed, and numbers without spread between seeds, do not tell: None.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import fmean, stdev

from retable.bench.judge import stats
from retable.bench.judge.limits import same, shared_margin
from retable.bench.judge.stats import Interval
from retable.bench.suite import VerdictWord

LEAST = 0.95
"""What a decided verdict that a suite expects must have."""
SURPRISE = 0.99
"""What one that a suite does not count on must have to be news. The estimate of a few seeds varies by some hundredths, so with one
threshold for both a claim near it would be as expected at some seeds and not at others."""
MOST_SEEDS = 64
"""More repetitions than these are not proposed."""
Bounds = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What n seeds showed: mean, standard deviation, and how far the limits reach on each side.

    `below` and `above` are in standard errors of the mean, `margin` is the reach of the error that all seeds share.
    """

    mean: float
    deviation: float
    n: int
    below: float
    above: float
    margin: float = 0.0

    def with_seeds(self, n: int, alpha: float) -> Seen:
        """The same effect and spread over another number of seeds."""
        wider = stats.t_quantile(1 - alpha, n - 1) / stats.t_quantile(1 - alpha, self.n - 1)
        return replace(self, n=n, below=self.below * wider, above=self.above * wider)


def seen(values: Sequence[float], estimate: Interval, alpha: float, error: float = 0.0) -> Seen | None:
    """Of values with the interval that they were judged by; None where seeds show no spread."""
    if len(values) < 2 or estimate.low is None or estimate.high is None or same(values):
        return None
    deviation, margin = stdev(values), shared_margin(error, alpha)
    below, above = (
        math.sqrt(max(0.0, side - margin)) * math.sqrt(side + margin) * math.sqrt(len(values)) / deviation
        for side in (estimate.mean - estimate.low, estimate.high - estimate.mean)
    )
    return Seen(mean=fmean(values), deviation=deviation, n=len(values), below=below, above=above, margin=margin)


def inside_outside(found: Seen, bounds: Bounds) -> tuple[float, float]:
    """Probabilities that a repetition's interval lies within the bounds, and that it lies beyond one of them."""
    low, high = bounds
    inside = outside = 0.0
    nodes = stats.variance_nodes(found.n - 1)
    for scale, weight in nodes:
        sigma = found.deviation / math.sqrt(scale)
        step = sigma * math.sqrt(2 / found.n)
        for other, share in nodes:
            error = sigma * math.sqrt(other / found.n)
            below, above = math.hypot(found.below * error, found.margin), math.hypot(found.above * error, found.margin)

            def under(limit: float, step: float = step) -> float:
                return stats.normal_cdf((limit - found.mean) / step)

            inside += weight * share * max(0.0, under(high - above) - under(low + below))
            outside += weight * share * (under(low - above) + 1 - under(high + below))
    return inside, outside


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """What a repetition would find: of one quantity against its bounds, or of the steps of an ordering, all of them up.

    `steps` are held to alpha; `strict` are the same held to what contradicts an ordering. Nothing is computed before it is asked for.
    """

    verdict: VerdictWord
    alpha: float
    steps: tuple[Seen | None, ...] = ()
    strict: tuple[Seen | None, ...] = ()
    bounds: Bounds = (0.0, math.inf)
    exact: bool = False

    @cached_property
    def probability(self) -> float | None:
        """That the verdict comes again; None where seeds show no spread."""
        if self.exact:
            return 1.0
        if not self.steps or None in self.steps:
            return None
        return min(1.0, max(0.0, self._share(self.steps, self.strict)))

    @cached_property
    def seeds(self) -> int | None:
        """The fewest with which the same effect and spread would come again often enough; None above MOST_SEEDS."""
        if self.exact or self.verdict == "not measured" or self.probability is None:
            return None
        low, high = 1, MOST_SEEDS
        if not self._enough(high):
            return None
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self._enough(middle) else (middle, high)
        return high

    def _enough(self, n: int) -> bool:
        if n < 2:
            return False
        level = self.alpha / max(1, len(self.steps))
        steps = [step.with_seeds(n, self.alpha) for step in self.steps if step is not None]
        strict = [step.with_seeds(n, level) for step in self.strict if step is not None]
        return self._share(steps, strict) >= LEAST

    def _share(self, steps: Sequence[Seen | None], strict: Sequence[Seen | None]) -> float:
        """Steps share rows and are not independent: no more is claimed than holds however they hang together."""
        if self.verdict == "contradicted":
            return max(inside_outside(step, self.bounds)[1] for step in strict if step is not None)
        inside = [inside_outside(step, self.bounds)[0] for step in steps if step is not None]
        if self.verdict == "reproduced":
            return 1 - sum(1 - share for share in inside)
        return 1 - min(inside) - sum(inside_outside(step, self.bounds)[1] for step in strict if step is not None)
