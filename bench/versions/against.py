"""Against: present numbers held to a frozen version's, and to rules. Runs nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from statistics import fmean
from typing import Any

from retable.bench.errors import BenchError
from retable.bench.judge import limits, stats
from retable.bench.judge.checks import Check, Outcome
from retable.bench.judge.claims import Number, against, numbers_of, too_few
from retable.bench.judge.mcnemar import disagreement
from retable.bench.judge.results import Results
from retable.bench.judge.spread import cautious_error
from retable.bench.judge.stats import Interval
from retable.bench.record import Measurement, Record
from retable.bench.registry import is_timing
from retable.bench.store.keys import differences as changes
from retable.bench.suite import Bound, Entry, Rule, Suite, Tolerance, VerdictWord
from retable.bench.versions.archive import Archive, same_row
from retable.bench.versions.diff import machine
from retable.bench.versions.tolerances import Tolerances
from retable.bench.versions.versions import Version

OUTCOMES: Mapping[VerdictWord, Outcome] = {
    "reproduced": "passed",
    "contradicted": "failed",
    "not measured": "unmeasured",
}
LEAST_SEEDS = 3
"""Seeds without which a rule has no outcome, exact numbers and smaller plans apart."""


@dataclass(frozen=True)
class _Held:
    """A frozen number of one metric of one row, seed by seed; `portable` says whether every one was computed so."""

    entry: str
    metric: str
    numbers: Mapping[int, Number]
    version: str
    portable: bool
    measured: tuple[Measurement, ...]


def frozen_checks(suite: Suite, results: Results, version: Version, only: str = "*") -> list[Check]:
    """A check for every frozen number: the mean over the frozen seeds is where it was, as closely as is known to be due.

    In this order: an exact number is equal; a tolerance that the suite states, with its reason, holds; where both
    sides are of portable numerics every seed is equal; else the tolerance that was measured when the version was
    frozen holds; and a number that moved without any of these is unmeasured. Timings that the suite does not name are
    skipped; so that nothing is passed over in silence, each is listed.
    """
    if version.profile != suite.profile.name:
        raise BenchError(f"{version.name} was frozen at profile {version.profile}, not {suite.profile.name}")
    if version.name.suite != suite.name:
        raise BenchError(f"{version.name} is a version of another suite than {suite.name}")
    entries = {entry.name: entry for entry in suite.entries}
    names = _renamed(suite, version)
    return [
        _frozen(held, entries.get(names.get(held.entry, held.entry)), suite, results, version.tolerances)
        for held in _held(version)
        if fnmatch(names.get(held.entry, held.entry), only)
    ]


def _renamed(suite: Suite, version: Version) -> dict[str, str]:
    """The present names of rows that have another one since the version, by that of then."""
    archive, memo, found = Archive(version, Path()), dict[Any, Any](), dict[str, str]()
    frozen, present = {entry for entry, _ in version.results}, {entry.name for entry in suite.entries}
    for case in suite.cases():
        record = None if case.entry.name in frozen else same_row(case, archive, memo)
        if record is not None and record.entry not in present:
            found[record.entry] = case.entry.name
    return found


def other_machine(
    results: Results, version: Version, environment: Callable[[str], Mapping[str, Any] | None], only: str = "*"
) -> list[str]:
    """How the machines of present numbers differ from those of the frozen ones, a line a fact; told once for all numbers.

    `environment` knows the machines of `results` by id.
    """
    lines: dict[str, None] = {}
    for place, frozen in version.results.items():
        present = results.get(place)
        if present is None or present.environment == frozen.environment or not fnmatch(place[0], only):
            continue
        old, new = version.environments.get(frozen.environment), environment(present.environment)
        if old and new:
            lines |= dict.fromkeys(changes(machine(old), machine(new)))
    return list(lines)


def _held(version: Version) -> list[_Held]:
    found: dict[tuple[str, str], dict[int, Record]] = {}
    for (entry, repetition), record in sorted(version.results.items()):
        for metric, measured in record.metrics.items():
            if measured.value is not None:
                found.setdefault((entry, metric), {})[repetition] = record
    return [_of_records(*place, records) for place, records in found.items()]


def _of_records(entry: str, metric: str, records: Mapping[int, Record]) -> _Held:
    measured = {repetition: record.metrics[metric] for repetition, record in records.items()}
    return _Held(
        entry,
        metric,
        numbers={
            repetition: Number(one.value, one.exact, records[repetition].key)
            for repetition, one in measured.items()
            if one.value is not None
        },
        version=next(reversed(measured.values())).version,
        portable=all(map(is_portable, records.values())),
        measured=tuple(measured.values()),
    )


def is_portable(record: Record) -> bool:
    """Whether a record's numbers are to come back bit by bit on every machine of its architecture."""
    return record.ingredients.get("numerics") == "portable"


