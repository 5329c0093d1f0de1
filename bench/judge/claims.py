"""Gate: claims against stored records, a verdict each. Runs nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from itertools import pairwise
from statistics import fmean
from typing import NamedTuple

from retable.bench.judge import again, controls, correlation, limits, stats
from retable.bench.judge.again import Outlook, Seen
from retable.bench.judge.energy import under_rules
from retable.bench.judge.history import Change, Stood, change, stood
from retable.bench.judge.judgement import Judgement
from retable.bench.judge.mcnemar import Disagreement, disagreement
from retable.bench.judge.predicate import predicate
from retable.bench.judge.results import Results, absence
from retable.bench.judge.spread import cautious_error
from retable.bench.judge.stats import Interval
from retable.bench.judge.words import told
from retable.bench.record import Measurement
from retable.bench.suite import Bound, Claim, Entry, Statistics, Suite, VerdictWord


class Number(NamedTuple):
    """What one entry measured at one seed, and the key of the record that holds it."""

    value: float
    exact: bool
    key: str


class _Sample(NamedTuple):
    """Values of each of the claim's entries, seed by seed in the same order, and the records that they are from.

    Those of a second metric come after all of the first. `error` is the sampling error of the first entry's values.
    """

    values: Sequence[Sequence[float]]
    exact: bool
    evidence: tuple[str, ...]
    error: float = 0.0
    shared: tuple[Disagreement, ...] = ()
    """Of one seed and rows on the same samples: how each pair of neighbours in the chain disagrees."""

    @property
    def alone(self) -> bool:
        """Whether there is one seed of something that another seed would change."""
        return len(self.values[0]) == 1 and not self.exact


class _NotMeasuredError(Exception):
    """Why a claim cannot be judged."""


class _Finding(NamedTuple):
    """A verdict, its reason, what it rests on, and what other seeds would find."""

    verdict: VerdictWord
    reason: str
    estimate: Interval
    outlook: Outlook | None = None


def judge(suite: Suite, results: Results, before: Stood | None = None) -> list[Judgement]:
    """A verdict for every claim of the suite, in its order.

    `before` is what published versions know of what claims said before their first result; else the records' own is taken.
    """
    found = [_judge(claim, suite, results) for claim in suite.claims]
    named = {judged.claim.name: judged for judged in found}
    before = {**stood(suite, results), **(before or {})}
    return [replace(one, beside=_beside(one, named), changed=_changed(one.claim, suite, before)) for one in found]


def _changed(claim: Claim, suite: Suite, before: Stood) -> Change | None:
    """What the claim said otherwise; one that was added for another profile has had no result to be added after."""
    found = change(claim, before)
    elsewhere = suite.profile.name not in claim.profiles
    return None if found is not None and found.before is None and elsewhere else found


def _judge(claim: Claim, suite: Suite, results: Results) -> Judgement:
    """By itself, then by its controls; of a claim for another profile only what the records at hand say."""
    if suite.profile.name not in claim.profiles:
        reason = f"needs profile {' or '.join(claim.profiles)}"
        return Judgement(
            claim=claim, verdict="not measured", reason=reason, elsewhere=_elsewhere(claim, suite, results)
        )
    judged = replace(by_itself(claim, suite, results), rules=under_rules(claim, suite, results, by_itself))
    if judged.verdict == "not measured":
        return judged
    problem = controls.problem(claim, suite, lambda other: by_itself(other, suite, results))
    return replace(judged, verdict="not measured", reason=problem, outlook=None) if problem else judged


def _elsewhere(claim: Claim, suite: Suite, results: Results) -> str:
    """What the records of this profile say of a claim that is made for another one; empty where they have no number."""
    if not set(claim.entries) <= {entry.name for entry in suite.entries}:
        return ""
    judged = by_itself(claim, suite, results)
    if judged.estimate is None:
        return ""
    word = "undecided" if judged.verdict == "not measured" else judged.verdict
    return f"at {suite.profile.name} its rows say: {word}, {told(judged)}"


def _beside(judged: Judgement, found: Mapping[str, Judgement]) -> str:
    """`the number is contradicted here: ratio 8.77 in [8.46, 9.08]`, of the claim that this one weakens."""
    whole = found.get(judged.claim.weakens)
    if whole is None:
        return ""
    words = f"the {whole.claim.strength} ({predicate(whole.claim)}) is {whole.verdict} here"
    return f"{words}: {told(whole)}" if whole.estimate is not None else f"{words}: {whole.reason}"


def by_itself(claim: Claim, suite: Suite, results: Results) -> Judgement:
    """By its predicate alone, whatever its profiles and controls."""
    try:
        sample = _sample(claim, suite, results)
    except _NotMeasuredError as why:
        return Judgement(claim=claim, verdict="not measured", reason=str(why))
    try:
        found = _PREDICATES[claim.kind](claim, sample, suite.statistics.alpha)
    except ValueError as why:
        return Judgement(claim=claim, verdict="not measured", reason=str(why), evidence=sample.evidence)
    if sample.exact:
        found = found._replace(outlook=Outlook(verdict=found.verdict, alpha=suite.statistics.alpha, exact=True))
    return Judgement(claim=claim, evidence=sample.evidence, **found._asdict())


def _sample(claim: Claim, suite: Suite, results: Results) -> _Sample:
    """The claim's numbers. A seed that was not run is left out; one that was run and gave no number stops the claim:
    to judge by the seeds that survived would favour the method that loses more of them.
    """
    found, problems = [], []
    places = [(suite.entry(name), metric) for metric in claim.metrics for name in claim.entries]
    for row, metric in places:
        numbers, absences = numbers_of(row, row.own(metric), results)
        found.append(numbers)
        problems += absences if absences or numbers else [f"{row.name} was not run"]
    if all(found) and all(number.exact for numbers in found for number in numbers.values()):
        return _exact_sample([f"{metric} of {row.name}" for row, metric in places], found)
    if problems:
        raise _NotMeasuredError(problems[0])
    shared = sorted(set.intersection(*map(set, found)))
    if lack := too_few(len(shared), claim.min_seeds, suite.statistics, paired=len(found) > 1):
        raise _NotMeasuredError(lack)
    chosen = [[numbers[seed] for seed in shared] for numbers in found]
    keys = tuple(number.key for numbers in chosen for number in numbers)
    values = [[number.value for number in numbers] for numbers in chosen]
    error = cautious_error(_measurements(claim, shared, results)) if claim.kind == "value" else 0.0
    pairs = _disagreements(claim, suite, results, shared[0]) if claim.kind == "ordering" and len(shared) == 1 else ()
    return _Sample(values, exact=False, evidence=keys, error=error, shared=pairs)


def _disagreements(claim: Claim, suite: Suite, results: Results, repetition: int) -> tuple[Disagreement, ...]:
    """Of each pair of neighbours; none at all unless every row judged the same samples as right or wrong."""
    entries = [suite.entry(name) for name in claim.entries]
    if any((entry.dataset, entry.part) != (entries[0].dataset, entries[0].part) for entry in entries):
        return ()
    measured = [results[entry.name, repetition].metrics[claim.metric] for entry in entries]
    found = [disagreement(lower, upper) for lower, upper in pairwise(measured)]
    return tuple(pair for pair in found if pair is not None) if None not in found else ()


def _measurements(claim: Claim, repetitions: Sequence[int], results: Results) -> list[Measurement]:
    return [results[claim.entries[0], repetition].metrics[claim.metric] for repetition in repetitions]


def too_few(seeds: int, least: int, statistics: Statistics, *, paired: bool) -> str:
    """Why so many seeds give no verdict, or the empty text: the least number, and what the declared effect needs."""
    purpose = ""
    if statistics.effect is not None:
        try:
            needed = stats.seeds_needed(statistics.effect, statistics.power, statistics.alpha)
        except ValueError as why:
            return str(why)
        if needed > least:
            least = needed
            purpose = (
                f" to see an effect of {statistics.effect:g} standard deviations with power {statistics.power:.0%}"
            )
    if seeds >= least:
        return ""
    return f"{seeds} {'paired ' if paired else ''}seed{'s' * (seeds != 1)} of at least {least}{purpose}"


def numbers_of(entry: Entry, metric: str, results: Results) -> tuple[dict[int, Number], list[str]]:
    """An entry's numbers by repetition, and why those repetitions that were run without giving one gave none."""
    numbers, absences = {}, []
    for repetition in entry.repetitions:
        record = results.get((entry.name, repetition))
        if record is None:
            continue
        measured = record.metrics.get(metric)
        if record.ended and measured is not None and measured.value is not None:
            numbers[repetition] = Number(measured.value, measured.exact, record.key)
        else:
            absences.append(f"{entry.name}, repetition {repetition}: {absence(record, metric)}")
    return numbers, absences


