"""Rules: conditions on numbers in one line each, for a suite's `rules:` and `bench gate --rule`.

    METRIC [of ROW] >= NUMBER                             METRIC [of ROW] <= NUMBER
    METRIC [of ROW] drops by [at least|at most] NUMBER [%]      METRIC [of ROW] rises by ...

A rule says what must hold; `by 5 %` alone is `by at least 5 %`. What drops or rises does so since a frozen version. Before a
rule may stand its tier: `supporting: METRIC ...` or `advisory: METRIC ...`; it is critical unless said.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import get_args

from retable.bench.declare.strict_yaml import shorten
from retable.bench.errors import BenchError, nearest
from retable.bench.suite import Entry, Rule, Side, Tier

FORMS = "`METRIC [of ROW] >= NUMBER`, `... <= NUMBER` or `... drops|rises by [at least|at most] NUMBER [%]`"
_NUMBER = r"(?P<{}>[-+]?[0-9]{{1,15}}(?:\.[0-9]{{1,15}})?(?:[eE][-+]?[0-9]{{1,2}})?)"
_RULE = re.compile(
    rf"(?:(?P<tier>{'|'.join(get_args(Tier))}) *: *)?"
    r"(?P<metric>[A-Za-z0-9][A-Za-z0-9._-]*(?:\[[^\[\]]+\])?)"
    r"(?: +of +(?P<entry>[a-z0-9][a-z0-9._-]*))?"
    rf"(?: *(?P<operator>>=|<=) *{_NUMBER.format('limit')}"
    rf"| +(?P<verb>drops|rises) +by(?: +at +(?P<side>least|most))? +{_NUMBER.format('amount')}(?P<percent> *%)?)"
)


class RuleError(BenchError):
    """A rule that is not one, or that is about nothing the suite measures."""


def read_rule(text: str, entries: Sequence[Entry]) -> Rule:
    """The rule that a line says. Raises RuleError: one sentence that quotes it."""
    words = " ".join(text.split())
    found = _RULE.fullmatch(words)
    if found is None:
        raise RuleError(f"{shorten(repr(words))} is not a rule; rules are {FORMS}")
    metric, entry = found["metric"], found["entry"] or ""
    _check_measured(words, metric, entry, entries)
    side: Side
    tier: Tier = found["tier"] or "critical"  # type: ignore[assignment]  # the expression allows no other word
    if found["operator"]:
        side, limit = "at_least" if found["operator"] == ">=" else "at_most", float(found["limit"])
        return Rule(text=words, metric=metric, entry=entry, kind="value", side=side, limit=limit, tier=tier)
    amount = float(found["amount"])
    if amount < 0:
        raise RuleError(f"{shorten(repr(words))}: a change is not negative; say `drops` or `rises`")
    if found["percent"]:
        amount /= 100
    falls, least = found["verb"] == "drops", found["side"] != "most"
    side = "at_most" if falls == least else "at_least"
    return Rule(
        text=words,
        metric=metric,
        entry=entry,
        kind="share" if found["percent"] else "change",
        side=side,
        limit=-amount if falls else amount,
        tier=tier,
    )


def _check_measured(rule: str, metric: str, entry: str, entries: Sequence[Entry]) -> None:
    measured = {row.name: row.metrics for row in entries if row.method is not None}
    if entry and entry not in measured:
        raise RuleError(f"{rule!r}: no row {entry!r} is measured here{nearest(entry, list(measured))}")
    known = measured[entry] if entry else tuple({name for metrics in measured.values() for name in metrics})
    if metric not in known:
        raise RuleError(
            f"{rule!r}: {entry or 'no row'} {'does not measure' if entry else 'measures'} {metric!r}{nearest(metric, known)}"
        )
