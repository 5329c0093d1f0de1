"""Pearson's correlation of two metrics over rows: one of each seed, and what seeds say of it by Fisher's z.

The rows are those that a paper drew its line through, not a sample of others, so that an interval is between seeds, as
everywhere here. It is made of z = artanh r: near its ends r is skewed so much that Student's t misses one time in five what
it should miss one time in twenty. Of few rows z has a tail too, and takes the limits of a value (`limits.of_mean`). What is
estimated is what the table of one seed has, on the average of z.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from retable.bench.judge import limits
from retable.bench.judge.stats import Interval

LEAST_ROWS = 3
"""Any two points lie on a line."""
ON_A_LINE = 1 - 1e-12


def coefficient(values: Sequence[float], against: Sequence[float], *, log: bool = False) -> float:
    """r of `values` with `against`, or with its logarithm, row by row.

    Raises ValueError for fewer than three rows, numbers that are not finite, a side that is the same in all rows, and a
    logarithm of what is not positive.
    """
    if len(values) < LEAST_ROWS:
        raise ValueError(f"a correlation needs at least {LEAST_ROWS} rows, not {len(values)}")
    if not all(map(math.isfinite, (*values, *against))):
        raise ValueError("a correlation needs finite numbers")
    if log and min(against) <= 0:
        raise ValueError("the logarithm of a correlation needs positive numbers")
    sides = [_scaled(values), _scaled([math.log(value) for value in against] if log else against)]
    return max(-1.0, min(1.0, statistics.correlation(*sides)))


def _scaled(values: Sequence[float]) -> list[float]:
    """Between -1 and 1 around their middle, where squares neither overflow nor vanish. ValueError for equal numbers."""
    if limits.same(values):
        raise ValueError("one side of a correlation is the same in all rows")
    low, high = min(values), max(values)
    middle, half = low / 2 + high / 2, high / 2 - low / 2
    return [(value - middle) / half for value in values]


def z(r: float) -> float:
    """Fisher's artanh r; infinite at the ends and beyond, as a bound may be."""
    return math.copysign(math.inf, r) if abs(r) >= 1 else math.atanh(r)


def between_seeds(found: Sequence[float], alpha: float) -> tuple[Interval, Interval]:
    """The interval of several seeds' correlations, and the same in z.

    Raises ValueError where it has none: equal correlations, and rows that lie on a line.
    """
    if max(map(abs, found)) >= ON_A_LINE:
        raise ValueError("undecided: at a seed the rows lie on a line, which tells nothing of other seeds")
    if limits.same(found):
        raise ValueError(limits.NO_SPREAD)
    of_z = limits.of_mean([z(r) for r in found], alpha)
    low, high = (None if end is None else math.tanh(end) for end in (of_z.low, of_z.high))
    return Interval(math.tanh(of_z.mean), low, high, of_z.n), of_z
