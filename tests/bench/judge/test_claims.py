"""Verdicts: three words, an exit status that tells them apart, and error rates that hold on suites with known truth."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retable.bench.judge.checks import of_case, of_judgement, status
from retable.bench.judge.claims import judge
from retable.bench.judge.judgement import Judgement
from retable.bench.judge.words import explain
from retable.bench.record import Failure, Measurement, Record, Status
from retable.bench.report.as_json import judgements_to_json
from retable.bench.suite import Bound, Claim, ClaimKind, Component, Entry, Expectation, Limits, Profile, Suite

MINI = Profile(name="mini", repetitions=(0, 1, 2), limits=Limits(timeout=1, memory=1))


def suite(*claims: Claim, seeds: int = 3, profile: str = "mini") -> Suite:
    entries = tuple(
        Entry(
            name=name,
            label=name,
            method=Component(use="tiny"),
            task=Component(use="nothing"),
            metrics=("score",),
            repetitions=tuple(range(seeds)),
        )
        for name in ("a", "b", "c")
    )
    chosen = Profile(name=profile, repetitions=tuple(range(seeds)), limits=MINI.limits)
    return Suite(
        name="s",
        title="",
        paper="",
        arxiv="",
        version=1,
        profile=chosen,
        profiles=("mini", "paper"),
        entries=entries,
        claims=claims,
    )


def ordering(*entries: str, **fields: Any) -> Claim:
    return Claim(
        name="o", text="t", source="s", kind="ordering", metric="score", entries=entries, profiles=("mini",), **fields
    )


def bounded(kind: ClaimKind, *entries: str, min_seeds: int = 3, **bound: float) -> Claim:
    return Claim(
        name="v",
        text="t",
        source="s",
        kind=kind,
        metric="score",
        entries=entries,
        bound=Bound(**bound),
        profiles=("mini",),
        min_seeds=min_seeds,
    )


def record(
    entry: str, repetition: int, value: float | None, *, exact: bool = False, status: Status = Status.OK
) -> Record:
    measurement = Measurement(value=value, reason=None if value is not None else "no counter", exact=exact)
    return Record(
        key=f"{entry}{repetition}",
        stage="evaluate",
        suite="s",
        entry=entry,
        profile="mini",
        repetition=repetition,
        seed=repetition,
        status=status,
        ingredients={},
        metrics={"score": measurement} if status is Status.OK else {},
        failure=None if status is Status.OK else Failure(type="E", message="it broke"),
    )


def results(exact: bool = False, **values: list[float | None]) -> dict[tuple[str, int], Record]:
    return {
        (name, i): record(name, i, value, exact=exact) for name, row in values.items() for i, value in enumerate(row)
    }


def verdict(claim: Claim, found: dict[tuple[str, int], Record], **options: int) -> Judgement:
    return judge(suite(claim, **options), found)[0]


def test_a_clear_order_is_reproduced_and_its_reverse_contradicted() -> None:
    found = results(a=[1.0, 1.1, 0.9], b=[2.0, 2.1, 1.95])
    assert verdict(ordering("a", "b"), found).verdict == "reproduced"
    assert verdict(ordering("b", "a"), found).verdict == "contradicted"


def test_pairs_decide_where_bare_means_would_not() -> None:
    found = results(a=[1.0, 5.0, 9.0], b=[1.5, 5.6, 9.4])
    assert verdict(ordering("a", "b"), found).verdict == "reproduced"


def test_an_interval_that_holds_zero_is_undecided() -> None:
    judged = verdict(ordering("a", "b"), results(a=[1.0, 2.0, 3.0], b=[2.0, 1.0, 4.0]))
    assert judged.verdict == "not measured"
    assert "undecided" in judged.reason


def test_equal_numbers_contradict_an_order_only_where_they_are_exact() -> None:
    """Three equal accuracies of 100 % say that the metric is saturated, not that the methods are equal."""
    equal = {"a": [1.0] * 3, "b": [1.0] * 3}
    assert verdict(ordering("a", "b"), results(exact=True, **equal)).verdict == "contradicted"
    judged = verdict(ordering("a", "b"), results(**equal))
    assert judged.verdict == "not measured"
    assert "undecided" in judged.reason


def test_equal_differences_decide() -> None:
    assert verdict(ordering("a", "b"), results(a=[1.0, 2.0, 3.0], b=[2.0, 3.0, 4.0])).verdict == "reproduced"


def test_every_step_of_a_chain_must_hold() -> None:
    found = results(a=[1.0, 1.0, 1.1], b=[2.0, 2.0, 2.1], c=[1.5, 1.4, 1.5])
    assert verdict(ordering("a", "c", "b"), found).verdict == "reproduced"
    assert verdict(ordering("a", "b", "c"), found).verdict == "contradicted"


@pytest.mark.parametrize(
    ("bound", "expected"),
    [
        ({"equals": 10.0, "tolerance": 1.0}, "reproduced"),
        ({"equals": 12.0, "tolerance": 1.0}, "contradicted"),
        ({"equals": 10.0, "tolerance": 0.05}, "not measured"),
        ({"at_least": 9.0}, "reproduced"),
        ({"at_least": 11.0}, "contradicted"),
        ({"at_most": 10.0}, "not measured"),
        ({"at_least": 9.0, "at_most": 11.0}, "reproduced"),
    ],
)
def test_values_against_bounds(bound: dict[str, float], expected: str) -> None:
    assert verdict(bounded("value", "a", **bound), results(a=[9.9, 10.0, 10.1])).verdict == expected


def test_ratios_are_paired() -> None:
    found = results(a=[2.0, 20.0, 200.0], b=[1.0, 10.0, 100.0])
    assert verdict(bounded("ratio", "a", "b", equals=2.0, tolerance=0.01), found).verdict == "reproduced"
    assert verdict(bounded("ratio", "a", "b", at_most=1.5), found).verdict == "contradicted"


def test_a_ratio_of_something_not_positive_is_not_measured() -> None:
    judged = verdict(bounded("ratio", "a", "b", at_least=1), results(a=[1.0, 1.0, 1.0], b=[0.0, 1.0, 1.0]))
    assert judged.verdict == "not measured"


def test_exact_numbers_need_one_seed_and_sampled_ones_three() -> None:
    claim = bounded("value", "a", equals=5.0, tolerance=0.5)
    assert verdict(claim, results(exact=True, a=[5.0])).verdict == "reproduced"
    judged = verdict(claim, results(a=[5.0, 5.0]))
    assert judged.verdict == "not measured"
    assert judged.reason == "2 seeds of at least 3"


def test_a_missing_value_is_not_zero() -> None:
    judged = verdict(bounded("value", "a", at_most=1.0), results(a=[None, None, None]))
    assert judged.verdict == "not measured"
    assert "no counter" in judged.reason


def test_failures_and_absent_cases_are_named() -> None:
    failed = {("a", i): record("a", i, None, status=Status.FAILED) for i in range(3)}
    assert "it broke" in verdict(bounded("value", "a", at_most=1.0), failed).reason
    assert "not run" in verdict(bounded("value", "a", at_most=1.0), {}).reason


@pytest.mark.parametrize("lost", [None, Status.OUT_OF_MEMORY])
def test_the_seeds_that_survived_are_not_judged(lost: Status | None) -> None:
    """b diverges at one of four seeds; without it b looks best at the other three."""
    found = results(a=[1.0, 1.1, 0.9, 1.0], b=[2.0, 2.1, 1.95, 2.0])
    found["b", 3] = record("b", 3, None, status=lost or Status.OK)
    judged = verdict(ordering("a", "b"), found, seeds=4)
    assert judged.verdict == "not measured"
    assert judged.reason.startswith("b, repetition 3: ")
    assert ("no counter" if lost is None else "out-of-memory: it broke") in judged.reason


def test_a_seed_that_was_not_run_is_only_one_fewer() -> None:
    found = results(a=[1.0, 1.1, 0.9, 1.0], b=[2.0, 2.1, 1.95])
    judged = verdict(ordering("a", "b"), found, seeds=4)
    assert judged.verdict == "reproduced"
    assert sorted(judged.evidence) == ["a0", "a1", "a2", "b0", "b1", "b2"]
    del found["b", 0]
    assert verdict(ordering("a", "b"), found, seeds=4).reason == "2 paired seeds of at least 3"


def test_pairs_are_of_equal_seeds() -> None:
    found = results(a=[1.0, 5.0, 9.0, 4.0], b=[4.1, 1.6, 5.4, 9.5])
    crossed = {("b", (repetition - 1) % 4): found["b", repetition] for repetition in range(4)}
    assert verdict(ordering("a", "b"), found, seeds=4).verdict == "not measured"
    assert verdict(ordering("a", "b"), found | crossed, seeds=4).verdict == "reproduced"


def test_one_seed_is_compared_as_it_is_only_where_a_value_claim_allows_it() -> None:
    one = results(a=[3.5], b=[7.0])
    judged = verdict(bounded("value", "a", equals=3.52, tolerance=0.1, min_seeds=1), one)
    assert judged.verdict == "reproduced"
    assert "one seed" in judged.reason
    assert judged.estimate is not None
    assert (judged.estimate.low, judged.estimate.high) == (None, None)
    for claim in (bounded("ratio", "b", "a", equals=2.0, min_seeds=1), ordering("a", "b", min_seeds=1)):
        assert verdict(claim, one).verdict == "not measured"
        assert "one pair of seeds has no interval" in verdict(claim, one).reason


def test_exact_numbers_need_no_pairs() -> None:
    found = results(exact=True, a=[3.0], b=[2.0, 2.0, 2.0])
    judged = verdict(bounded("ratio", "a", "b", equals=1.5), found)
    assert judged.verdict == "reproduced"
    assert judged.evidence == ("a0", "b0", "b1", "b2")
    del found["a", 0]
    found["a", 2] = record("a", 2, 3.0, exact=True)
    assert verdict(ordering("b", "a"), found).evidence == ("b0", "b1", "b2", "a2")


def test_an_exact_number_survives_a_lost_seed_but_not_a_changed_one() -> None:
    claim = bounded("value", "a", equals=2.0)
    found = results(exact=True, a=[2.0, 2.0, None])
    assert verdict(claim, found).verdict == "reproduced"
    assert "differs between seeds" in verdict(claim, results(exact=True, a=[2.0, 2.0, 2.5])).reason


@pytest.mark.parametrize(("equals", "tolerance", "value"), [(0.7, 0.1, 0.8), (1.1, 0.2, 1.3), (0.3, 0.0, 0.3)])
def test_the_limits_belong_to_the_bound(equals: float, tolerance: float, value: float) -> None:
    claim = bounded("value", "a", equals=equals, tolerance=tolerance)
    assert verdict(claim, results(exact=True, a=[value])).verdict == "reproduced"


def test_numbers_too_large_to_compare_are_not_measured() -> None:
    judged = verdict(ordering("a", "b"), results(a=[-1e308] * 3, b=[1e308] * 3))
    assert judged.verdict == "not measured"
    assert "too large" in judged.reason


numbers = st.lists(st.floats(-1e6, 1e6).map(lambda value: round(value, 3)), min_size=3, max_size=3)


@given(numbers, numbers)
def test_a_verdict_does_not_depend_on_the_order_of_seeds(a: list[float], b: list[float]) -> None:
    words = {
        verdict(ordering("a", "b"), results(a=[a[i] for i in order], b=[b[i] for i in order])).verdict
        for order in permutations(range(3))
    }
    assert len(words) == 1


@given(numbers, numbers)
def test_an_order_and_its_reverse_are_never_both_reproduced(a: list[float], b: list[float]) -> None:
    found = results(a=a, b=b)
    pair = verdict(ordering("a", "b"), found).verdict, verdict(ordering("b", "a"), found).verdict
    assert pair in {
        ("reproduced", "contradicted"),
        ("contradicted", "reproduced"),
        ("not measured", "not measured"),
    }


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=3), st.booleans())
def test_any_number_gives_one_of_three_words_in_strict_json(values: list[float], exact: bool) -> None:
    found = {("a", i): record("a", i, value, exact=exact) for i, value in enumerate(values)}
    judged = [verdict(bounded("value", "a", at_least=0.0), found), verdict(bounded("ratio", "a", "a", equals=1), found)]
    for item in json.loads(json.dumps(judgements_to_json(judged), allow_nan=False)):
        assert item["verdict"] in ("reproduced", "contradicted", "not measured")
        assert item["reason"]


def test_an_explanation_holds_estimate_interval_seeds_and_what_was_expected() -> None:
    found = results(a=[1.0, 1.1, 0.9], b=[2.0, 2.1, 1.95])
    text = explain(verdict(ordering("b", "a"), found))
    assert text == "difference -1.017 in [-1.065, -0.968] over 3 seeds; not b < a; EXPECTED: reproduced"
    because = Expectation(verdict="contradicted", because="mini has no guidance")
    assert "mini has no guidance" in explain(verdict(ordering("b", "a", expect=because), found))
    exact = verdict(bounded("value", "a", equals=147622080.0), results(exact=True, a=[147622080.0]))
    assert explain(exact).startswith("score 147,622,080 (exact)")


def test_numbers_of_a_case_that_failed_do_not_count() -> None:
    """A timeout can leave metrics behind."""
    found = results(a=[1.0, 1.1, 0.9])
    found["a", 2] = replace(found["a", 2], status=Status.TIMEOUT)
    judged = verdict(bounded("value", "a", at_least=0.0), found)
    assert judged.verdict == "not measured"
    assert judged.reason == "a, repetition 2: timeout"


def test_a_claim_of_another_profile_says_which() -> None:
    judged = judge(suite(ordering("a", "b"), profile="paper"), {})[0]
    assert judged.reason == "needs profile mini"


def exit_status(judgements: list[Judgement], unmeasured: list[str]) -> int:
    return status([*map(of_judgement, judgements), *map(of_case, unmeasured)])


def test_exit_statuses_tell_contradiction_from_absence() -> None:
    up = results(a=[1.0, 1.1, 0.9], b=[2.0, 2.1, 1.95])
    expected = Expectation(verdict="contradicted", because="known")
    good, bad, absent = ordering("a", "b"), ordering("b", "a"), ordering("a", "c")
    assert exit_status(judge(suite(good), up), []) == 0
    assert exit_status(judge(suite(ordering("b", "a", expect=expected)), up), []) == 0
    assert exit_status(judge(suite(good, bad), up), []) == 1
    assert exit_status(judge(suite(good, absent), up), []) == 3
    assert exit_status(judge(suite(bad, absent), up), ["s/c: not run"]) == 1
    assert exit_status(judge(suite(good), up), ["s/c: not run"]) == 3


SIMULATED, ALPHA = 2000, 0.05
MARGIN = 3 * (ALPHA * (1 - ALPHA) / SIMULATED) ** 0.5


def shares(claim: Claim, seeds: int, **means: float) -> dict[str, float]:
    """Share of each verdict over suites whose entries are a common normal seed effect plus their own unit noise."""
    generator = np.random.default_rng(7)
    words = dict.fromkeys(("reproduced", "contradicted", "not measured"), 0)
    names = list(means)
    for _ in range(SIMULATED):
        shared, noise = generator.normal(0, 5, seeds), generator.normal(0, 0.5**0.5, (len(names), seeds))
        found = results(**{name: (means[name] + shared + own).tolist() for name, own in zip(names, noise, strict=True)})
        words[verdict(claim, found, seeds=seeds).verdict] += 1
    return {word: count / SIMULATED for word, count in words.items()}


@pytest.mark.parametrize("seeds", [3, 5])
def test_false_alarms_stay_below_alpha(seeds: int) -> None:
    found = shares(ordering("a", "b"), seeds, a=0.0, b=0.0)
    assert found["reproduced"] <= ALPHA + MARGIN
    assert found["contradicted"] <= ALPHA + MARGIN
    assert found["reproduced"] > ALPHA - MARGIN, "the test is weaker than it says"


@pytest.mark.parametrize(("seeds", "effect"), [(3, 2.5), (5, 1.5)])
def test_power_at_the_declared_effect(seeds: int, effect: float) -> None:
    """In standard deviations of the paired differences."""
    assert shares(ordering("a", "b"), seeds, a=0.0, b=effect)["reproduced"] >= 0.8


def test_a_chain_with_one_false_step_is_reproduced_as_rarely_as_that_step() -> None:
    found = shares(ordering("a", "b", "c"), 3, a=0.0, b=0.0, c=50.0)
    assert ALPHA - MARGIN < found["reproduced"] <= ALPHA + MARGIN


def test_a_chain_on_the_edge_of_truth_is_contradicted_no_more_often_than_a_pair() -> None:
    found = shares(ordering("a", "b", "c"), 3, a=0.0, b=1e-9, c=2e-9)
    assert found["contradicted"] <= ALPHA + MARGIN


def test_a_value_on_the_edge_of_its_bound_is_decided_wrongly_no_more_often_than_alpha() -> None:
    found = shares(bounded("value", "a", at_most=0.0), 3, a=0.0)
    assert ALPHA - MARGIN < found["reproduced"] <= ALPHA + MARGIN
    assert ALPHA - MARGIN < found["contradicted"] <= ALPHA + MARGIN


def test_a_ratio_is_paired_on_the_logarithmic_scale() -> None:
    generator, wrong = np.random.default_rng(3), 0
    claim = bounded("ratio", "a", "b", at_most=2.0)
    for _ in range(SIMULATED):
        b = np.exp(generator.normal(0, 2, 3))
        a = 2.0 * b * np.exp(generator.normal(0, 0.3, 3))
        wrong += verdict(claim, results(a=a.tolist(), b=b.tolist())).verdict == "reproduced"
    assert ALPHA - MARGIN < wrong / SIMULATED <= ALPHA + MARGIN
