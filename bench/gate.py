"""Gate: claims against stored records, and the exit status that follows. Runs nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from bench import stats
from bench.errors import CONTRADICTED, OK, UNMEASURED
from bench.record import Measurement, Record
from bench.stats import Interval
from bench.suite import Bound, Claim, Suite, VerdictWord

Results = Mapping[tuple[str, int], Record]


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """A claim's verdict, what was expected, and what it rests on: an estimate with its interval, keys of records."""

    claim: Claim
    verdict: VerdictWord
    reason: str
    estimate: Interval | None = None
    evidence: tuple[str, ...] = ()

    @property
    def expected(self) -> VerdictWord:
        return self.claim.expect.verdict

    @property
    def as_expected(self) -> bool:
        return self.verdict == self.expected


class _NotMeasuredError(Exception):
    """Why a claim cannot be judged."""


def judge(suite: Suite, results: Results) -> list[Judgement]:
    """A verdict for every claim of the suite, in its order."""
    return [_judge(claim, suite, results) for claim in suite.claims]


def exit_status(judgements: Sequence[Judgement], unmeasured: Sequence[str]) -> int:
    """0 as expected; 1 when a measured verdict differs from the expected one; 3 when something had to be measured and was not."""
    if any(not judged.as_expected and judged.verdict != "not measured" for judged in judgements):
        return CONTRADICTED
    if unmeasured or any(not judged.as_expected for judged in judgements):
        return UNMEASURED
    return OK


def _judge(claim: Claim, suite: Suite, results: Results) -> Judgement:
    if suite.profile.name not in claim.profiles:
        return Judgement(claim=claim, verdict="not measured", reason=f"needs profile {' or '.join(claim.profiles)}")
    try:
        values, evidence = _paired_values(claim, suite, results)
    except _NotMeasuredError as why:
        return Judgement(claim=claim, verdict="not measured", reason=str(why))
    try:
        verdict, reason, estimate = _compare(claim, values)
    except ValueError as why:
        return Judgement(claim=claim, verdict="not measured", reason=str(why), evidence=evidence)
    return Judgement(claim=claim, verdict=verdict, reason=reason, estimate=estimate, evidence=evidence)


def _paired_values(claim: Claim, suite: Suite, results: Results) -> tuple[list[list[float]], tuple[str, ...]]:
    """For each entry of the claim its values at the repetitions that all entries have, in the same order."""
    exact = True
    found: list[dict[int, float]] = []
    for name in claim.entries:
        values: dict[int, float] = {}
        reason = f"{name} was not run"
        for repetition in suite.entry(name).repetitions:
            record = results.get((name, repetition))
            if record is None:
                continue
            measurement = record.metrics.get(claim.metric)
            if not record.ok or measurement is None or measurement.value is None:
                reason = _absence(name, record, measurement)
                continue
            values[repetition] = measurement.value
            exact = exact and measurement.exact
        if not values:
            raise _NotMeasuredError(reason)
        found.append(values)
    shared = sorted(set.intersection(*map(set, found)))
    if exact and shared != sorted(set.union(*map(set, found))):
        shared = []  # exact numbers need no pairing: one value an entry stands for all seeds
        found = [{0: next(iter(values.values()))} for values in found]
        shared = [0]
    needed = 1 if exact else claim.min_seeds
    if len(shared) < needed:
        raise _NotMeasuredError(f"{len(shared)} paired seed{'s' * (len(shared) != 1)} of at least {needed}")
    keys = tuple(results[name, r].key for name in claim.entries for r in shared if (name, r) in results)
    return [[values[repetition] for repetition in shared] for values in found], keys


def _absence(name: str, record: Record, measurement: Measurement | None) -> str:
    if not record.ok:
        message = record.failure.message.splitlines()[0] if record.failure and record.failure.message else ""
        return f"{name} {record.status}{f': {message}' if message else ''}"
    if measurement is None:
        return f"{name} does not measure it"
    return f"{name}: {measurement.reason}"


def _compare(claim: Claim, values: list[list[float]]) -> tuple[VerdictWord, str, Interval]:
    if claim.kind == "ordering":
        return _ordering(values)
    assert claim.bound is not None
    estimate = stats.interval(values[0]) if claim.kind == "value" else stats.ratios(values[0], values[1])
    return (*_within(claim.bound, estimate), estimate)


def _ordering(values: list[list[float]]) -> tuple[VerdictWord, str, Interval]:
    """Each step along the chain must be up. All steps must hold, so each is tested at the full alpha (intersection-union)."""
    steps = [stats.differences(upper, lower) for lower, upper in pairwise(values)]
    weakest = min(steps, key=lambda step: step.low)
    if all(step.low > 0 for step in steps):
        return "reproduced", "every step is up", weakest
    wrong = [step for step in steps if step.high < 0 or step.low == step.high <= 0]
    if wrong:
        return "contradicted", "a step is not up", wrong[0]
    return "not measured", f"undecided: the interval of the difference holds 0 at {weakest.n} seeds", weakest


def _within(bound: Bound, estimate: Interval) -> tuple[VerdictWord, str]:
    low, high = float("-inf"), float("inf")
    if bound.equals is not None:
        low, high = bound.equals - bound.tolerance, bound.equals + bound.tolerance
    if bound.at_least is not None:
        low = max(low, bound.at_least)
    if bound.at_most is not None:
        high = min(high, bound.at_most)
    if low <= estimate.low and estimate.high <= high:
        return "reproduced", "inside the bound"
    if estimate.high < low or estimate.low > high:
        return "contradicted", "outside the bound"
    return "not measured", f"undecided: the interval crosses the bound at {estimate.n} seeds"
