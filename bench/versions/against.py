"""Against: present numbers held to a frozen version's, and to rules. Runs nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from statistics import fmean
from typing import Any

from retable.bench.errors import BenchError
from retable.bench.judge import stats
from retable.bench.judge.checks import Check, Outcome
from retable.bench.judge.claims import Number, against, numbers_of, too_few
from retable.bench.judge.results import Results
from retable.bench.judge.stats import Interval
from retable.bench.registry import is_timing
from retable.bench.store.keys import differences as changes
from retable.bench.suite import Bound, Entry, Rule, Suite, Tolerance, VerdictWord
from retable.bench.versions.diff import machine
from retable.bench.versions.versions import Version

OUTCOMES: Mapping[VerdictWord, Outcome] = {
    "reproduced": "passed",
    "contradicted": "failed",
    "not measured": "unmeasured",
}
MOST_FACTS = 3
"""How many differences between machines a message names."""
LEAST_SEEDS = 3
"""Seeds without which a rule has no outcome, exact numbers and smaller plans apart."""


@dataclass(frozen=True)
class _Held:
    """A frozen number of one metric of one row, seed by seed."""

    entry: str
    metric: str
    numbers: Mapping[int, Number]
    version: str


def frozen_checks(
    suite: Suite,
    results: Results,
    version: Version,
    only: str = "*",
    environment: Callable[[str], Mapping[str, Any] | None] = lambda identity: None,
) -> list[Check]:
    """A check for every frozen number: the mean over the frozen seeds is within the suite's tolerance of what it was.

    Timings that the suite does not name are skipped; so that nothing is passed over in silence, each is listed.
    `environment` knows the machines of `results` by id: a number that has moved says how its machine differs.
    """
    if version.profile != suite.profile.name:
        raise BenchError(f"{version.name} was frozen at profile {version.profile}, not {suite.profile.name}")
    if version.name.suite != suite.name:
        raise BenchError(f"{version.name} is a version of another suite than {suite.name}")
    entries = {entry.name: entry for entry in suite.entries}
    checks = []
    for held in _held(version):
        if fnmatch(held.entry, only):
            check = _frozen(held, entries.get(held.entry), suite, results)
            moved = _elsewhere(held, version, results, environment) if check.outcome == "failed" else ""
            checks.append(replace(check, detail=check.detail + moved))
    return checks


def _elsewhere(
    held: _Held, version: Version, results: Results, environment: Callable[[str], Mapping[str, Any] | None]
) -> str:
    """How the machine of the present numbers differs from that of the frozen ones, where both are known."""
    place = held.entry, next(iter(held.numbers))
    old = version.environments.get(version.results[place].environment)
    new = environment(results[place].environment)
    if not old or not new:
        return ""
    lines = changes(machine(old), machine(new))
    more = f" and {len(lines) - MOST_FACTS} more" if len(lines) > MOST_FACTS else ""
    return f"; on another machine: {'; '.join(lines[:MOST_FACTS])}{more}" if lines else ""


def _held(version: Version) -> list[_Held]:
    found: dict[tuple[str, str], dict[int, Number]] = {}
    versions: dict[tuple[str, str], str] = {}
    for (entry, repetition), record in sorted(version.results.items()):
        for metric, measured in record.metrics.items():
            if measured.value is not None:
                number = Number(measured.value, measured.exact, record.key)
                found.setdefault((entry, metric), {})[repetition] = number
                versions[entry, metric] = measured.version
    return [_Held(entry, metric, numbers, versions[entry, metric]) for (entry, metric), numbers in found.items()]


def _frozen(held: _Held, entry: Entry | None, suite: Suite, results: Results) -> Check:
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
    versions = {results[entry.name, n].metrics[held.metric].version for n in held.numbers}
    if versions != {held.version}:
        return check("unmeasured", f"version {held.version} of the metric was frozen, now it is {max(versions)}")
    old = [number.value for number in held.numbers.values()]
    new = [present[repetition].value for repetition in held.numbers]
    if all(number.exact for number in held.numbers.values()):
        same = old == new
        return check(
            "passed" if same else "failed", f"{fmean(new):,.10g} {'as' if same else 'is not what was'} frozen (exact)"
        )
    tolerance = suite.reproducibility.metrics.get(held.metric, suite.reproducibility.tolerance)
    return check(*_within(fmean(old), fmean(new), tolerance))


def _within(old: float, new: float, tolerance: Tolerance) -> tuple[Outcome, str]:
    moved, allowed = abs(new - old), tolerance.around(old)
    if moved == 0:
        return "passed", f"{new:.6g}, no difference"
    share = f" ({moved / abs(old):.2g} of it)" if old else ""
    stated = f"{tolerance.relative:.3g} of it" if tolerance.relative else f"{tolerance.absolute:.3g}"
    inside = moved <= allowed
    return "passed" if inside else "failed", f"{new:.6g}, {moved:.2g} away{share}; allowed {stated}"


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
    return Check(kind="rule", name=text, outcome=outcome, text="holds", detail=detail, where=entry.where)


def _rule_outcome(
    rule: Rule, entry: Entry, suite: Suite, results: Results, version: Version | None
) -> tuple[Outcome, str]:
    present, absences = numbers_of(entry, rule.metric, results)
    frozen: Mapping[int, Number] = present
    if rule.kind != "value":
        if version is None:
            return "skipped", "no frozen version to compare with: name one with --against"
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
    try:
        estimate, limit = _estimate(rule, new, old, suite.statistics.alpha, exact=exact)
    except ValueError as why:
        return "unmeasured", str(why)
    verdict, reason = against(Bound(**{rule.side: limit}), estimate)
    if estimate.low is None:
        return "unmeasured", f"{estimate.mean:.6g} over one seed, which has no interval"
    return OUTCOMES[verdict], f"{_shown(rule, estimate)}; {reason}"


def _estimate(
    rule: Rule, new: Sequence[float], old: Sequence[float], alpha: float, *, exact: bool
) -> tuple[Interval, float]:
    """What is compared, with its limit: values, paired differences, or paired ratios."""
    same = exact or new == old  # numbers from the same records differ by nothing at all, however few they are
    if rule.kind == "value":
        return stats.careful(new, alpha, exact=exact), rule.limit
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
