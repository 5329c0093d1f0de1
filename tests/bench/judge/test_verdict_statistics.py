"""Statistics of verdicts: on a thousand suites of known truth, no more false alarms than declared, and the declared power."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import stdtrit

from retable.bench.judge import stats
from retable.bench.judge.claims import judge
from retable.bench.judge.spread import describe, of_records, sampling_error, spread
from retable.bench.record import Measurement
from retable.bench.suite import Claim, Statistics
from tests.bench.judge.test_claims import bounded, ordering, record, results, suite

SUITES = 1000


def slack(share: float) -> float:
    """Three standard deviations of a binomial share over SUITES: one test in seven hundred fails by chance."""
    return 3 * math.sqrt(share * (1 - share) / SUITES)


def shares(statistics: Statistics, seeds: int, gap: float) -> dict[str, dict[str, float]]:
    """Verdicts over SUITES suites by claim: rows `a` and `b` are `gap` standard deviations of their differences apart.

    The seeds' own effect, which both rows share, is ten times as large: only pairs can see through it.
    """
    claims: dict[str, Claim] = {
        "ordering": replace(ordering("a", "b"), name="ordering"),
        "ratio": replace(bounded("ratio", "b", "a", at_least=1.0), name="ratio"),
        "value": replace(bounded("value", "c", at_least=1.0), name="value"),
    }
    held = replace(suite(*claims.values(), seeds=seeds), statistics=statistics)
    words = ("reproduced", "contradicted", "not measured")
    counts = {name: dict.fromkeys(words, 0) for name in claims}
    generator = np.random.default_rng(11)
    for _ in range(SUITES):
        shared, step = generator.normal(0, 10, seeds), generator.normal(gap, 1, seeds)
        a = np.exp((100 + shared) / 100)
        b = a * np.exp(step / 100)  # what orders the rows and what is their ratio are the same events
        c = 1 + step
        for judged in judge(held, results(a=a.tolist(), b=b.tolist(), c=c.tolist())):
            counts[judged.claim.name][judged.verdict] += 1
    return {name: {word: count / SUITES for word, count in found.items()} for name, found in counts.items()}


@pytest.mark.parametrize(("alpha", "seeds"), [(0.05, 3), (0.05, 5), (0.01, 5), (0.2, 4)])
def test_equal_rows_raise_no_more_false_alarms_than_declared(
    alpha: float, seeds: int, record_property: Callable[[str, object], None]
) -> None:
    counted = shares(Statistics(alpha=alpha), seeds, gap=0.0)
    worst = max(found[word] for found in counted.values() for word in ("reproduced", "contradicted"))
    record_property("figure", f"{worst:.1%} false alarms where {alpha:.0%} is declared ({seeds} seeds)")
    for claim, found in counted.items():
        for word in ("reproduced", "contradicted"):
            assert found[word] <= alpha + slack(alpha), (claim, word)
            assert found[word] >= alpha - slack(alpha), (claim, word, "weaker than declared")


@pytest.mark.parametrize(("alpha", "effect"), [(0.05, 2.5), (0.05, 1.5), (0.05, 1.2), (0.01, 2.0)])
def test_the_declared_effect_is_seen_with_the_declared_power(
    alpha: float, effect: float, record_property: Callable[[str, object], None]
) -> None:
    declared = Statistics(alpha=alpha, power=0.8, effect=effect)
    seeds = stats.seeds_needed(effect, declared.power, alpha)
    counted = shares(declared, seeds, gap=effect)
    seen = min(found["reproduced"] for found in counted.values())
    record_property("figure", f"{seen:.0%} power where 80% is declared (effect {effect:g}, alpha {alpha:.0%})")
    for claim, found in counted.items():
        assert found["reproduced"] >= declared.power - slack(declared.power), claim
        assert found["contradicted"] <= slack(0.01), claim
    for claim, found in shares(declared, seeds, gap=0.0).items():
        assert found["reproduced"] <= alpha + slack(alpha), claim


def test_fewer_seeds_than_show_the_effect_are_not_measured() -> None:
    up = results(a=[1.0, 1.1, 0.9], b=[9.0, 9.1, 8.9])
    held = replace(suite(ordering("a", "b")), statistics=Statistics(effect=1.0))
    (judged,) = judge(held, up)
    assert judged.verdict == "not measured"
    assert judged.reason == "3 paired seeds of at least 8 to see an effect of 1 standard deviations with power 80%"
    assert judge(replace(held, statistics=Statistics(effect=2.5)), up)[0].verdict == "reproduced"
    assert judge(replace(held, statistics=Statistics()), up)[0].verdict == "reproduced"
    hopeless = judge(replace(held, statistics=Statistics(alpha=1e-6, power=0.999, effect=0.05)), up)[0]
    assert "more than 10000 seeds" in hopeless.reason


def test_exact_numbers_need_no_seeds() -> None:
    held = replace(suite(bounded("value", "a", equals=2.0)), statistics=Statistics(effect=1.0))
    assert judge(held, results(exact=True, a=[2.0]))[0].verdict == "reproduced"


# What the intervals are made of


@given(st.floats(0.001, 0.999), st.integers(1, 300))
def test_the_quantile_is_scipys(p: float, degrees: int) -> None:
    assert stats.t_quantile(p, degrees) == pytest.approx(float(stdtrit(degrees, p)), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(("effect", "alpha"), [(2.5, 0.05), (1.0, 0.05), (0.5, 0.01), (3.0, 0.2)])
def test_the_seeds_needed_are_the_fewest(effect: float, alpha: float) -> None:
    seeds = stats.seeds_needed(effect, 0.8, alpha)
    assert stats.power(effect, seeds, alpha) >= 0.8
    assert seeds == 2 or stats.power(effect, seeds - 1, alpha) < 0.8


def test_a_bootstrap_of_three_seeds_would_raise_more_than_twice_the_false_alarms() -> None:
    """Why few seeds are Student's alone."""
    generator = np.random.default_rng(0)
    alarms = [stats.bootstrap(generator.normal(0, 1, 3).tolist())[0] > 0 for _ in range(400)]
    assert np.mean(alarms) > 2 * stats.ALPHA


