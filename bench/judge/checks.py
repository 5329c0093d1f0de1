"""Checks: everything a gate looks at, one outcome each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

from retable.bench.errors import CONTRADICTED, OK, UNMEASURED
from retable.bench.judge.judgement import Judgement
from retable.bench.judge.words import evidence, said
from retable.bench.suite import Tier

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
    tier: Tier = "critical"

    @property
    def blocks(self) -> bool:
        """Whether the gate does not pass because of it: of a supporting check only what failed, of an advisory one nothing."""
        stops = {"critical": ("failed", "unmeasured"), "supporting": ("failed",), "advisory": ()}
        return self.outcome in stops[self.tier]


def of_judgement(judged: Judgement) -> Check:
    """A claim as expected has passed, whatever its verdict; one that cannot be seen here, as expected, is skipped.

    One that is expected decided, and was, has failed where other seeds would not decide it so often enough.
    """
    outcome: Outcome
    if judged.as_expected:
        decided = judged.verdict != "not measured" and judged.verdict in judged.claim.expect.allowed
        outcome = "passed" if decided else "skipped"
    else:
        outcome = "unmeasured" if judged.verdict == "not measured" else "failed"
    claim = judged.claim
    return Check(
        kind="claim",
        name=claim.name,
        outcome=outcome,
        text=claim.sentence,
        detail=f"{said(judged)}: {evidence(judged)}",
        where=claim.where,
        tier=claim.tier,
    )


def of_case(line: str) -> Check:
    """A case without a result; `line` is `name: why`, as `bench.judge.results.unmeasured` gives it."""
    name, _, why = line.partition(": ")
    return Check(kind="case", name=name, outcome="unmeasured", text="has a result", detail=why)


def status(checks: Sequence[Check]) -> int:
    """0 as expected; 1 something measured is not; 3 something had to be measured and was not. Tiers say what counts."""
    outcomes = {check.outcome for check in checks if check.blocks}
    return CONTRADICTED if "failed" in outcomes else UNMEASURED if "unmeasured" in outcomes else OK


def counted(checks: Sequence[Check]) -> str:
    """`3 passed, 1 failed`, in a fixed order."""
    counts = Counter(check.outcome for check in checks)
    return ", ".join(f"{counts[word]} {word}" for word in get_args(Outcome) if counts[word]) or "nothing to check"


def total(checks: Sequence[Check]) -> str:
    """All four outcomes, those that did not occur too, and how many of them the gate lets pass."""
    counts = Counter(check.outcome for check in checks)
    text = ", ".join(f"{counts[word]} {word}" for word in get_args(Outcome))
    let = [check for check in checks if check.outcome in ("failed", "unmeasured") and not check.blocks]
    tiers = Counter(check.tier for check in let)
    return f"{text} ({', '.join(f'{n} {tier}' for tier, n in tiers.items())}: let pass)" if let else text


@dataclass(frozen=True, kw_only=True)
class Background:
    """What is behind frozen numbers that moved, told once: the machine that differs, and which ingredients changed.

    `causes` has a reason with how many numbers it is a reason for.
    """

    machine: Sequence[str] = ()
    causes: Mapping[str, int] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """A sentence each."""
        told = [f"on another machine: {fact}" for fact in self.machine]
        for cause, numbers in self.causes.items():
            told.append(f"changed: {cause} ({numbers} number{'s' * (numbers != 1)})")
        return told
