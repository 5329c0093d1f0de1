"""Correlations of two metrics over rows: what they are, when they are decided, and how seldom wrongly."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from retable.bench.judge.claims import judge
from retable.bench.judge.correlation import between_seeds, coefficient
from retable.bench.judge.predicate import statement
from retable.bench.judge.words import explain
from retable.bench.record import Measurement, Record
from retable.bench.suite import Bound, Claim, Entry, Suite
from tests.bench.judge.test_claims import bounded, record, suite

NAMES = ("a", "b", "c", "d")
SIZES = [1.0, 10.0, 100.0, 1000.0]
DECLARED, SLACK, WORLDS = 0.05, 0.027, 600


def made(min_seeds: int = 3, log: bool = True, **bound: float) -> Claim:
    claim = replace(bounded("correlation", *NAMES, **bound), against="size", log=log, min_seeds=min_seeds)
    return replace(claim, text="FID falls with size", source="Figure 6")


def world(claim: Claim, scores: Any, sizes: Any = SIZES, *, exact: bool = False) -> tuple[Suite, dict[Any, Record]]:
    """A suite with the claim, and records of its rows: `scores` by seed and row."""
    seeds, found = range(len(scores)), {}
    for seed in seeds:
        for name, score, size in zip(NAMES, scores[seed], sizes, strict=False):
            one = record(name, seed, float(score), exact=exact)
            sized = Measurement(value=size, exact=True)
            found[name, seed] = replace(one, metrics={**one.metrics, "size": sized})
    held = suite(claim, seeds=len(scores))
    rows: list[Entry] = [
        replace(held.entries[0], name=name, label=name, metrics=("score", "size")) for name in claim.entries
    ]
    return replace(held, entries=tuple(rows)), found


def test_one_seed_is_compared_as_it_is_where_the_claim_allows_it() -> None:
    claim = made(min_seeds=1, equals=-0.9838, tolerance=0.01)
    (judged,) = judge(*world(claim, [[3.52, 2.83, 2.56, 2.21]], [147.6e6, 349.8e6, 763.3e6, 1335.9e6]))
    assert explain(judged) == "correlation -0.9871 over 1 seed; inside the bound; one seed has no interval"
    assert "[correlation of score with log size over a, b, c, d = -0.9838 ± 0.01; 1 seed" in statement(claim)
    (other,) = judge(*world(replace(claim, log=False), [[3.52, 2.83, 2.56, 2.21]], [147.6e6, 349.8e6, 763.3e6, 1336e6]))
    assert other.verdict == "contradicted"
    (alone,) = judge(*world(replace(claim, min_seeds=3), [[3.52, 2.83, 2.56, 2.21]]))
    assert (alone.verdict, alone.reason) == ("not measured", "1 paired seed of at least 3")


def test_exact_numbers_decide_by_themselves() -> None:
    (judged,) = judge(*world(made(at_most=-0.95), [[4.0, 3.0, 2.0, 1.0]] * 3, exact=True))
    assert (judged.verdict, judged.again) == ("reproduced", 1.0)


@pytest.mark.parametrize(
    ("scores", "sizes", "reason"),
    [
        ([[2.0, 2.0, 2.0, 2.0]], SIZES, "the same in all rows"),
        ([[4.0, 3.0, 2.0, 1.0]], [5.0] * 4, "the same in all rows"),
        ([[4.0, 3.0, 2.0, 1.0]], [0.0, 1.0, 2.0, 3.0], "needs positive numbers"),
        ([[4.0, 3.0, 2.0, 1.0], [5.0, 4.0, 3.0, 2.0]], SIZES, "lie on a line"),
        ([[4.0, 2.0, 2.0, 1.0], [8.0, 4.0, 4.0, 2.0]], SIZES, "show no spread"),
        ([[4.0, 3.0, 2.0]], SIZES, "d was not run"),
    ],
)
def test_what_has_no_correlation_is_not_measured_and_says_why(scores: Any, sizes: Any, reason: str) -> None:
    (judged,) = judge(*world(made(min_seeds=1, at_most=-0.5), scores, sizes))
    assert judged.verdict == "not measured"
    assert reason in judged.reason


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_few_rows_and_numbers_without_end_are_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="at least 3 rows, not 2"):
        coefficient([1.0, 2.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="finite"):
        coefficient([1.0, 2.0, bad], [1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="finite"):
        coefficient([1.0, 2.0, 3.0], [1.0, bad, 3.0])


numbers = st.floats(-1e6, 1e6)
pairs = st.lists(st.tuples(numbers, numbers), min_size=3, max_size=8)


def sides(points: list[tuple[float, float]]) -> tuple[list[float], list[float]]:
    """Both sides, far enough from constant that rounding says nothing."""
    values, against = (list(side) for side in zip(*points, strict=True))
    for side in (values, against):
        assume(max(side) - min(side) > max(1e-3, 1e-3 * max(map(abs, side))))
    return values, against


@given(pairs)
def test_it_is_pearsons(points: list[tuple[float, float]]) -> None:
    values, against = sides(points)
    assert coefficient(values, against) == pytest.approx(np.corrcoef(values, against)[0, 1], abs=1e-9)


@given(pairs, st.floats(1e-3, 1e3), numbers, st.randoms())
def test_neither_units_nor_order_nor_roles_matter_and_a_turned_side_turns_it(
    points: list[tuple[float, float]], factor: float, shift: float, random: Any
) -> None:
    values, against = sides(points)
    assume(max(values) - min(values) > 1e-3 * abs(shift) / factor)
    r = coefficient(values, against)
    assert -1 <= r <= 1
    assert coefficient(against, values) == pytest.approx(r, abs=1e-9)
    assert coefficient([factor * value + shift for value in values], against) == pytest.approx(r, abs=1e-9)
    assert coefficient([-value for value in values], against) == pytest.approx(-r, abs=1e-9)
    assert coefficient(values, [math.exp(one / 1e5) for one in against], log=True) == pytest.approx(r, abs=1e-6)
    order = random.sample(range(len(values)), len(values))
    assert coefficient([values[i] for i in order], [against[i] for i in order]) == pytest.approx(r, abs=1e-9)


@given(st.floats(1e-300, 1e300))
def test_no_scale_overflows_or_vanishes(scale: float) -> None:
    assert coefficient([scale, 2 * scale, 4 * scale], [1.0, 2.0, 3.0]) == pytest.approx(0.98198, abs=1e-4)


@given(st.lists(st.floats(-0.999, 0.999), min_size=2, max_size=6, unique=True))
def test_an_interval_holds_its_middle_and_ends_before_one(found: list[float]) -> None:
    assume(max(found) - min(found) > 1e-6)
    estimate, _ = between_seeds(found, 0.05)
    assert estimate.low is not None
    assert estimate.high is not None
    assert -1 <= estimate.low < estimate.mean < estimate.high <= 1


def verdicts(edge: float, slope: float, noise: float, seeds: int, worlds: int = WORLDS) -> Counter[str]:
    """Of many tables that fall by `slope` on a claim of a correlation of `edge` at most."""
    draws, claim = np.random.default_rng(0), made(at_most=edge)
    scores = slope * np.log(SIZES) + draws.normal(scale=noise, size=(worlds, seeds, len(SIZES)))
    return Counter(judge(*world(claim, one))[0].verdict for one in scores)


@pytest.mark.parametrize(("noise", "seeds"), [(0.3, 3), (1.0, 5)])
def test_at_its_edge_either_verdict_is_wrong_as_seldom_as_declared_and_away_from_it_mostly_right(
    noise: float, seeds: int
) -> None:
    """FIDs that fall with the logarithm of size, with noise between seeds."""
    slope = -0.5
    many = slope * np.log(SIZES) + np.random.default_rng(1).normal(scale=noise, size=(20_000, len(SIZES)))
    true = float(np.tanh(np.mean([math.atanh(coefficient(one, SIZES, log=True)) for one in many.tolist()])))
    found = verdicts(true, slope, noise, seeds)
    assert found["reproduced"] / WORLDS <= DECLARED + SLACK
    assert found["contradicted"] / WORLDS <= DECLARED + SLACK
    assert verdicts(true / 2, slope, noise, seeds, 100)["reproduced"] >= (80 if noise < 1 else 50)


def test_a_row_that_gave_no_number_stops_the_claim() -> None:
    held, found = world(made(at_most=-0.5), [[4.0, 3.0, 2.0, 1.0 + seed / 10] for seed in range(3)])
    lost = replace(found["c", 1], metrics={"score": found["c", 1].metrics["score"]})
    (judged,) = judge(held, {**found, ("c", 1): lost})
    assert judged.verdict == "not measured"
    assert "c, repetition 1" in judged.reason
    assert Bound(at_most=-0.5) == judged.claim.bound