def _exact_sample(names: Sequence[str], found: Sequence[dict[int, Number]]) -> _Sample:
    """Seeds cannot change an exact number: one stands for all, and nothing has to be paired."""
    for name, numbers in zip(names, found, strict=True):
        if len({number.value for number in numbers.values()}) > 1:
            raise _NotMeasuredError(f"{name} should be exact, but differs between seeds")
    values = [[next(iter(numbers.values())).value] for numbers in found]
    return _Sample(values, exact=True, evidence=tuple(n.key for numbers in found for n in numbers.values()))


def _value(claim: Claim, sample: _Sample, alpha: float) -> _Finding:
    """The interval against the bound; one seed, where the claim allows it, is compared as it is."""
    values = sample.values[0]
    estimate = limits.of_mean(values, alpha, exact=sample.exact, error=sample.error)
    if sample.alone:
        verdict, reason = against(claim.bound, stats.interval(values, exact=True))
        return _Finding(verdict, f"{reason}; one seed has no interval", estimate)
    if estimate.low is None:
        return _Finding("not measured", limits.NO_SPREAD, estimate)
    verdict, reason = against(claim.bound, estimate)
    seen = again.seen(values, estimate, alpha, sample.error)
    return _Finding(verdict, reason, estimate, _outlook(verdict, seen, _limits(claim.bound), alpha))


