"""McNemar: two rows that judged the same samples, held against each other sample by sample.

Where both are right or both wrong nothing is learnt of their difference; of the samples that only one has right, half would
be each row's by chance. The test is the exact one (binomial, two sided), which holds for few samples too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from retable.bench.record import Measurement

LEVELS = ({0.0, 1.0}, {0.0, 100.0})
"""A sample that is right counts 1, or 100 where the metric is in percent; a wrong one 0."""


@dataclass(frozen=True)
class Disagreement:
    """Of `samples` shared ones, how many only the first row has right, and how many only the second."""

    first: int
    second: int
    samples: int

    @property
    def p(self) -> float:
        """How probably rows of equal merit disagree at least so one-sidedly."""
        return min(1.0, 2 * self._tail(min(self.first, self.second)))

    @property
    def p_up(self) -> float:
        """How probably chance alone makes the second row as much better, or more."""
        return self._tail(self.first)

    @property
    def p_down(self) -> float:
        """How probably chance alone makes the first row as much better, or more."""
        return self._tail(self.second)

    def _tail(self, fewer: int) -> float:
        n = self.first + self.second
        return sum(math.comb(n, i) for i in range(fewer + 1)) / 2**n

    def describe(self, one: str, other: str) -> str:
        """In words, with the rows' names."""
        counts = f"{self.first} are right only in {one}, {self.second} only in {other}"
        return f"of {self.samples} shared samples {counts}; McNemar p = {self.p:.2g}"


def disagreement(one: Measurement, other: Measurement) -> Disagreement | None:
    """None unless both hold right or wrong for the same number of samples, under the same meaning of the metric."""
    a, b = _right(one.samples), _right(other.samples)
    if a is None or b is None or len(a) != len(b) or one.version != other.version:
        return None
    pairs = list(zip(a, b, strict=True))
    return Disagreement(
        first=sum(x and not y for x, y in pairs), second=sum(y and not x for x, y in pairs), samples=len(pairs)
    )


def _right(samples: Sequence[float] | None) -> list[bool] | None:
    """Right or wrong, sample by sample; None for values that are neither."""
    if not samples or not any(set(samples) <= levels for levels in LEVELS):
        return None
    return [value != 0 for value in samples]