def _frozen(held: _Held, entry: Entry | None, suite: Suite, results: Results, tolerances: Tolerances) -> Check:
    def check(outcome: Outcome, detail: str) -> Check:
        where = "" if entry is None else entry.where
        text = f"stays at {fmean(number.value for number in held.numbers.values()):.6g}"
        name = f"{held.entry}/{held.metric}"
        return Check(kind="frozen", name=name, outcome=outcome, text=text, detail=detail, where=where)

    if is_timing(held.metric) and held.metric not in suite.reproducibility.metrics:
        return check("skipped", "a timing; the suite names no tolerance for it")
    if entry is None or entry.method is None or held.metric not in entry.metrics:
        return check("unmeasured", "the suite does not measure it any more")
    present, absences = numbers_of(entry, held.metric, results)
    if lacking := [repetition for repetition in held.numbers if repetition not in present]:
        return check("unmeasured", absences[0] if absences else f"repetition {lacking[0]} was not run")
    records = [results[entry.name, repetition] for repetition in held.numbers]
    versions = {record.metrics[held.metric].version for record in records}
    if versions != {held.version}:
        return check("unmeasured", f"version {held.version} of the metric was frozen, now it is {max(versions)}")
    old = [number.value for number in held.numbers.values()]
    new = [present[repetition].value for repetition in held.numbers]
    if all(number.exact for number in held.numbers.values()):
        return check(*_equal(old, new, "exact"))
    if stated := suite.reproducibility.metrics.get(held.metric, suite.reproducibility.tolerance):
        return check(*_within(old, new, stated, suite.reproducibility.because or "the suite's own"))
    if held.portable and all(map(is_portable, records)):
        return check(*_equal(old, new, "portable"))
    if (share := tolerances.of(held.entry, held.metric)) is not None:
        return check(*_within(old, new, Tolerance(relative=share), tolerances.describe(held.entry, held.metric)))
    if old == new:
        return check("passed", f"{fmean(new):.6g}, no difference")
    told = _samples(held, records)
    return check(
        "unmeasured", f"unmeasured tolerance: {_moved(old, new)}, and no certificate says how far it may{told}"
    )


def _samples(held: _Held, records: Sequence[Record]) -> str:
    """How the samples of the first seed that changed them fell before and fall now, where they are right or wrong."""
    for frozen, record in zip(held.measured, records, strict=True):
        pair = disagreement(frozen, record.metrics[held.metric])
        if pair is not None and pair.first + pair.second:
            return f"; repetition {record.repetition}: {pair.describe('the frozen row', 'the present one')}"
    return ""


def _equal(old: Sequence[float], new: Sequence[float], why: str) -> tuple[Outcome, str]:
    if old == new:
        return "passed", f"{fmean(new):,.10g} as frozen ({why})"
    differing = sum(a != b for a, b in zip(old, new, strict=True))
    seeds = f", at {differing} of {len(old)} seeds" if len(old) > 1 else ""
    return "failed", f"{_moved(old, new)} is not what was frozen ({why}){seeds}"


def _within(old: Sequence[float], new: Sequence[float], tolerance: Tolerance, why: str) -> tuple[Outcome, str]:
    before, after = fmean(old), fmean(new)
    if old == new:
        return "passed", f"{after:.6g}, no difference"
    stated = f"{100 * tolerance.relative:.3g} %" if tolerance.relative else f"{tolerance.absolute:.3g}"
    inside = abs(after - before) <= tolerance.around(before)
    return "passed" if inside else "failed", f"{_moved(old, new)}; allowed ±{stated} ({why})"


