"""The probability of coming again: calibrated on simulated repetitions, told with every verdict, and held by the gate."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as reference

from retable.bench.judge import stats
from retable.bench.judge.again import LEAST, SURPRISE, Outlook, Seen, inside_outside
from retable.bench.judge.checks import of_judgement, status
from retable.bench.judge.judgement import Judgement
from retable.bench.judge.words import evidence
from retable.bench.report.as_json import judgements_to_json
from retable.bench.report.latex import render_judgements as latex
from retable.bench.report.site.view import claim_told, claim_view
from retable.bench.report.terminal import render_judgements as terminal
from retable.bench.suite import Claim, Expectation
from tests.bench.judge.test_claims import bounded, ordering, results, verdict

PAIRS = 1500
Noise = Callable[[np.random.Generator, int], np.ndarray]
NORMAL: Noise = lambda generator, n: generator.normal(0, 1, n)  # noqa: E731
UNIFORM: Noise = lambda generator, n: generator.uniform(-1.7, 1.7, n)  # noqa: E731
HEAVY: Noise = lambda generator, n: generator.standard_t(4, n) / math.sqrt(2)  # noqa: E731
SKEWED: Noise = lambda generator, n: generator.gamma(4, 0.5, n) - 2  # noqa: E731


def simulated(claim: Claim, seeds: int, noise: Noise) -> tuple[np.ndarray, np.ndarray]:
    """Of pairs of independent suites on effects of all sizes: what was predicted, and whether the verdict came again."""
    generator = np.random.default_rng(seeds)
    predicted, realised = [], []
    for _ in range(PAIRS):
        effect = generator.uniform(-12, 12)

        def repetition(effect: float = effect) -> Judgement:
            rows = {name: (row * effect + noise(generator, seeds)).tolist() for row, name in enumerate(claim.entries)}
            return verdict(claim, results(**rows), seeds=seeds)

        one, two = repetition(), repetition()
        assert one.again is not None
        predicted.append(one.again)
        realised.append(one.verdict == two.verdict)
    return np.array(predicted), np.array(realised)


@pytest.mark.parametrize(
    ("claim", "seeds", "noise"),
    [
        (ordering("a", "b"), 3, NORMAL),
        (ordering("a", "b"), 5, NORMAL),
        (ordering("a", "b"), 4, UNIFORM),
        (ordering("a", "b"), 4, HEAVY),
        (ordering("a", "b"), 4, SKEWED),
    ],
    ids=["normal 3", "normal 5", "uniform", "heavy tails", "skewed"],
)
def test_verdicts_come_again_as_often_as_is_said(claim: Claim, seeds: int, noise: Noise) -> None:
    predicted, realised = simulated(claim, seeds, noise)
    edges = (0.4, 0.6, 0.8, 0.9, 0.95, 1.0 + 1e-12)
    for low, high in pairwise(edges):
        chosen = (predicted >= low) & (predicted < high)
        if chosen.sum() >= 40:
            said, seen = predicted[chosen].mean(), realised[chosen].mean()
            slack = 3 * math.sqrt(said * (1 - said) / chosen.sum())
            assert abs(seen - said) <= slack + 0.04, (low, high, said, seen, chosen.sum())


def test_it_is_the_predictive_probability_of_the_definition() -> None:
    """Against draws of a posterior, then of a repetition, then its own t interval."""
    generator, n, draws = np.random.default_rng(0), 4, 40_000
    reach = stats.t_quantile(0.95, n - 1)
    found = Seen(mean=1.0, deviation=0.8, n=n, below=reach, above=reach)
    sigma = 0.8 * np.sqrt((n - 1) / generator.chisquare(n - 1, draws))
    mu = generator.normal(1.0, sigma / math.sqrt(n))
    again = mu[:, None] + sigma[:, None] * generator.normal(0, 1, (draws, n))
    half = reach * again.std(axis=1, ddof=1) / math.sqrt(n)
    for low, high in ((0.0, math.inf), (0.0, 2.5), (1.2, 1.4)):
        inside = ((again.mean(1) - half > low) & (again.mean(1) + half < high)).mean()
        outside = ((again.mean(1) + half < low) | (again.mean(1) - half > high)).mean()
        assert inside_outside(found, (low, high)) == pytest.approx((inside, outside), abs=0.01)


@pytest.mark.parametrize("degrees", [1, 2, 3, 9, 63])
def test_the_nodes_are_a_chi_square(degrees: int) -> None:
    nodes = stats.variance_nodes(degrees)
    assert sum(weight for _, weight in nodes) == pytest.approx(1)
    assert sum(scale * weight for scale, weight in nodes) == pytest.approx(1, abs=2e-3)
    middle = sum(weight * math.exp(-scale) for scale, weight in nodes)
    assert middle == pytest.approx(reference.chi2(degrees).expect(lambda x: math.exp(-x / degrees)), abs=2e-3)


UP = results(a=[1.0, 1.1, 0.9], b=[2.0, 2.15, 1.95])
NEARLY = results(a=[1.0, 1.1, 0.9], b=[1.55, 1.75, 1.42])
FAINT = results(a=[1.0, 1.1, 0.9], b=[1.2, 1.4, 1.35])
MIXED = results(a=[1.0, 1.1, 0.9], b=[1.2, 0.9, 1.0])


def expecting(word: str, because: str = "") -> Claim:
    return ordering("a", "b", expect=Expectation(verdict=word, because=because))  # type: ignore[arg-type]


def test_exact_numbers_come_again_for_certain_and_one_seed_tells_nothing() -> None:
    assert verdict(ordering("a", "b"), results(exact=True, a=[1.0], b=[2.0])).again == 1.0
    one = verdict(bounded("value", "a", at_least=1.0, min_seeds=1), results(a=[3.0]))
    assert one.again is None
    assert "not known (one seed)" in evidence(one)
    assert verdict(ordering("a", "b"), {}).again is None


def test_a_verdict_that_would_not_come_again_may_not_be_expected() -> None:
    """The gate fails, with what to do; `not measured` is what such a claim is expected to be."""
    judged = verdict(expecting("reproduced"), FAINT)
    assert judged.verdict == "reproduced"
    assert judged.again is not None
    assert 0.5 < judged.again < LEAST
    check = of_judgement(judged)
    assert (check.outcome, status([check])) == ("failed", 1)
    assert "EXPECTED with at least 95%" in check.detail
    assert "run more repetitions, or expect `not measured` and say why" in check.detail
    settled = of_judgement(verdict(expecting("not measured", "few seeds"), FAINT))
    assert settled.outcome == "skipped"
    assert "few seeds" in settled.detail


def test_a_verdict_that_comes_again_is_not_passed_as_unmeasured() -> None:
    assert of_judgement(verdict(expecting("reproduced"), UP)).outcome == "passed"
    surprising = of_judgement(verdict(expecting("not measured", "few seeds"), UP))
    assert surprising.outcome == "failed"
    assert "EXPECTED: not measured" in surprising.detail


def test_a_claim_near_the_threshold_is_as_expected_on_both_sides_of_it() -> None:
    """Seeds move the estimate by some hundredths: neither of two repetitions may fail for that."""
    judged = verdict(expecting("reproduced"), NEARLY)
    assert judged.again is not None
    assert LEAST < judged.again < SURPRISE
    assert of_judgement(judged).outcome == "passed"
    assert of_judgement(verdict(expecting("not measured", "few seeds"), NEARLY)).outcome == "skipped"


def test_what_some_repetitions_decide_and_others_do_not_is_expected_so() -> None:
    """Undecided, decided too seldom and decided for good are all as expected; the other way round is not."""
    either = Expectation(verdict="reproduced", otherwise="not measured", because="one seed in ten does not train")
    for values, outcome in ((UP, "passed"), (FAINT, "passed"), (MIXED, "skipped")):
        check = of_judgement(verdict(ordering("a", "b", expect=either), values))
        assert check.outcome == outcome
        assert "one seed in ten does not train" in check.detail
    wrong = of_judgement(verdict(ordering("b", "a", expect=either), UP))
    assert (wrong.outcome, status([wrong])) == ("failed", 1)
    assert "EXPECTED: reproduced or not measured" in wrong.detail


def test_a_contradiction_is_held_to_the_same() -> None:
    down = ordering("b", "a", expect=Expectation(verdict="contradicted", because="known"))
    assert of_judgement(verdict(down, UP)).outcome == "passed"
    assert of_judgement(verdict(down, FAINT)).outcome == "failed"


def test_every_output_tells_it() -> None:
    judged = verdict(expecting("reproduced"), FAINT)
    (plain,) = judgements_to_json([judged])
    assert plain["comes_again"] == judged.again
    assert plain["seeds_needed"] >= 4
    words = f"comes again with {math.floor(1000 * (judged.again or 0)) / 10:.3g} "
    for text in (
        terminal([judged], columns=0, colour=False),
        latex([judged]).replace("\\", ""),
        claim_view(judged, "s", "x").evidence,
        claim_told(judged, "s")["facts"]["Independent repetition"],
    ):
        assert words in text


def test_the_seeds_that_are_proposed_are_the_fewest() -> None:
    judged = verdict(expecting("reproduced"), FAINT)
    outlook = judged.outlook
    assert outlook is not None
    assert outlook.seeds is not None
    for seeds, enough in ((outlook.seeds, True), (outlook.seeds - 1, False)):
        steps = tuple(step.with_seeds(seeds, 0.05) for step in outlook.steps if step)
        share = Outlook(verdict="reproduced", alpha=0.05, steps=steps, strict=steps).probability
        assert share is not None
        assert (share >= LEAST) is enough


seeds = st.lists(st.floats(-100, 100).map(lambda value: round(value, 2)), min_size=3, max_size=4)


@given(seeds, seeds)
def test_it_is_a_probability_and_has_no_unit(one: list[float], two: list[float]) -> None:
    n = min(len(one), len(two))

    def share(scale: float) -> Judgement:
        found = results(a=[scale * value for value in one[:n]], b=[scale * value for value in two[:n]])
        return verdict(ordering("a", "b"), found, seeds=n)

    judged = share(1.0)
    if judged.again is not None:
        assert 0 <= judged.again <= 1
        assert share(4.0).again == pytest.approx(judged.again, abs=1e-6)


def test_a_chain_comes_again_no_more_often_than_its_weakest_step() -> None:
    found = results(a=[1.0, 1.1, 0.9], b=[1.2, 1.4, 1.35], c=[5.0, 5.3, 5.1])
    chain, step = verdict(ordering("a", "b", "c"), found).again, verdict(ordering("a", "b"), found).again
    assert chain is not None
    assert step is not None
    assert chain <= step