def _ratio(claim: Claim, sample: _Sample, alpha: float) -> _Finding:
    of, to = sample.values
    estimate = stats.ratios(of, to, alpha, exact=sample.exact)
    if sample.alone:
        return _Finding("not measured", "undecided: one pair of seeds has no interval", estimate)
    verdict, reason = against(claim.bound, estimate)
    if sample.exact:
        return _Finding(verdict, reason, estimate)
    logs = [math.log(a) - math.log(b) for a, b in zip(of, to, strict=True)]
    low, high = (math.log(limit) if limit > 0 else -math.inf for limit in _limits(claim.bound))
    seen = again.seen(logs, stats.careful(logs, alpha), alpha)
    return _Finding(verdict, reason, estimate, _outlook(verdict, seen, (low, high), alpha))


def _difference(claim: Claim, sample: _Sample, alpha: float) -> _Finding:
    """Of paired seeds, judged as a value is: the paper's points are a bound and not 0, where symmetry would help."""
    gaps = [of - to for of, to in zip(*sample.values, strict=True)]
    estimate = limits.of_mean(gaps, alpha, exact=sample.exact)
    if sample.alone:
        return _Finding("not measured", "undecided: one pair of seeds has no interval", estimate)
    if estimate.low is None:
        return _Finding("not measured", limits.NO_SPREAD, estimate)
    verdict, reason = against(claim.bound, estimate)
    seen = again.seen(gaps, estimate, alpha)
    return _Finding(verdict, reason, estimate, _outlook(verdict, seen, _limits(claim.bound), alpha))


def _mean(claim: Claim, sample: _Sample, alpha: float) -> _Finding:
    """Of each seed the mean of all rows, judged as a value is."""
    return _value(claim, sample._replace(values=[[fmean(row) for row in zip(*sample.values, strict=True)]]), alpha)


def _correlation(claim: Claim, sample: _Sample, alpha: float) -> _Finding:
    """One of each seed; several by Fisher's z, one, where the claim allows it, as it is."""
    rows = len(claim.entries)
    seeds = list(zip(*sample.values, strict=True))
    found = [correlation.coefficient(seed[:rows], seed[rows:], log=claim.log) for seed in seeds]
    if len(found) == 1:
        verdict, reason = against(claim.bound, stats.interval(found, exact=True))
        reason = reason if sample.exact else f"{reason}; one seed has no interval"
        return _Finding(verdict, reason, stats.interval(found, exact=sample.exact))
    estimate, of_z = correlation.between_seeds(found, alpha)
    verdict, reason = against(claim.bound, estimate)
    low, high = map(correlation.z, _limits(claim.bound))
    seen = again.seen([correlation.z(r) for r in found], of_z, alpha)
    return _Finding(verdict, reason, estimate, _outlook(verdict, seen, (low, high), alpha))


def _outlook(verdict: VerdictWord, seen: Seen | None, bounds: again.Bounds, alpha: float) -> Outlook:
    return Outlook(verdict=verdict, alpha=alpha, steps=(seen,), strict=(seen,), bounds=bounds)


