"""Controls: a comparison says nothing where its baseline is dead, or where a row that lacks the claimed thing meets it too."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from fnmatch import fnmatchcase

from retable.bench.declare.params import build_metric
from retable.bench.judge.judgement import Judgement
from retable.bench.judge.predicate import bounded
from retable.bench.suite import Alive, Claim, Expectation, Suite

Judge = Callable[[Claim], Judgement]
"""How a claim is judged by itself, from the records at hand."""


def signs(claim: Claim, suite: Suite) -> Iterator[tuple[str, Alive]]:
    """The baselines of a claim, each with what shows that it works."""
    for entry in baselines(claim) if suite.alive else ():
        for sign in suite.alive:
            covered = claim.metric.partition("[")[0] in sign.covers if sign.covers else sign.metric == claim.metric
            if covered and named(entry, sign.rows):
                yield entry, sign


def baselines(claim: Claim) -> tuple[str, ...]:
    """What a claim compares its row with: all rows but the one that is said to be best; none of a value, a mean or a correlation."""
    if claim.kind in ("mean", "correlation"):
        return ()
    if claim.kind != "ordering":
        return claim.entries[1:]
    lower = type(build_metric(claim.metric)).DIRECTION == "lower"
    return claim.entries[1:] if lower else claim.entries[:-1]


def named(entry: str, rows: tuple[str, ...]) -> bool:
    """Whether globs name a row and no `!glob` leaves it out."""
    wanted = any(fnmatchcase(entry, glob) for glob in rows if not glob.startswith("!"))
    return wanted and not any(fnmatchcase(entry, glob[1:]) for glob in rows if glob.startswith("!"))


def problem(claim: Claim, suite: Suite, judge: Judge) -> str:
    """Why a verdict would say nothing, or the empty text: the first compared row that is not alive, else the control."""
    for entry, sign in signs(claim, suite):
        lives = Claim(
            name=claim.name,
            text=claim.text,
            source=claim.source,
            kind="value",
            metric=sign.metric,
            entries=(entry,),
            bound=sign.bound,
            min_seeds=claim.min_seeds,
            profiles=claim.profiles,
            expect=Expectation(verdict="reproduced"),
        )
        if (found := judge(lives)).verdict != "reproduced":
            state = "at chance" if sign.bound.equals is None else "not near its published number"
            return f"baseline {state}: {sign.metric} of {entry} is{_estimate(found)}, not {bounded(sign.bound)} ({sign.chance})"
    if claim.control:
        found = judge(replace(claim, entries=(claim.control, *claim.entries[1:]), control=""))
        if found.verdict != "contradicted":
            return f"the control {claim.control} does not fail: {found.verdict},{_estimate(found)}"
    return ""


def _estimate(found: Judgement) -> str:
    estimate = found.estimate
    if estimate is None:
        return f" unknown ({found.reason})"
    if estimate.low is None or estimate.high is None or estimate.low == estimate.high:
        return f" {estimate.mean:.4g}"
    return f" {estimate.mean:.4g} in [{estimate.low:.4g}, {estimate.high:.4g}]"
