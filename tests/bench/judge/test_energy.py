"""Comparisons of energies under every rule: one rule on both sides, and only numbers that somebody measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retable.bench.judge.claims import judge
from retable.bench.judge.judgement import UnderRule
from retable.bench.judge.results import Results
from retable.bench.record import Measurement
from retable.bench.report.energy import by_rule, sentences, standing
from retable.bench.suite import Claim, Component, Suite
from tests.bench.judge.test_claims import bounded, ordering, record, suite

RULES = ("literature", "full", "syops", "lemaire", "neurobench")
JITTER = (1.0, 1.01, 0.99)
Prices = Mapping[str, Mapping[str, float]]
"""Energy by row and rule."""


def energy(claim: Claim, rule: str = "literature") -> Claim:
    return replace(claim, metric=f"energy_mj[{rule}]")


def made(*claims: Claim, spiking: Mapping[str, Any] | None = None, rules: tuple[str, ...] = RULES) -> Suite:
    """Row `a` spikes and `b` is, unless said otherwise, the same network without spikes."""
    of_a: dict[str, Any] = {"dim": 8, "T": 4}
    of_b = {"dim": 8, "T": 4, "spiking": False} if spiking is None else dict(spiking)
    task = Component(use="classify", params={"rules": rules})
    methods = {"a": of_a, "b": of_b, "c": of_a}
    held = suite(*claims)
    rows = tuple(
        replace(
            row, method=Component(use="tiny", params=methods[row.name]), task=task, metrics=("energy_mj[literature]",)
        )
        for row in held.entries
    )
    return replace(held, entries=rows)


def priced(held: Suite, prices: Prices, twins: Mapping[str, float] | None = None) -> tuple[Suite, Results]:
    """The suite whose rows measure what has a price, and its records."""
    rows = tuple(
        replace(row, metrics=tuple(f"energy_mj[{rule}]" for rule in prices.get(row.name, {}))) for row in held.entries
    )
    results = {}
    for row, found in prices.items():
        for seed, factor in enumerate(JITTER):
            # the spread of one row differs from the other's, or their ratio would have none
            spread = factor if row == "a" else 1 + (factor - 1) / 3
            metrics = {f"energy_mj[{rule}]": Measurement(value=price * spread) for rule, price in found.items()}
            if twins and row == "a":
                details = {"rules": len(twins), **{rule: ratio * factor for rule, ratio in twins.items()}}
                metrics["rules_won"] = Measurement(value=1.0, details=details)
            results[row, seed] = replace(record(row, seed, 1.0), metrics=metrics)
    return replace(held, entries=rows), results


def asked(held: Suite, results: Results) -> dict[str, UnderRule]:
    (judged,) = judge(held, results)
    return {one.rule: one for one in judged.rules}


def test_a_comparison_is_asked_under_every_rule_and_says_where_it_fails() -> None:
    prices = {"a": {"full": 3.0, "literature": 1.0, "syops": 1.0}, "b": {"full": 2.0, "literature": 2.0, "syops": 1.0}}
    held, results = priced(made(energy(ordering("a", "b"))), prices)
    (judged,) = judge(held, results)
    assert by_rule(judged.rules) == (
        "holds under 1 of 3 rules (literature); fails under full; undecided under syops; not measured under lemaire"
    )
    assert standing([judged]) == "1 of 3; fails under full"
    assert [text for _, text in sentences([judged])] == [f"a < b: {by_rule(judged.rules)}"]


def test_numbers_of_two_rules_never_meet() -> None:
    held, results = priced(
        made(energy(ordering("a", "b"))),
        {"a": {"literature": 1.0, "full": 1.0}, "b": {"literature": 2.0, "syops": 9.0}},
    )
    found = asked(held, results)
    assert found["literature"].verdict == "reproduced"
    assert not found["full"].measured
    assert not found["syops"].measured
    assert "not measured by this row" in found["full"].reason


@given(st.sampled_from(RULES[:3]), st.floats(1e-6, 1e6))
def test_what_a_rule_says_depends_on_its_own_numbers_alone(rule: str, factor: float) -> None:
    prices = {"a": {"full": 3.0, "literature": 1.0, "syops": 1.0}, "b": {"full": 2.0, "literature": 2.0, "syops": 1.1}}
    dearer = {
        row: {name: price * (factor if name == rule else 1) for name, price in of.items()} for row, of in prices.items()
    }
    one, other = (asked(*priced(made(energy(ordering("a", "b"))), these)) for these in (prices, dearer))
    assert {name: found.verdict for name, found in one.items()} == {
        name: found.verdict for name, found in other.items()
    }


@pytest.mark.parametrize(
    "claim",
    [energy(bounded("value", "a", at_most=2.0)), ordering("a", "b"), energy(ordering("a", "b"), "prime-macro")],
    ids=["an absolute figure", "no energy", "without a number under its own rule"],
)
def test_what_is_not_asked(claim: Claim) -> None:
    held, results = priced(made(claim), {"a": {"literature": 1.0, "full": 1.0}, "b": {"literature": 2.0, "full": 2.0}})
    assert asked(held, results) == {}


@pytest.mark.parametrize(
    ("claim", "ratio", "verdict"),
    [
        (ordering("a", "b"), 0.8, "reproduced"),
        (ordering("a", "b"), 1.2, "contradicted"),
        (bounded("ratio", "a", "b", at_most=0.5), 0.8, "contradicted"),
        (bounded("ratio", "b", "a", at_least=4.0), 0.2, "reproduced"),
        (bounded("ratio", "b", "a", at_least=4.0), 0.3, "contradicted"),
    ],
)
def test_a_rule_that_priced_one_row_is_asked_of_its_twin(claim: Claim, ratio: float, verdict: str) -> None:
    held, results = priced(
        made(energy(claim)), {"a": {"literature": 1.0}, "b": {"literature": 9.0}}, {"lemaire": ratio}
    )
    found = asked(held, results)["lemaire"]
    assert (found.verdict, found.twin, found.measured) == (verdict, True, True)
    assert "lemaire*" in by_rule([found])


def test_a_rule_without_spikes_says_the_same_at_every_seed() -> None:
    held, results = priced(
        made(energy(ordering("a", "b")), rules=("neuromc",)), {"a": {"literature": 1.0}, "b": {"literature": 9.0}}
    )
    won = Measurement(value=0.0, details={"rules": 1, "neuromc": 2.8})
    results = {place: replace(one, metrics={**one.metrics, "rules_won": won}) for place, one in results.items()}
    assert asked(held, results)["neuromc"].verdict == "contradicted"


@pytest.mark.parametrize("other", [{"dim": 16, "T": 4, "spiking": False}, {"dim": 8, "T": 4}])
def test_another_network_is_no_twin(other: dict[str, Any]) -> None:
    held = made(energy(ordering("a", "b")), spiking=other)
    found = asked(*priced(held, {"a": {"literature": 1.0}, "b": {"literature": 9.0}}, {"lemaire": 0.5}))
    assert not found["lemaire"].measured


def test_a_paper_holds_where_all_its_weaker_forms_do() -> None:
    number = replace(energy(bounded("ratio", "b", "a", equals=12.9, tolerance=0.05)), name="number")
    weaker = replace(energy(ordering("a", "b")), name="weaker", weakens="number", because="small")
    other = replace(energy(bounded("ratio", "b", "c", at_least=1.5)), name="other")
    prices = {
        "a": {"literature": 1.0, "full": 1.0},
        "b": {"literature": 2.0, "full": 2.0},
        "c": {"literature": 1.0, "full": 1.9},
    }
    held, results = priced(made(number, weaker, other), prices)
    judgements = judge(held, results)
    assert standing(judgements) == "1 of 2; fails under full"
    assert [one.claim.name for one, _ in sentences(judgements)] == ["weaker", "other"]


def test_a_comparison_without_a_number_of_its_own_rule_is_named() -> None:
    held, results = priced(made(energy(ordering("a", "b"), "prime-macro")), {"a": {"full": 1.0}, "b": {"full": 2.0}})
    ((_, text),) = sentences(judge(held, results))
    assert text.startswith("a < b: no rule was asked, since its own gave no number (a, repetition 0: not measured")
