"""Early stop and read noise: the rules, what `classify` makes of them, and the metrics over its evidence."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from retable.bench.errors import BenchError
from retable.bench.metrics.early_stop import ExitAccuracy, ExitCost, ExitEnergy, ExitGain, ExitStep, LoadSaving
from retable.bench.metrics.operations import Energy
from retable.bench.metrics.read_noise import NoiseArea, NoiseCost, NoisyAccuracy
from retable.bench.tasks.classify import Classify
from retable.bench.tasks.early_stop import Stop, changes, confidences, exits, settled
from retable.models.prime.config import Convolution
from retable.models.prime.method import Prime
from tests.bench.tasks.test_classify import Reader, numbered
from tests.models.test_prime import events

LABELS = np.array([0, 1, 2, 0])


def sure_at(step: int, label: int, T: int = 5) -> torch.Tensor:
    """Logits (T, 3) whose running mean becomes sure of a class at a step and was of no opinion before."""
    logits = torch.zeros(T, 3)
    logits[step - 1 :, label] = 100.0
    return logits


@given(seed=st.integers(0, 10**6), T=st.integers(1, 6), N=st.integers(2, 30), batch_size=st.integers(1, 40))
@settings(deadline=None, max_examples=40)
def test_each_sample_stops_by_itself_whatever_its_batch(seed: int, T: int, N: int, batch_size: int) -> None:
    rng = np.random.default_rng(seed)
    logits, labels = torch.from_numpy(rng.normal(0, 3, (T, N, 3))), rng.integers(0, 3, N)
    stop = Stop(threshold=0.6, temperature=2.0, curve=(0.0, 0.4, 0.9, 1.0))
    task = Classify(batch_size=batch_size, account_samples=0, early_stop=stop)
    evidence = task.evidence(Reader(logits), numbered(labels, 3), seed=0, device="cpu")
    for i in range(N):
        expected = T
        for t in range(1, T + 1):
            if (logits[:t, i].mean(0) / 2).softmax(-1).max() > 0.6:
                expected = t
                break
        assert evidence.exits is not None
        assert evidence.exits.at[i] == expected
        assert evidence.correct_at(evidence.exits.at)[i] == (int(logits[:expected, i].mean(0).argmax()) == labels[i])
    curve = evidence.exits.curve
    assert list(curve) == [0.0, 0.4, 0.6, 0.9, 1.0]
    assert all((curve[a] <= curve[b]).all() for a, b in zip(list(curve), list(curve)[1:], strict=False))
    assert (curve[0.0] == 1).all()
    assert (curve[1.0] == T).all()


def stopped(threshold: float = 0.8) -> Any:
    """Samples that are right from step 1, 2, 3 on, and one that is sure of a wrong class at 2 and right at the end."""
    logits = torch.stack([sure_at(1, 0), sure_at(2, 1), sure_at(3, 2), sure_at(2, 1)], dim=1)
    logits[4, 3] = torch.tensor([1000.0, 0, 0])
    task = Classify(account_samples=0, early_stop=Stop(threshold=threshold, curve=(1.0,)))
    return task.evidence(Reader(logits), numbered(LABELS, 3), seed=0, device="cpu")


def test_what_stopping_early_costs_and_saves() -> None:
    evidence = stopped()
    assert evidence.exits.at.tolist() == [1, 2, 3, 2]
    assert ExitStep().measure(evidence).value == 2
    assert LoadSaving().measure(evidence).value == pytest.approx(60)
    assert ExitAccuracy().measure(evidence).value == 75
    assert ExitCost().measure(evidence).value == 25
    at_two = 100 * evidence.correct_by_step[1].mean()
    assert ExitGain().measure(evidence).value == pytest.approx(75 - at_two)
    details = LoadSaving().measure(evidence).details
    assert (details["threshold 0.8"], details["threshold 1"]) == (pytest.approx(60), 0)
    assert json.loads(evidence.artefacts()["exits.json"]) == {"threshold": 0.8, "steps": [1, 2, 3, 2]}


def test_without_an_early_stop_its_metrics_are_absent() -> None:
    evidence = Classify(account_samples=0).evidence(
        Reader(torch.zeros(2, 4, 3)), numbered(LABELS, 3), seed=0, device="cpu"
    )
    for metric in (ExitStep(), LoadSaving(), ExitAccuracy(), ExitCost(), ExitGain(), ExitEnergy(rule="full")):
        measurement = metric.measure(evidence)
        assert measurement.value is None
        assert measurement.reason == "the task stops no sample early"
    for noise in (NoisyAccuracy(noise=0.1), NoiseCost(noise=0.1), NoiseArea()):
        assert noise.measure(evidence).reason == "the task reads no weight with noise"


def test_logits_that_are_not_finite_never_count_as_sure() -> None:
    logits = torch.stack([sure_at(1, 0), sure_at(2, 1)], dim=1)
    logits[0, 0, 1] = torch.nan
    first_TN, _ = confidences(logits, 2.0)
    assert exits(first_TN, 0.8).tolist() == [5, 2]
    task = Classify(account_samples=0, early_stop=Stop(threshold=0.8))
    evidence = task.evidence(Reader(logits), numbered(LABELS[:2], 3), seed=0, device="cpu")
    assert "not finite" in str(ExitAccuracy().measure(evidence).reason)


def test_a_filling_has_settled_when_three_changes_fall_below_the_threshold() -> None:
    def steps(sums: list[float], threshold: float = 0.2) -> int:
        images = np.cumsum(np.array(sums) * 100).reshape(-1, 1, 1)
        return int(settled(changes(images), threshold)[0])

    assert steps([0.5, 0.4, 0.1, 0.05]) == 3
    assert steps([0.05, 0.1, 0.08, 0.05, 0.01]) == 4  # 0.05 < 0.1: not falling yet at the third
    assert steps([0.5, 0.4, 0.3, 0.25]) == 4  # falling, never small
    assert steps([0.5, 0.5, 0.1, 0.1]) == 4  # strictly
    assert steps([0.1]) == 1
    both = np.stack([np.cumsum([50.0, 40, 10, 5]), np.cumsum([5.0, 10, 8, 9])], 1)[..., None]
    assert settled(changes(both), 0.2).tolist() == [3, 4]


@pytest.fixture(scope="module")
def fitted() -> Any:
    data = events()
    method = Prime(convolutions=(Convolution(8),), T=5, epochs=12, batch_size=20, lr=3e-2)
    return method.fit(data, {}, seed=0, device="cpu")[0], data


def test_a_network_counts_up_to_the_exits_only(fitted: Any) -> None:
    model, data = fitted
    found = {}
    for threshold in (0.0, 0.45, 1.0):
        task = Classify(early_stop=Stop(threshold=threshold), account_samples=20)
        found[threshold] = task.evidence(model, data, seed=0, device="cpu")
    energies = [ExitEnergy(rule="full").measure(evidence).value for evidence in found.values()]
    assert all(energy is not None for energy in energies)
    assert energies[0] < energies[1] < energies[2]
    assert energies[2] == pytest.approx(Energy(rule="full").measure(found[1.0]).value)
    alone = Classify(early_stop=Stop(threshold=0.45), account_samples=0, batch_size=1)
    assert np.array_equal(alone.evidence(model, data, seed=0, device="cpu").exits.at, found[0.45].exits.at)


def test_read_noise_is_that_of_its_draw_in_every_batch_and_gone_afterwards(fitted: Any) -> None:
    model, data = fitted
    seen = []
    for batch_size in (3, 50):
        task = Classify(account_samples=0, batch_size=batch_size, read_noise=(0.0, 0.1, 2.0), noise_draws=3)
        seen.append(task.evidence(model, data, seed=5, device="cpu"))
    for noise in (0.0, 0.1, 2.0):
        assert np.array_equal(seen[0].noisy_correct[noise], seen[1].noisy_correct[noise])
    evidence = seen[0]
    assert np.array_equal(evidence.noisy_correct[0.0], evidence.correct_by_step[-1])
    accuracy = {noise: NoisyAccuracy(noise=noise).measure(evidence).value or 0.0 for noise in (0.0, 0.1, 2.0)}
    assert accuracy[0.0] > accuracy[2.0]
    assert NoiseCost(noise=2.0).measure(evidence).value == pytest.approx(accuracy[0.0] - accuracy[2.0])
    area = NoiseArea().measure(evidence)
    by_hand = (0.1 * (accuracy[0.0] + accuracy[0.1]) + 1.9 * (accuracy[0.1] + accuracy[2.0])) / 2 / 2.0
    assert area.value == pytest.approx(by_hand)
    assert area.details["noise 0.1"] == pytest.approx(accuracy[0.1])
    assert "did not try the noise 0.3, only 0, 0.1, 2" in str(NoisyAccuracy(noise=0.3).measure(evidence).reason)


def test_settings_that_mean_nothing_are_refused() -> None:
    for options, sentence in (
        ({"threshold": -0.1}, "must be numbers of at least 0"),
        ({"threshold": 0.5, "temperature": 0.0}, "`temperature` must be above 0"),
        ({"threshold": 0.5, "curve": (float("nan"),)}, "must be numbers of at least 0"),
    ):
        with pytest.raises(BenchError, match=sentence):
            Stop(**options)
    with pytest.raises(BenchError, match="`noise_draws` must be at least 1"):
        Classify(noise_draws=0)
    with pytest.raises(BenchError, match="has no reading"):
        Classify(account_samples=0, read_noise=(0.1,)).evidence(
            Reader(torch.zeros(2, 4, 3)), numbered(LABELS, 3), seed=0, device="cpu"
        )
