"""Intervals: against SciPy's own t interval, their coverage, and what has none."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats as reference

from retable.bench.judge.stats import ALPHA, Interval, differences, interval, ratios

values = st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=8)


def limits(found: Interval) -> tuple[float, float]:
    assert found.low is not None
    assert found.high is not None
    return found.low, found.high


@given(values)
def test_it_is_the_t_interval(numbers: list[float]) -> None:
    assume(np.std(numbers) > 1e-6)
    expected = reference.t.interval(1 - 2 * ALPHA, len(numbers) - 1, loc=np.mean(numbers), scale=reference.sem(numbers))
    assert limits(interval(numbers)) == pytest.approx(expected, rel=1e-6, abs=1e-6)


@given(values, st.floats(-100, 100), st.floats(0.1, 100))
def test_it_moves_and_stretches_with_its_values(numbers: list[float], shift: float, scale: float) -> None:
    one = limits(interval(numbers))
    other = limits(interval([scale * number + shift for number in numbers]))
    size = max(map(abs, numbers)) * scale + abs(shift) + 1
    assert other == pytest.approx(tuple(scale * limit + shift for limit in one), abs=1e-9 * size * 100)


@given(values, values)
def test_a_difference_has_the_other_sign_when_swapped(one: list[float], two: list[float]) -> None:
    size = min(len(one), len(two))
    low, high = limits(differences(one[:size], two[:size]))
    assert limits(differences(two[:size], one[:size])) == pytest.approx((-high, -low))


@given(st.lists(st.tuples(st.floats(1e-3, 1e3), st.floats(1e-3, 1e3)), min_size=2, max_size=6))
def test_a_ratio_is_inverted_when_swapped_and_has_no_unit(pairs: list[tuple[float, float]]) -> None:
    of, to = [a for a, _ in pairs], [b for _, b in pairs]
    low, high = limits(ratios(of, to))
    assert limits(ratios(to, of)) == pytest.approx((1 / high, 1 / low), rel=1e-6)
    assert limits(ratios([7 * a for a in of], [7 * b for b in to])) == pytest.approx((low, high), rel=1e-6)


@pytest.mark.parametrize("n", [2, 3, 5])
def test_each_side_misses_the_truth_as_often_as_it_says(n: int) -> None:
    generator, simulated = np.random.default_rng(n), 3000
    found = [limits(interval(generator.normal(4, 2, n).tolist())) for _ in range(simulated)]
    margin = 3 * math.sqrt(ALPHA * (1 - ALPHA) / simulated)
    assert np.mean([low > 4 for low, _ in found]) == pytest.approx(ALPHA, abs=margin)
    assert np.mean([high < 4 for _, high in found]) == pytest.approx(ALPHA, abs=margin)


def test_one_value_has_no_interval_unless_it_is_exact() -> None:
    assert interval([5.0]) == Interval(5.0, None, None, 1)
    assert interval([5.0], exact=True) == Interval(5.0, 5.0, 5.0, 1)
    alone = interval([5.0])
    assert not alone.above(4)
    assert not alone.below(6)
    assert not alone.inside(4, 6)


def test_equal_values_have_no_width_and_exactly_their_own_mean() -> None:
    assert interval([0.1] * 3) == Interval(0.1, 0.1, 0.1, 3)


def test_an_exact_ratio_is_not_rounded_by_logarithms() -> None:
    assert ratios([147_622_080.0], [2.0], exact=True).mean == 73_811_040.0


@pytest.mark.parametrize(
    "call",
    [
        lambda: interval([]),
        lambda: interval([1.0, 2.0], exact=True),
        lambda: interval([float("nan")]),
        lambda: interval([1e308, 1.7e308, 1.5e308]),
        lambda: differences([1e308], [-1e308]),
        lambda: differences([1.0], [1.0, 2.0]),
        lambda: ratios([0.0], [1.0]),
        lambda: ratios([1.0], [0.0], exact=True),
        lambda: ratios([1.0, -1.0], [1.0, 1.0]),
        lambda: ratios([1e308, 1e300], [1e-300, 1e-308]),
        lambda: ratios([1e308], [1e-308], exact=True),
    ],
)
def test_what_has_no_interval_is_refused(call: object) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        call()  # type: ignore[operator]
