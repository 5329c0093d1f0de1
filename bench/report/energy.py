"""Comparisons of energies by rule, in words: of a claim, and of all that a paper compares."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from retable.bench.judge.energy import ENERGIES
from retable.bench.judge.judgement import Judgement, UnderRule
from retable.bench.judge.predicate import compared

MADE = "*"
"""Marks a rule that was asked of the twin which the account makes of a row."""
LEGEND = (
    "Energy: under how many of the rules that gave numbers all of a paper's comparisons hold, each in its weaker form where it "
    "has two, with the same rule on both sides. * marks a rule that was asked of the twin that the account makes of a network's "
    "own layers, run once on real values. An absolute energy belongs to its rule and is not asked again."
)


def by_rule(rules: Sequence[UnderRule]) -> str:
    """`holds under 2 of 4 rules (full, syops); fails under lemaire*; undecided under ...; not measured under ...`."""
    named = {
        "fails under": [_named(one) for one in rules if one.verdict == "contradicted"],
        "undecided under": [_named(one) for one in rules if one.verdict == "not measured" and one.measured],
        "not measured under": [_named(one) for one in rules if not one.measured],
    }
    holds = [_named(one) for one in rules if one.verdict == "reproduced"]
    told = f"holds under {len(holds)} of {sum(one.measured for one in rules)} rules"
    told += f" ({', '.join(holds)})" if holds else ""
    return "; ".join([told, *(f"{words} {', '.join(names)}" for words, names in named.items() if names)])


def _named(one: UnderRule) -> str:
    return one.rule + MADE * one.twin


def comparisons(judgements: Sequence[Judgement]) -> list[Judgement]:
    """The claims that compare energies, each in its weaker form where it has two, and no question twice."""
    weakened = {one.claim.weakens for one in judgements}
    asked = [one for one in judgements if one.rules and one.claim.name not in weakened]
    return list({compared(one.claim): one for one in reversed(asked)}.values())[::-1]


def standing(judgements: Sequence[Judgement]) -> str:
    """`1 of 4; fails under syops, lemaire*`: rules under which all comparisons hold, of those that gave a number for any.

    It fails under a rule that contradicts one of them. Empty where nothing is compared.
    """
    answers = [one for judged in comparisons(judgements) for one in judged.rules if one.measured]
    rules = {one.rule for one in answers}
    holds = rules - {one.rule for one in answers if one.verdict != "reproduced"}
    fails = dict.fromkeys(_named(one) for one in answers if one.verdict == "contradicted")
    told = f"; fails under {', '.join(fails)}" if fails else ""
    return f"{len(holds)} of {len(rules)}{told}" if rules else ""


def sentences(judgements: Sequence[Judgement]) -> Iterator[tuple[Judgement, str]]:
    """Of each comparison its question and what the rules make of it, then those whose own rule gave no number."""
    for judged in comparisons(judgements):
        yield judged, f"{compared(judged.claim)}: {by_rule(judged.rules)}"
    for judged in judgements:
        claim = judged.claim
        energy = claim.kind not in ("value", "mean") and claim.metric.partition("[")[0] in ENERGIES
        if energy and not judged.rules and not judged.reason.startswith("needs profile"):
            why = claim.expect.because or judged.reason
            yield judged, f"{compared(claim)}: no rule was asked, since its own gave no number ({why})"