def test_many_seeds_are_held_to_both() -> None:
    generator, alarms, simulated = np.random.default_rng(1), 0, 300
    for _ in range(simulated):
        values = generator.normal(0, 1, stats.BOOTSTRAP).tolist()
        both, alone = stats.careful(values), stats.interval(values)
        low, high = stats.bootstrap(values)
        assert None not in (both.low, both.high, alone.low, alone.high)
        assert (both.low, both.high) == (min(alone.low, low), max(alone.high, high))  # type: ignore[type-var]
        alarms += both.above(0)
    assert alarms / simulated <= stats.ALPHA + 3 * math.sqrt(stats.ALPHA * (1 - stats.ALPHA) / simulated)


def test_the_same_numbers_in_another_order_have_the_same_bootstrap() -> None:
    values = np.random.default_rng(2).exponential(1, 12).tolist()
    assert stats.bootstrap(values) == stats.bootstrap(values[::-1])


def test_numbers_too_alike_to_be_resampled_keep_students_limits() -> None:
    values = [1.0] * 11 + [1.0 + 1e-15]
    found = stats.careful(values)
    assert found.low is not None
    assert found.low <= found.mean


# The three spreads


def accuracies(generator: np.random.Generator, seeds: int, samples: int) -> list[Measurement]:
    """Each seed's model has its own true accuracy of 0.7 ± 0.1, measured on so many samples."""
    found = []
    for chance in np.clip(generator.normal(0.7, 0.1, seeds), 0, 1):
        hits = (generator.random(samples) < chance).astype(float)
        found.append(Measurement(value=hits.mean(), samples=tuple(hits.tolist())))
    return found


def test_more_samples_shrink_one_spread_and_more_seeds_none() -> None:
    generator = np.random.default_rng(5)
    few, many = (spread(accuracies(generator, 40, samples)) for samples in (50, 5000))
    assert few is not None
    assert many is not None
    assert few.sampling == pytest.approx(math.sqrt(0.7 * 0.3 / 50), rel=0.15)
    assert many.sampling == pytest.approx(math.sqrt(0.7 * 0.3 / 5000), rel=0.15)
    assert many.seeds == pytest.approx(0.1, rel=0.35)
    assert few.seeds == pytest.approx(math.hypot(0.1, few.sampling or 0), rel=0.35)


def test_what_the_samples_do_not_tell_stays_unknown() -> None:
    assert sampling_error(Measurement(value=12.0, samples=(1.0, 2.0, 3.0))) is None
    assert sampling_error(Measurement(value=None, reason="x")) is None
    assert sampling_error(Measurement(value=5.0, exact=True)) == 0.0
    assert sampling_error(Measurement(value=200.0, samples=(1.0, 3.0))) == pytest.approx(100.0)
    assert sampling_error(Measurement(value=math.exp(2), samples=(1.0, 3.0))) == pytest.approx(math.exp(2))
    assert sampling_error(Measurement(value=5.0, details={"standard_error": 0.25})) == 0.25
    assert spread([Measurement(value=None, reason="x")]) is None


def test_runs_of_one_seed_are_a_spread_of_their_own() -> None:
    rows = [record("a", seed, float(seed)) for seed in range(3)]
    raw = [
        {"key": "a1", "kind": "repeat", "differences": {"score": 0.01}},
        {"key": "a2", "kind": "batch", "differences": {"score": 9.0}},
    ]
    (found,) = of_records(rows, raw).values()
    assert (found.seeds, found.sampling, found.repeats) == (1.0, None, 0.01)
    assert describe("score", found) == (
        "score: between seeds 1; sampling unknown (the metric is no mean over samples); "
        "between runs of one seed 0.01 of the number"
    )
    assert "unknown (one seed)" in describe("score", of_records(rows[:1], [])["score"])
