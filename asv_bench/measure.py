"""How everything in this folder measures time: sides take turns in one process, and what is compared is paired.

A shared machine slows down by half for seconds or minutes, so a time alone says little. Each round times every side once,
for about equally long, one right after the other and in alternating order; a round yields one ratio (or one exponent),
and the answer is the median over the rounds with an interval from order statistics, which assumes nothing about the noise.
"""

from __future__ import annotations

import gc
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache

Call = Callable[[], object]

SHORTEST, LONGEST = 3e-4, 5e-2
"""Seconds of one sample: short ones mostly fall between two interruptions; where one call takes longer, a sample of the
other side is as long, up to the second figure, so that both are interrupted alike."""
FEWEST_ROUNDS, LEAST_ROUNDS, MOST_ROUNDS = 5, 9, 1001
"""The first where even the second would take five times the budget."""
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """A median between limits that hold the true one with probability `CONFIDENCE`, from `n` rounds.

    The limits of fewer than six rounds are the smallest and the largest value, which hold it less often.
    """

    low: float
    median: float
    high: float
    n: int


@dataclass(frozen=True)
class Rounds:
    """Seconds a call, by side; entry i of every side was timed in round i."""

    seconds: Mapping[str, Sequence[float]]

    def median(self, side: str) -> float:
        return statistics.median(self.seconds[side])

    def ratios(self, above: str, below: str) -> list[float]:
        """above / below, round by round."""
        return [a / b for a, b in zip(self.seconds[above], self.seconds[below], strict=True)]

    def exponents(self, sizes: Mapping[str, int]) -> list[float]:
        """Slope of log(seconds) over log(size), round by round; `sizes` gives the size of every side."""
        rows = zip(*(self.seconds[side] for side in sizes), strict=True)
        return [slope(list(sizes.values()), row) for row in rows]


def interleaved(sides: Mapping[str, Call], budget: float, least: int | None = None, most: int = MOST_ROUNDS) -> Rounds:
    """Rounds over all sides for about `budget` seconds; at least `least` of them, by default 9, or 5 of slow calls."""
    if not sides:
        raise ValueError("there are no sides to time")
    with _no_collector():
        once = {name: _warm_up(call) for name, call in sides.items()}
        target = min(max(SHORTEST, *once.values()), LONGEST)
        numbers = {name: max(1, round(target / seconds)) for name, seconds in once.items()}
        whole = sum(numbers[name] * seconds for name, seconds in once.items())
        if least is None:
            least = LEAST_ROUNDS if whole * LEAST_ROUNDS < 5 * budget else FEWEST_ROUNDS
        count = max(least, min(most, int(budget / whole)))
        seconds: dict[str, list[float]] = {name: [] for name in sides}
        for round_ in range(count):
            order = list(sides) if round_ % 2 == 0 else list(reversed(sides))
            for name in order:
                seconds[name].append(_sample(sides[name], numbers[name]))
    return Rounds(seconds)


def interval(values: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """The median with order-statistic limits."""
    if not values:
        raise ValueError("an interval needs at least one value")
    ordered, rank = sorted(values), max(1, _rank(len(values), confidence))
    return Interval(ordered[rank - 1], statistics.median(ordered), ordered[-rank], len(values))


def slope(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """Exponent p of seconds ~ size^p by least squares on logarithms: 1 is linear, 2 quadratic."""
    x, y = [math.log(size) for size in sizes], [math.log(value) for value in seconds]
    return statistics.linear_regression(x, y).slope


@cache
def _rank(n: int, confidence: float) -> int:
    """The largest r with P(the median lies outside the r-th smallest ... r-th largest of n) <= 1 - confidence."""
    below = 0.0
    for rank in range(n // 2):
        below += math.comb(n, rank) / 2**n
        if 2 * below > 1 - confidence:
            return rank
    return n // 2


def _warm_up(call: Call) -> float:
    """Seconds of one call after the first ones, which compile, allocate and fill caches."""
    first = _sample(call, 1)
    if first > 1.0:
        return _sample(call, 1) if first < 3.0 else first
    return min(_sample(call, 1) for _ in range(5 if first < 0.1 else 2))


def _sample(call: Call, number: int) -> float:
    start = time.perf_counter()
    for _ in range(number):
        call()
    return (time.perf_counter() - start) / number


@contextmanager
def _no_collector() -> Iterator[None]:
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
