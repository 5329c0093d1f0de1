"""Energy: under how many rules a comparison of energies holds, asked of the records that judged it under its own.

The predicate stays, the rule changes, and it is the same rule on both sides: numbers of two rules, which leave different
things without a price, never meet. An absolute figure belongs to its rule and is not asked again, nor is a comparison whose own
rule gave no number. Where a task's rule priced only the spiking row, the claim is asked of the twin that the account
makes of that row, of the same layers on real values, if the other row is its network without spikes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from retable.bench.declare.params import build
from retable.bench.judge.judgement import Judgement, UnderRule
from retable.bench.judge.results import Results
from retable.bench.record import Measurement, Record
from retable.bench.suite import Bound, Claim, Entry, Suite

Judge = Callable[[Claim, Suite, Results], Judgement]
ENERGIES = ("energy_mj", "graph_energy_mj")
"""Metrics of energy whose brackets say what is counted, and at which prices."""
NO_ENERGY = frozenset({"neurobench", "fsvae", "yan"})
"""Rules that count without a total energy."""
BY_SHAPE = frozenset({"neuromc", "neuromc-spikingjelly"})
"""Rules under which spikes play no part: what they say of a network and its twin is the same at every seed."""
UNPLANNED = "its rows have no energy under this rule"
TWINS = "energy_over_twin"
"""A row's energy over that of its twin; records keep it by rule among the details of `rules_won`."""


def under_rules(claim: Claim, suite: Suite, results: Results, judge: Judge) -> tuple[UnderRule, ...]:
    """By rule, the claim's own first; empty for what is no comparison of energies, or has no number under its own rule."""
    base, own = _parts(claim.metric)
    if base not in ENERGIES or claim.kind in ("value", "mean"):
        return ()
    if judge(claim, suite, results).estimate is None:
        return ()
    rows = [suite.entry(name) for name in claim.entries]
    metrics = {_parts(metric)[1]: metric for row in rows for metric in row.metrics if _parts(metric)[0] in ENERGIES}
    found = [_asked(rule, replace(claim, metric=metric), suite, results, judge) for rule, metric in metrics.items()]
    rest = [rule for rule in _declared(rows) if rule not in metrics and rule not in NO_ENERGY]
    of_twin = _of_twin(claim, rows)
    for rule in rest:
        twin = None if of_twin is None else replace(of_twin, metric=f"{TWINS}[{rule}]")
        one = None if twin is None else _asked(rule, twin, suite, _with_twins(results), judge)
        if one is not None and one.measured:
            found.append(replace(one, twin=True))
        else:
            found.append(UnderRule(rule=rule, verdict="not measured", reason=UNPLANNED, measured=False))
    return tuple(sorted(found, key=lambda one: one.rule != own))


def _asked(rule: str, claim: Claim, suite: Suite, results: Results, judge: Judge) -> UnderRule:
    judged = judge(claim, suite, results)
    measured = judged.estimate is not None
    return UnderRule(rule=rule, verdict=judged.verdict, reason=judged.reason, measured=measured)


def _parts(metric: str) -> tuple[str, str]:
    """`energy_mj[full]` as its name and what stands in its brackets."""
    base, _, rest = metric.partition("[")
    return base, rest.removesuffix("]") or base


def _declared(rows: Sequence[Entry]) -> Iterator[str]:
    """The rules that the rows' tasks count by, each once."""
    tasks = [row.task for row in rows if row.task is not None and not row.task.broken]
    yield from dict.fromkeys(rule for task in tasks for rule in getattr(build("task", task), "rules", ()))


def _of_twin(claim: Claim, rows: Sequence[Entry]) -> Claim | None:
    """The same said of a spiking row's energy over its twin's; None unless the other row is that network without spikes."""
    if len(rows) != 2:
        return None
    bound = claim.bound or Bound()
    if claim.kind == "ordering" and _without_spikes(rows[1], rows[0]):
        return _value(claim, rows[0], Bound(at_most=1))
    if claim.kind == "ratio" and bound.at_most is not None and _without_spikes(rows[1], rows[0]):
        return _value(claim, rows[0], Bound(at_most=bound.at_most))
    if claim.kind == "ratio" and bound.at_least and _without_spikes(rows[0], rows[1]):
        return _value(claim, rows[1], Bound(at_most=1 / bound.at_least))
    return None


def _value(claim: Claim, row: Entry, bound: Bound) -> Claim:
    return replace(claim, kind="value", entries=(row.name,), bound=bound, control="")


def _without_spikes(other: Entry, row: Entry) -> bool:
    """Whether a row is another's method on the same data with `spiking: false`, and nothing else changed."""
    if other.method is None or row.method is None or (other.dataset, other.task) != (row.dataset, row.task):
        return False

    def rest(params: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in params.items() if name != "spiking"}

    theirs, own = other.method, row.method
    real = theirs.params.get("spiking") is False and own.params.get("spiking", True) is not False
    return real and theirs.use == own.use and theirs.needs == own.needs and rest(theirs.params) == rest(own.params)


def _with_twins(results: Results) -> Results:
    return {place: _with_ratios(record) for place, record in results.items()}


def _with_ratios(record: Record) -> Record:
    """The record with its ratios to the twin as metrics of their own."""
    won = record.metrics.get("rules_won")
    if won is None or won.value is None:
        return record
    ratios = {
        f"{TWINS}[{rule}]": Measurement(value=float(ratio), n=won.n, exact=rule in BY_SHAPE)
        for rule, ratio in won.details.items()
        if rule != "rules"
    }
    return replace(record, metrics={**record.metrics, **ratios})
