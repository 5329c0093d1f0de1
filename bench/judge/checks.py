"""Checks: everything a gate looks at, one outcome each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from retable.bench.errors import CONTRADICTED, OK, UNMEASURED
from retable.bench.judge.claims import Judgement, explain

Kind = Literal["claim", "rule", "frozen", "case"]
Outcome = Literal["passed", "failed", "unmeasured", "skipped"]
NOUNS = {"claim": "Claims", "rule": "Rules", "frozen": "Frozen numbers", "case": "Cases without a result"}


@dataclass(frozen=True, kw_only=True)
class Check:
    """`name` is unique within its kind; `text` says what is held, `detail` what came out.

    unmeasured: it had to be measured and was not. skipped: nothing was to be measured here, for the reason in `detail`.
    """

    kind: Kind
    name: str
    outcome: Outcome
    text: str
    detail: str
    where: str = ""


def of_judgement(judged: Judgement) -> Check:
    """A claim as expected has passed, whatever its verdict; one that cannot be seen here, as expected, is skipped."""
    outcome: Outcome
    if judged.as_expected:
        outcome = "skipped" if judged.verdict == "not measured" else "passed"
    else:
        outcome = "unmeasured" if judged.verdict == "not measured" else "failed"
    claim = judged.claim
    return Check(
        kind="claim",
        name=claim.name,
        outcome=outcome,
        text=f"{claim.text} ({claim.source})",
        detail=f"{judged.verdict}: {explain(judged)}",
        where=claim.where,
    )


def of_case(line: str) -> Check:
    """A case without a result; `line` is `name: why`, as `bench.judge.results.unmeasured` gives it."""
    name, _, why = line.partition(": ")
    return Check(kind="case", name=name, outcome="unmeasured", text="has a result", detail=why)


def status(checks: Sequence[Check]) -> int:
    """0 as expected; 1 something measured is not; 3 something had to be measured and was not."""
    outcomes = {check.outcome for check in checks}
    return CONTRADICTED if "failed" in outcomes else UNMEASURED if "unmeasured" in outcomes else OK


def counted(checks: Sequence[Check]) -> str:
    """`3 passed, 1 failed`, in a fixed order."""
    counts = Counter(check.outcome for check in checks)
    return ", ".join(f"{counts[word]} {word}" for word in get_args(Outcome) if counts[word]) or "nothing to check"