def _moved(old: Sequence[float], new: Sequence[float]) -> str:
    """The present mean, and how far it is from the frozen one, with its sign."""
    before, after = fmean(old), fmean(new)
    share = f" ({100 * (after - before) / abs(before):+.2g} %)" if before else ""
    return f"{after:.6g}, {after - before:+.2g}{share}"


def rule_checks(
    suite: Suite, results: Results, rules: Sequence[Rule], version: Version | None = None, only: str = "*"
) -> list[Check]:
    """A check for every rule and every row that it is about; a change without a frozen version is skipped."""
    checks = []
    for rule in rules:
        rows = [
            entry
            for entry in suite.entries
            if entry.method is not None
            and rule.metric in entry.metrics
            and entry.name == (rule.entry or entry.name)
            and fnmatch(entry.name, only)
        ]
        checks += [_ruled(rule, entry, suite, results, version) for entry in rows]
    return checks


def _ruled(rule: Rule, entry: Entry, suite: Suite, results: Results, version: Version | None) -> Check:
    outcome, detail = _rule_outcome(rule, entry, suite, results, version)
    text = rule.text if rule.entry else f"{rule.text} ({entry.name})"
    return Check(
        kind="rule", name=text, outcome=outcome, text="holds", detail=detail, where=entry.where, tier=rule.tier
    )


def _rule_outcome(
    rule: Rule, entry: Entry, suite: Suite, results: Results, version: Version | None
) -> tuple[Outcome, str]:
    present, absences = numbers_of(entry, rule.metric, results)
    frozen: Mapping[int, Number] = present
    if rule.kind != "value":
        if version is None:
            return (
                "skipped",
                "no frozen version to compare with: name one with --against, or publish the first with `bench freeze`",
            )
        frozen, _ = numbers_of(entry, rule.metric, version.results)
    if absences or not present:
        return "unmeasured", absences[0] if absences else "not run"
    if not frozen:
        return "unmeasured", f"{version.name if version else ''} holds no number of it"
    seeds = sorted(set(present) & set(frozen))
    exact = all(numbers[seed].exact for numbers in (present, frozen) for seed in seeds)
    least = min(LEAST_SEEDS, len(entry.repetitions))
    if not exact and (lack := too_few(len(seeds), least, suite.statistics, paired=rule.kind != "value")):
        return "unmeasured", lack
    new, old = ([numbers[seed].value for seed in seeds] for numbers in (present, frozen))
    error = cautious_error([results[entry.name, seed].metrics[rule.metric] for seed in seeds])
    try:
        estimate, limit = _estimate(rule, new, old, suite.statistics.alpha, error=error, exact=exact)
    except ValueError as why:
        return "unmeasured", str(why)
    verdict, reason = against(Bound(**{rule.side: limit}), estimate)
    if estimate.low is None:
        seeds_told = "one seed, which has" if estimate.n == 1 else f"{estimate.n} equal numbers, which have"
        return "unmeasured", f"{estimate.mean:.6g} over {seeds_told} no interval"
    return OUTCOMES[verdict], f"{_shown(rule, estimate)}; {reason}"


def _estimate(
    rule: Rule, new: Sequence[float], old: Sequence[float], alpha: float, *, error: float, exact: bool
) -> tuple[Interval, float]:
    """What is compared, with its limit: values, paired differences, or paired ratios."""
    same = exact or new == old  # numbers from the same records differ by nothing at all, however few they are
    if rule.kind == "value":
        return limits.of_mean(new, alpha, exact=exact, error=error), rule.limit
    if rule.kind == "change":
        if exact:
            return stats.interval([new[0] - old[0]], exact=True), rule.limit
        return stats.differences(new, old, alpha, exact=same), rule.limit
    if exact:
        new, old = new[:1], old[:1]
    return stats.ratios(new, old, alpha, exact=same), 1 + rule.limit


def _shown(rule: Rule, estimate: Interval) -> str:
    what = {"value": rule.metric, "change": "change", "share": "ratio to the frozen number"}[rule.kind]
    if estimate.low == estimate.high:
        return f"{what} {estimate.mean:.6g}"
    return f"{what} {estimate.mean:.4g} in [{estimate.low:.4g}, {estimate.high:.4g}] over {estimate.n} seeds"
