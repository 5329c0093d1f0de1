"""Limits of value claims: no more false alarms than declared where numbers are skewed, shares of few samples, or equal."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retable.bench.judge.claims import judge
from retable.bench.judge.limits import of_mean
from retable.bench.judge.spread import cautious_error
from retable.bench.judge.stats import ALPHA, interval
from retable.bench.record import Measurement
from tests.bench.judge.test_claims import bounded, record, results, suite, verdict

SUITES = 1500
SLACK = 3 * math.sqrt(ALPHA * (1 - ALPHA) / SUITES)
Draw = Callable[[np.random.Generator, int], np.ndarray]


def alarms(draw: Draw, truth: float, seeds: int, **measured: int | str) -> tuple[float, float]:
    """How often a suite's claim that the mean is beyond its true value, on either side, is called reproduced."""
    generator = np.random.default_rng(seeds)
    above = replace(bounded("value", "a", at_least=truth + 1e-9), name="above")
    below = replace(bounded("value", "a", at_most=truth - 1e-9), name="below")
    held, counts = suite(above, below, seeds=seeds), {"above": 0, "below": 0}
    for _ in range(SUITES):
        found = {}
        for seed, value in enumerate(draw(generator, seeds).tolist()):
            one = Measurement(value=value, **measured)  # type: ignore[arg-type]
            found["a", seed] = replace(record("a", seed, value), metrics={"score": one})
        for judged in judge(held, found):
            counts[judged.claim.name] += judged.verdict == "reproduced"
    return counts["above"] / SUITES, counts["below"] / SUITES


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize(
    ("draw", "truth"),
    [
        (lambda generator, n: generator.lognormal(0, 1, n), math.exp(0.5)),
        (lambda generator, n: generator.exponential(1, n), 1.0),
        (lambda generator, n: -generator.lognormal(0, 1, n), -math.exp(0.5)),
        (lambda generator, n: generator.normal(50, 3, n), 50.0),
        (lambda generator, n: (generator.random(n) < 0.9).astype(float), 0.9),
    ],
    ids=["lognormal", "exponential", "negative lognormal", "normal", "zero or one"],
)
def test_skewed_and_two_valued_numbers_raise_no_more_false_alarms_than_declared(
    draw: Draw, truth: float, seeds: int
) -> None:
    for rate in alarms(draw, truth, seeds):
        assert rate <= ALPHA + SLACK


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize(("samples", "chance"), [(20, 0.95), (20, 0.5), (100, 0.99)])
def test_accuracies_of_few_samples_are_as_sure_as_their_samples(samples: int, chance: float, seeds: int) -> None:
    def draw(generator: np.random.Generator, n: int) -> np.ndarray:
        return 100 * generator.binomial(samples, chance, n) / samples

    for rate in alarms(draw, 100 * chance, seeds, n=samples, unit="%"):
        assert rate <= ALPHA + SLACK


@pytest.mark.parametrize("chance", [0.9, 0.97])
def test_one_test_set_for_all_seeds_is_one_draw_of_it(chance: float) -> None:
    """Three networks that make the same mistakes agree with each other, and with no other test set."""

    def draw(generator: np.random.Generator, n: int) -> np.ndarray:
        return 100 * (generator.binomial(100, chance) + generator.integers(0, 2, n)).clip(0, 100) / 100

    for rate in alarms(draw, 100 * chance + 0.5, 3, n=100, unit="%"):
        assert rate <= ALPHA + SLACK


def test_equal_numbers_decide_nothing_unless_they_are_exact() -> None:
    judged = verdict(bounded("value", "a", at_least=0.5), results(a=[1.0, 1.0, 1.0]))
    assert judged.verdict == "not measured"
    assert "equal numbers that are not exact show no spread" in judged.reason
    rounded = verdict(bounded("value", "a", at_least=0.25), results(a=[0.1 + 0.2, 0.3, 0.3]))
    assert rounded.verdict == "not measured", "the last bit is no spread"
    assert verdict(bounded("value", "a", at_least=0.5), results(exact=True, a=[1.0] * 3)).verdict == "reproduced"


def test_a_perfect_score_has_the_width_of_its_samples() -> None:
    perfect = [Measurement(value=100.0, unit="%", n=20, samples=(100.0,) * 20)] * 3
    found = of_mean([100.0] * 3, error=cautious_error(perfect))
    assert found.low is not None
    assert 80 < found.low < 95
    assert cautious_error([replace(perfect[0], n=2000, samples=None)]) < 0.2


def test_a_count_is_no_share() -> None:
    assert cautious_error([Measurement(value=0.0, n=64)] * 3) == 0.0
    assert cautious_error([Measurement(value=7.5, n=64)] * 3) == 0.0
    assert cautious_error([Measurement(value=0.9852, n=25)]) == 0.0
    assert cautious_error([Measurement(value=0.75, n=64)]) == pytest.approx(math.sqrt(0.25 * 0.75 / 64), rel=0.2)


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=6), st.floats(0, 10))
def test_the_limits_lie_outside_students_and_grow_with_the_sampling_error(values: list[float], error: float) -> None:
    plain, alone, wide = interval(values), of_mean(values), of_mean(values, error=error)
    if alone.low is None or alone.high is None:
        assert max(values) - min(values) <= 1e-9
        return
    assert plain.low is not None
    assert plain.high is not None
    assert wide.low is not None
    assert wide.high is not None
    size = 1e-9 * (max(map(abs, values)) + alone.high - alone.low)
    assert wide.low - size <= alone.low <= plain.low + size
    assert wide.high + size >= alone.high >= plain.high - size


def test_a_small_spread_keeps_students_limits() -> None:
    values = [100.0, 100.2, 99.9, 100.1]
    one, other = of_mean(values), interval(values)
    assert (one.low, one.high) == pytest.approx((other.low, other.high), abs=0.002)