def _ordering(claim: Claim, sample: _Sample, alpha: float) -> _Finding:
    """Every step along the chain must be up: paired differences against 0.

    Reproduced needs all steps, each tested at alpha (intersection-union), so no correction is due. Contradicted needs only
    one, so each is tested at alpha over the number of steps (Bonferroni). Either is wrong at most with probability alpha.
    """
    pairs = list(pairwise(sample.values))
    steps = [stats.differences(upper, lower, alpha, exact=sample.exact) for lower, upper in pairs]
    strict = [stats.differences(b, a, alpha / len(pairs), exact=sample.exact) for a, b in pairs]
    if sample.shared:
        return _Finding(*_by_samples(claim, sample.shared, alpha), min(steps, key=lambda step: step.mean))
    verdict, reason, estimate = _chain(claim, sample, steps, strict)
    if sample.exact or sample.alone:
        return _Finding(verdict, reason, estimate)
    gaps = [[b - a for a, b in zip(lower, upper, strict=True)] for lower, upper in pairs]
    loose = tuple(again.seen(gap, step, alpha) for gap, step in zip(gaps, steps, strict=True))
    tight = tuple(again.seen(gap, step, alpha / len(pairs)) for gap, step in zip(gaps, strict, strict=True))
    return _Finding(verdict, reason, estimate, Outlook(verdict=verdict, alpha=alpha, steps=loose, strict=tight))


_PREDICATES = {
    "value": _value,
    "ratio": _ratio,
    "difference": _difference,
    "mean": _mean,
    "correlation": _correlation,
    "ordering": _ordering,
}


def _by_samples(claim: Claim, shared: Sequence[Disagreement], alpha: float) -> tuple[VerdictWord, str]:
    """One seed of rows that judged the same samples: McNemar's test of each step, which is about these two models alone.

    Corrected as the steps of `_ordering` are.
    """
    told = [pair.describe(lower, upper) for pair, (lower, upper) in zip(shared, pairwise(claim.entries), strict=True)]
    weakest = max(range(len(shared)), key=lambda index: shared[index].p_up)
    worst = min(range(len(shared)), key=lambda index: shared[index].p_down)
    if shared[weakest].p_up <= alpha:
        return "reproduced", f"by these models: {told[weakest]}"
    if shared[worst].p_down <= alpha / len(shared):
        return "contradicted", f"by these models: {told[worst]}"
    return "not measured", f"undecided: {told[weakest]}"


def _chain(
    claim: Claim, sample: _Sample, steps: Sequence[Interval], strict: Sequence[Interval]
) -> tuple[VerdictWord, str, Interval]:
    """The verdict of an ordering, its reason, and the step that it turns on."""
    names = [f"{lower} < {upper}" for lower, upper in pairwise(claim.entries)]
    weakest = min(range(len(steps)), key=lambda index: steps[index].mean)
    if sample.alone:
        return "not measured", "undecided: one pair of seeds has no interval", steps[weakest]
    if all(step.above(0) for step in steps):
        return "reproduced", "every step is up" if len(steps) > 1 else names[0], steps[weakest]
    for name, step in zip(names, strict, strict=True):
        if step.below(0) or (sample.exact and step.mean == 0):
            return "contradicted", f"not {name}", step
    undecided = [index for index in range(len(steps)) if not steps[index].above(0)]
    weakest = min(undecided, key=lambda index: steps[index].mean)
    return "not measured", f"undecided: {names[weakest]}, but the interval holds 0", steps[weakest]


def against(bound: Bound | None, estimate: Interval) -> tuple[VerdictWord, str]:
    """Reproduced inside the bound, contradicted outside; an interval that crosses it decides nothing."""
    low, high = _limits(bound)
    if estimate.inside(low, high):
        return "reproduced", "inside the bound"
    if estimate.below(low) or estimate.above(high):
        return "contradicted", "outside the bound"
    return "not measured", "undecided: the interval crosses the bound"


def _limits(bound: Bound | None) -> tuple[float, float]:
    """Both limits belong to the bound; decimal arithmetic, since 0.7 + 0.1 < 0.8 in binary."""
    bound = bound or Bound()
    low = float("-inf") if bound.at_least is None else bound.at_least
    high = float("inf") if bound.at_most is None else bound.at_most
    if bound.equals is None:
        return low, high
    middle, tolerance = Decimal(repr(bound.equals)), Decimal(repr(bound.tolerance))
    return max(low, float(middle - tolerance)), min(high, float(middle + tolerance))
