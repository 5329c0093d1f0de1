"""Pairs: two rows compared number by number, seed by seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from retable.bench.judge import stats
from retable.bench.judge.results import Results, absence
from retable.bench.judge.stats import Interval
from retable.bench.record import Direction, Measurement, Record
from retable.bench.suite import Suite


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One metric of two rows; `difference` is second minus first over the seeds that both have, None with its reason.

    The interval is two-sided, wrong at `2 * alpha` for normal differences, and `better` is which row it decides for.
    """

    metric: str
    unit: str = ""
    direction: Direction = "none"
    first: float | None = None
    second: float | None = None
    seeds: int = 0
    difference: Interval | None = None
    ratio: Interval | None = None
    reason: str = ""

    @property
    def decided(self) -> str:
        """`higher`, `lower`, `equal` or `undecided`: the second row beside the first."""
        if self.difference is None:
            return "undecided"
        if self.difference.low == self.difference.high == 0:
            return "equal"
        return "higher" if self.difference.above(0) else "lower" if self.difference.below(0) else "undecided"


def compare(suite: Suite, results: Results, first: str, second: str) -> list[Pair]:
    """Every metric that both rows measure, in the first one's order."""
    metrics = [name for name in suite.entry(first).metrics if name in suite.entry(second).metrics]
    return [_pair(metric, suite, results, first, second) for metric in metrics]


def _pair(metric: str, suite: Suite, results: Results, first: str, second: str) -> Pair:
    shared = [n for n in suite.entry(first).repetitions if n in suite.entry(second).repetitions]
    found: list[tuple[Measurement, Measurement]] = []
    reasons: list[str] = []
    for repetition in shared:
        records = [results.get((row, repetition)) for row in (first, second)]
        cells = [_measured(record, metric) for record in records]
        reasons += [f"{row}: {cell}" for row, cell in zip((first, second), cells, strict=True) if isinstance(cell, str)]
        a, b = cells
        if isinstance(a, Measurement) and isinstance(b, Measurement):
            seeds = [record.seed for record in records if record is not None]
            if seeds[0] == seeds[1]:
                found.append((a, b))
            else:
                reasons.append("the rows are on different data and have different seeds, so they make no pairs")
    if not found:
        return Pair(metric=metric, reason=reasons[0] if reasons else "the rows share no repetition")
    return _compared(metric, found, suite.statistics.alpha)


def _compared(metric: str, found: Sequence[tuple[Measurement, Measurement]], alpha: float) -> Pair:
    a, b = ([pair[side].value or 0.0 for pair in found] for side in (0, 1))
    exact = all(one.exact for pair in found for one in pair)
    reason, difference, ratio = "", None, None
    try:
        difference = stats.differences(b, a, alpha, exact=exact)
        if min(*a, *b) > 0:
            ratio = stats.ratios(b, a, alpha, exact=exact)
    except ValueError as why:
        reason = str(why)
    if difference is not None and difference.low is None:
        reason = "one seed has no interval"
    return Pair(
        metric=metric,
        unit=found[0][0].unit,
        direction=found[0][0].direction,
        first=sum(a) / len(a),
        second=sum(b) / len(b),
        seeds=len(found),
        difference=difference,
        ratio=ratio,
        reason=reason,
    )


def _measured(record: Record | None, metric: str) -> Measurement | str:
    if record is None:
        return "not run"
    measured = record.metrics.get(metric)
    if record.ended and measured is not None and measured.value is not None:
        return measured
    return absence(record, metric)
