"""Verdicts: three words, an exit status that tells them apart, and error rates that hold on suites with known truth."""

from __future__ import annotations

import numpy as np
import pytest

from bench.gate import Judgement, exit_status, judge
from bench.record import Failure, Measurement, Record, Status
from bench.suite import Bound, Claim, Component, Entry, Expectation, Limits, Profile, Suite

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


def ordering(*entries: str, **fields: object) -> Claim:
    return Claim(
        name="o", text="t", source="s", kind="ordering", metric="score", entries=entries, profiles=("mini",), **fields
    )


def bounded(kind: str, *entries: str, **bound: float) -> Claim:
    return Claim(
        name="v",
        text="t",
        source="s",
        kind=kind,
        metric="score",
        entries=entries,
        bound=Bound(**bound),
        profiles=("mini",),
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


def test_equal_numbers_are_no_order() -> None:
    assert verdict(ordering("a", "b"), results(a=[1.0] * 3, b=[1.0] * 3)).verdict == "contradicted"


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
    assert "2 paired seeds of at least 3" in judged.reason


def test_a_missing_value_is_not_zero() -> None:
    judged = verdict(bounded("value", "a", at_most=1.0), results(a=[None, None, None]))
    assert judged.verdict == "not measured"
    assert "no counter" in judged.reason


def test_failures_and_absent_cases_are_named() -> None:
    failed = {("a", i): record("a", i, None, status=Status.FAILED) for i in range(3)}
    assert "it broke" in verdict(bounded("value", "a", at_most=1.0), failed).reason
    assert "not run" in verdict(bounded("value", "a", at_most=1.0), {}).reason


def test_a_claim_of_another_profile_says_which() -> None:
    judged = judge(suite(ordering("a", "b"), profile="paper"), {})[0]
    assert judged.reason == "needs profile mini"


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


def simulated(effect: float, seeds: int) -> dict[str, float]:
    """Share of each verdict over suites whose paired differences are normal with mean `effect` and unit deviation."""
    generator = np.random.default_rng(7)
    words: dict[str, int] = {}
    for _ in range(SIMULATED):
        base = generator.normal(0, 5, seeds)
        found = results(a=base.tolist(), b=(base + generator.normal(effect, 1, seeds)).tolist())
        word = verdict(ordering("a", "b"), found, seeds=seeds).verdict
        words[word] = words.get(word, 0) + 1
    return {word: count / SIMULATED for word, count in words.items()}


@pytest.mark.parametrize("seeds", [3, 5])
def test_false_alarms_stay_below_alpha(seeds: int) -> None:
    shares = simulated(0.0, seeds)
    margin = 3 * (ALPHA * (1 - ALPHA) / SIMULATED) ** 0.5
    assert shares.get("reproduced", 0) <= ALPHA + margin
    assert shares.get("contradicted", 0) <= ALPHA + margin
    assert shares["reproduced"] > ALPHA - margin, "the test is weaker than it says"


@pytest.mark.parametrize(("seeds", "effect"), [(3, 3.5), (5, 1.5)])
def test_power_at_the_declared_effect(seeds: int, effect: float) -> None:
    assert simulated(effect, seeds)["reproduced"] >= 0.8
