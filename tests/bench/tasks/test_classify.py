"""The task `classify`, its metrics, and the training of the vision methods, on a spiking network of two layers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from retable.bench.accountant import Accountant
from retable.bench.datasets.images import ArraySplit, ImageData
from retable.bench.errors import BenchError
from retable.bench.metrics.accuracy import Accuracy, AccuracyAtStep, Error
from retable.bench.metrics.operations import (
    Accumulates,
    Energy,
    FiringRate,
    Joules,
    MultiplyAccumulates,
    Operations,
    SpikesPerSample,
)
from retable.bench.tasks.classify import Classify, ClassifyEvidence, predicted
from retable.models.vision.classifier import Classifier, grouped
from retable.models.vision.recipe import Recipe
from retable.models.vision.training import Batches, augmented, fit_classifier, loss_of
from tests.bench.conftest import Bench
from tests.bench.small_snn import SmallSNN, image_data

SUITE = """\
suite: tiny
title: A small spiking network
paper: None
arxiv: "0000.00000"
version: 1
profiles:
  mini: {repetitions: [0], limits: {timeout: 100 s, memory: 4 GB, threads: 1}}
methods:
  snn: {use: small-snn, with: {T: 2, epochs: 3, batch_size: 32, lr: 5e-3}}
  ann: {extends: snn, with: {spiking: false}}
datasets:
  images: {use: digits, with: {size: 16}}
  events: {use: event-digits, with: {steps: 4, train: 100, held_out: 20}}
tasks:
  classify: {use: classify, with: {batch_size: 64, account_samples: 0}}
  count: {use: count}
defaults: {dataset: images, task: classify, metrics: [params, accuracy, error, "accuracy_at_step[1]", "energy_mj[literature]"]}
entries:
  - {name: snn, label: SNN, method: snn}
  - {name: ann, label: ANN, method: ann}
  - {name: on-events, label: SNN on events, method: snn, dataset: events}
  - {name: published, label: As published, method: {use: small-snn, with: {width: 64}}, task: count, metrics: [params]}
claims:
  - name: beats-chance
    text: A spiking network names more than half of the digits
    source: none
    value: {entry: snn, metric: accuracy, at_least: 50}
    min_seeds: 1
tables:
  - name: accuracy
    title: Accuracy
    rows: ["*"]
    columns: [{label: Accuracy, metric: accuracy, show: measured, format: .1f}]
"""


class Reader(torch.nn.Module):
    """Its logits of sample i at step t are in a table; the sample's number is in its first two pixels."""

    def __init__(self, logits_TNK: torch.Tensor) -> None:
        super().__init__()
        self.logits_TNK = logits_TNK
        self.batches: list[int] = []

    def prepare(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels[:, 0, 0, 0].long() + 256 * pixels[:, 0, 0, 1].long()

    def steps(self, x: torch.Tensor) -> torch.Tensor:
        self.batches.append(len(x))
        return self.logits_TNK[:, x]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.steps(x).mean(0)


def numbered(labels: np.ndarray, classes: int) -> ImageData:
    pixels = np.zeros((len(labels), 1, 2, 2), np.uint8)
    pixels[:, 0, 0, 0], pixels[:, 0, 0, 1] = np.arange(len(labels)) % 256, np.arange(len(labels)) // 256
    split = ArraySplit(pixels=pixels, labels=labels)
    return ImageData(name="numbered", train=split, held_out=split, num_classes=classes, image_shape=(1, 2, 2))


def evidence_of(predictions_TN: Any, labels: Any, classes: int = 3) -> ClassifyEvidence:
    labels = np.asarray(labels, dtype=np.int64)
    data = SimpleNamespace(num_classes=classes)
    return ClassifyEvidence(
        model=None, data=data, labels=labels, predictions_TN=np.asarray(predictions_TN), why_no_account="not counted"
    )


# The task


@given(
    seed=st.integers(0, 10**6),
    T=st.integers(1, 4),
    N=st.integers(2, 40),
    batch_size=st.integers(1, 50),
)
def test_every_sample_is_classified_once_by_the_running_mean(seed: int, T: int, N: int, batch_size: int) -> None:
    rng = np.random.default_rng(seed)
    logits = torch.from_numpy(rng.normal(size=(T, N, 3)))
    labels = rng.integers(0, 3, N)
    model = Reader(logits)
    task = Classify(batch_size=batch_size, account_samples=0)
    evidence = task.evidence(model, numbered(labels, 3), seed=0, device="cpu")
    assert sum(model.batches) == N
    assert max(model.batches) <= batch_size
    for t in range(T):
        expected = logits[: t + 1].mean(0).argmax(-1).numpy()
        assert np.array_equal(evidence.predictions_TN[t], expected)
        share = 100 * (expected == labels).mean()
        assert AccuracyAtStep(step=t + 1).measure(evidence).value == pytest.approx(share)
    assert Accuracy().measure(evidence).value == pytest.approx(share)
    assert Error().measure(evidence).value == pytest.approx(100 - share)
    confusion = evidence.confusion()
    assert confusion.sum() == N
    assert np.array_equal(confusion.sum(1), np.bincount(labels, minlength=3))
    assert 100 * np.trace(confusion) / N == pytest.approx(share)
    assert json.loads(evidence.artefacts()["confusion.json"]) == {"true_by_predicted": confusion.tolist()}


def test_logits_that_are_not_finite_are_no_prediction() -> None:
    logits = torch.zeros(3, 4, 2)
    logits[1, 2, 0], logits[2, 3, 1] = torch.nan, torch.inf
    assert predicted(logits).tolist() == [[0, 0, 0, 0], [0, 0, -1, 0], [0, 0, -1, -1]]
    evidence = Classify(account_samples=0).evidence(
        Reader(logits), numbered(np.zeros(4, np.int64), 2), seed=0, device="cpu"
    )
    assert AccuracyAtStep(step=1).measure(evidence).value == 100
    for metric in (Accuracy(), Error()):
        measurement = metric.measure(evidence)
        assert measurement.value is None
        assert "2 of 4 samples have logits that are not finite at step 3" in str(measurement.reason)
    assert evidence.confusion().tolist() == [[2, 0], [0, 0]]


def test_evaluation_is_in_evaluation_mode() -> None:
    data = image_data()
    model = SmallSNN(T=2).build(data).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    whole, parts = (
        Classify(batch_size=n, account_samples=0).evidence(model, data, seed=0, device="cpu") for n in (60, 7)
    )
    assert np.array_equal(whole.predictions_TN, parts.predictions_TN)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_no_held_out_sample_is_an_error() -> None:
    with pytest.raises(BenchError, match="numbered has no held-out samples"):
        Classify().evidence(Reader(torch.zeros(1, 0, 2)), numbered(np.array([], np.int64), 2), seed=0, device="cpu")


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"batch_size": 0}, "`batch_size` must be at least 1, not 0"),
        ({"account_samples": -1}, "`account_samples` must be at least 0, not -1"),
        ({"rules": ()}, "`rules` must name at least one rule"),
    ],
)
def test_impossible_tasks(parameters: Any, sentence: str) -> None:
    with pytest.raises(BenchError, match=sentence):
        Classify(**parameters)


# Its metrics


def test_accuracy_keeps_its_samples_and_says_what_guessing_gives() -> None:
    evidence = evidence_of([[1, 1, 1, 1], [0, 1, 2, 0]], [0, 1, 2, 2])
    last, first, error = (m.measure(evidence) for m in (Accuracy(), AccuracyAtStep(step=1), Error()))
    assert (last.value, last.n, last.samples) == (75.0, 4, (100, 100, 100, 0))
    assert (first.value, first.details["step"], first.details["steps"]) == (25.0, 1, 2)
    assert (error.value, error.samples, error.direction) == (25.0, (0, 0, 0, 100), "lower")
    assert last.details["commonest_class"] == 50
    assert last.details["standard_error"] == pytest.approx(25)


def test_a_step_that_does_not_exist() -> None:
    measurement = AccuracyAtStep(step=3).measure(evidence_of([[0, 0], [0, 0]], [0, 0]))
    assert measurement.value is None
    assert "runs for 2 time steps" in str(measurement.reason)
    with pytest.raises(BenchError, match="`step` cannot be 0"):
        AccuracyAtStep(step=0)


@pytest.mark.parametrize("metric", [Accuracy(), AccuracyAtStep(step=1), Error()])
@pytest.mark.parametrize("labels", [[], [1]])
def test_too_few_samples(metric: Any, labels: list[int]) -> None:
    measurement = metric.measure(evidence_of([labels], labels))
    assert measurement.value is None
    assert str(measurement.reason).startswith(f"{len(labels)} classified samples")


OPERATIONS = [
    MultiplyAccumulates(),
    Accumulates(rule="literature"),
    Energy(rule="full"),
    SpikesPerSample(),
    FiringRate(),
]


def test_operations_of_a_module_leave_out_its_children_and_residuals() -> None:
    _, evidence = counted((1, 16, 16))
    rows = evidence.account.rows
    conv = [row for row in rows if row.layer.endswith("conv")]
    work = sum(row.work.mac + row.work.ac + row.work.add + row.work.mul + row.work.compare for row in conv)
    assert Operations(module="conv").measure(evidence).value == pytest.approx(work / 8)
    assert Operations(module="attn").measure(evidence).reason == "the model computes nothing in a module named 'attn'"


def test_the_rate_of_every_layer_stands_in_the_details() -> None:
    _, evidence = counted((1, 16, 16))
    measurement = FiringRate().measure(evidence)
    layers = {name: rate for name, rate in measurement.details.items() if name.startswith("layer ")}
    assert layers == {f"layer {i} {row.layer}": row.rate for i, row in enumerate(evidence.account.neurons, start=1)}
    assert len(layers) == 1
    assert measurement.value == pytest.approx(next(iter(layers.values())))


def test_an_ann_has_no_spikes_to_count() -> None:
    _, evidence = counted((1, 16, 16), spiking=False)
    for metric in (SpikesPerSample(), FiringRate()):
        assert metric.measure(evidence).reason == "the model has no spiking neurons"


def test_variants_of_the_literature_rule_price_the_same_counts() -> None:
    small = SmallSNN(T=2)
    model, _ = fitted(small, image_data())
    task = Classify(account_samples=4, rules=("literature", "literature-ac", "literature-once"))
    evidence = task.evidence(model, image_data(), seed=0, device="cpu")
    every, as_ac, once = (Energy(rule=rule).measure(evidence).value for rule in task.rules)  # type: ignore[arg-type]
    macs = MultiplyAccumulates(rule="literature").measure(evidence).value
    assert every - as_ac == pytest.approx(macs * (4.6 - 0.9) * 1e-9)
    assert every - once == pytest.approx(macs / 2 * 4.6e-9)


def test_what_prepares_the_images_is_not_counted() -> None:
    data = image_data(shape=(1, 16, 16))
    model, _ = fitted(SmallSNN(T=2), data)
    evidence = Classify(account_samples=4, rules=("full",)).evidence(model, data, seed=0, device="cpu")
    x = model.prepare(torch.from_numpy(data.held_out.images(np.linspace(0, len(data.held_out) - 1, 4).astype(int))))
    with torch.no_grad(), Accountant(model, rules=("full",)) as accountant:
        model(x)
    alone = replace(evidence, account=accountant.result(samples=4))
    assert Energy(rule="full").measure(evidence).value == Energy(rule="full").measure(alone).value


@pytest.mark.parametrize("shape", [(1, 16, 16), (2, 2, 16, 16)], ids=["images", "events"])
def test_operations_are_counted_in_batches_as_at_once(shape: tuple[int, ...]) -> None:
    model, _ = fitted(SmallSNN(T=2), image_data(shape=shape))
    rules = ("full", "literature", "syops", "simple-memory", "lemaire", "neuromc")
    at_once, in_batches = (
        Classify(account_samples=7, batch_size=size, rules=rules).evidence(
            model, image_data(shape=shape), seed=0, device="cpu"
        )
        for size in (8, 3)
    )
    for metric in (*(Energy(rule=rule) for rule in rules), SpikesPerSample(), FiringRate(), Accumulates()):  # type: ignore[arg-type]
        one, other = metric.measure(at_once), metric.measure(in_batches)
        assert other.value == pytest.approx(one.value, rel=1e-5), metric  # syops rounds a batch
        assert other.n == 7


def test_joules_are_what_the_counters_saw_a_sample() -> None:
    evidence = evidence_of([[0, 0]], [0, 0])
    assert Joules().measure(evidence).reason == "nothing was metered"
    metered = Joules().measure(replace(evidence, joules={"intel-rapl:0": 3.0, "gpu": 1.0}))
    assert (metered.value, metered.n) == (2.0, 2)


@pytest.mark.parametrize("metric", OPERATIONS)
def test_without_an_account_there_is_no_number_of_operations(metric: Any) -> None:
    measurement = metric.measure(evidence_of([[0, 0]], [0, 0]))
    assert (measurement.value, measurement.reason) == (None, "not counted")


def counted(shape: tuple[int, ...], **options: Any) -> tuple[Any, ClassifyEvidence]:
    data, small = image_data(shape=shape), SmallSNN(T=2, **options)
    model, _ = fitted(small, data)
    task = Classify(account_samples=8, rules=("full", "literature", "syops", "neurobench"))
    return model, task.evidence(model, data, seed=0, device="cpu")


def value(metric: Any, evidence: Any) -> float:
    measurement = metric.measure(evidence)
    assert measurement.value is not None, measurement.reason
    assert measurement.n == 8
    return float(measurement.value)


def test_operations_of_a_small_network_are_those_counted_by_hand() -> None:
    _, evidence = counted((1, 16, 16))
    T, K, width, side = 2, 3, 8, 4
    spikes = value(SpikesPerSample(), evidence)
    assert spikes > 0
    assert value(FiringRate(), evidence) == pytest.approx(spikes / (T * width * side**2))
    assert value(Accumulates(), evidence) == pytest.approx(spikes * K)
    assert value(Accumulates(rule="literature"), evidence) == pytest.approx(spikes * K)
    flop = T * 25 * width * side**2
    assert value(MultiplyAccumulates(rule="literature"), evidence) == pytest.approx(flop)
    assert 0.5 * flop < value(MultiplyAccumulates(), evidence) < flop, "padding is no work"
    energy = Energy(rule="literature").measure(evidence)
    assert energy.value == pytest.approx((4.6 * flop + 0.9 * spikes * K) * 1e-9)
    prices = energy.details["prices"]
    assert energy.details == {"rule": "literature", "costs": "45nm-fp32", "prices": prices}
    assert "secondary constants (45 nm, 0.9 V)" in str(prices)
    assert MultiplyAccumulates(rule="neurobench").measure(evidence).details["rule"] == "neurobench"
    assert Energy(rule="neurobench").measure(evidence).value is None
    assert json.loads(evidence.artefacts()["account.json"])["samples"] == 8


def test_event_frames_enter_as_spikes_and_an_ann_has_none() -> None:
    _, images = counted((1, 16, 16), spiking=False)
    assert "no spiking neurons" in str(FiringRate().measure(images).reason)
    _, events = counted((2, 2, 16, 16))
    assert MultiplyAccumulates().measure(events).value == 0
    assert value(Accumulates(), events) > value(SpikesPerSample(), events) * 3


def test_the_samples_that_are_counted_are_spread_over_the_held_out_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = np.repeat(np.arange(3), 4)
    model, seen = Reader(torch.zeros(1, 12, 3)), []
    monkeypatch.setattr(model, "forward", lambda x: seen.append(x) or model.logits_TNK[:, x].mean(0))
    Classify(account_samples=4).evidence(model, numbered(labels, 3), seed=0, device="cpu")
    assert seen[0].tolist() == [0, 3, 7, 11]


# The training


def fitted(small: SmallSNN, data: ImageData, seed: int = 1) -> tuple[Classifier, dict[str, Any]]:
    return small.fit(data, {}, seed=seed, device="cpu")


def weights(model: torch.nn.Module) -> torch.Tensor:
    return torch.cat([weight.flatten().double() for weight in model.state_dict().values()])


SHORT: dict[str, Any] = {"epochs": 2, "batch_size": 20, "lr": 1e-2, "T": 2}


@pytest.mark.parametrize(
    "options",
    [{}, {"loss": "tet"}, {"optimizer": "sgd", "augment": "shift"}, {"spiking": False, "augment": "shift-flip"}],
)
def test_a_fit_is_a_function_of_its_seed(options: dict[str, Any]) -> None:
    data, small = image_data(), SmallSNN(**SHORT, **options)
    torch.manual_seed(5)
    one, log = fitted(small, data)
    state = torch.get_rng_state()
    torch.manual_seed(6)
    two, again = fitted(small, data)
    other, _ = fitted(small, data, seed=2)
    assert torch.equal(weights(one), weights(two))
    assert log == again
    assert not torch.equal(weights(one), weights(other))
    torch.manual_seed(5)
    assert torch.equal(state, torch.get_rng_state()), "the process's generator is left alone"
    assert not one.training
    assert log["steps"] == 6
    assert len(log["train_accuracy"]) == 2
    assert log["curve"][0]["step"] == 0
    assert log["curve"][-1] == {"step": 5, "loss": log["loss"]}


def test_a_model_comes_back_from_its_state() -> None:
    data, small = image_data(), SmallSNN(**SHORT)
    model, _ = fitted(small, data)
    again = small.load(model.state_dict(), data, {}, device="cpu")
    x = model.prepare(torch.from_numpy(data.held_out.images(np.arange(5))))
    assert torch.equal(again.prepare(torch.from_numpy(data.held_out.images(np.arange(5)))), x)
    assert torch.equal(again.steps(x), model.steps(x))
    assert torch.allclose(model(x), model.steps(x).mean(0))


@pytest.mark.parametrize("loss", ["ce", "tet"])
@pytest.mark.parametrize("spiking", [True, False])
def test_it_learns(loss: Any, spiking: bool) -> None:
    data = image_data()
    model, log = fitted(SmallSNN(T=2, epochs=15, batch_size=10, lr=1e-2, loss=loss, spiking=spiking), data)
    evidence = Classify(account_samples=0).evidence(model, data, seed=0, device="cpu")
    assert log["curve"][0]["loss"] > log["loss"]
    assert Accuracy().measure(evidence).value == 100
    assert evidence.steps == (2 if spiking else 1)
    assert any(isinstance(module, torch.nn.ReLU) for module in model.modules()) is not spiking


def test_a_loss_that_is_not_finite_stops_the_fit() -> None:
    with pytest.raises(FloatingPointError, match="lower the learning rate"):
        fitted(SmallSNN(**{**SHORT, "lr": 1e30, "optimizer": "sgd", "weight_decay": 1e9, "epochs": 9}), image_data())


def test_norms_are_measured_anew_once_the_weights_are_final() -> None:
    data, whole = image_data(), {**SHORT, "batch_size": 60, "norm_batches": 1}
    model, _ = fitted(SmallSNN(**whole), data)
    stale, _ = fitted(SmallSNN(**{**whole, "norm_batches": 0}), data)
    x = model.prepare(torch.from_numpy(data.train.images(np.arange(60))))
    with torch.no_grad():
        z = model.network.conv(x)
    norm = model.network.norm
    assert torch.allclose(norm.running_mean, z.mean((0, 2, 3)), atol=1e-4)
    assert torch.allclose(norm.running_var, z.var((0, 2, 3)), rtol=1e-2)
    assert norm.momentum == 0.1
    assert torch.equal(model.network.conv.weight, stale.network.conv.weight)
    assert not torch.allclose(stale.network.norm.running_mean, norm.running_mean, atol=1e-2)


def test_tet_is_the_mean_of_the_steps_losses() -> None:
    logits, labels = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 3, 0])
    each = [torch.nn.functional.cross_entropy(step, labels) for step in logits]
    recipe = Recipe(loss="tet", tet_lambda=0.25)
    expected = 0.75 * sum(each) / 3 + 0.25 * ((logits - 1) ** 2).mean()
    assert torch.allclose(loss_of(logits, labels, recipe), expected)
    mean = torch.nn.functional.cross_entropy(logits.mean(0), labels, label_smoothing=0.1)
    assert torch.equal(loss_of(logits, labels, Recipe(label_smoothing=0.1)), mean)


@given(warmup=st.floats(0, 2.9), steps=st.integers(1, 30))
def test_the_rate_rises_then_falls(warmup: float, steps: int) -> None:
    recipe = Recipe(epochs=3, lr=1.0, min_lr=0.1, warmup=warmup)
    rates = [recipe.lr_at(step, steps) for step in range(3 * steps)]
    top = int(np.argmax(rates))
    assert all(0 < rate <= 1 for rate in rates)
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert recipe.lr_at(3 * steps, steps) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"epochs": 0}, "`epochs` must be at least 1, not 0"),
        ({"batch_size": 0}, "`batch_size` must be at least 1"),
        ({"lr": 0.0}, "`lr` must be above 0"),
        ({"min_lr": 1.0}, "`min_lr` must lie between 0 and lr"),
        ({"weight_decay": -1.0}, "`weight_decay` must be at least 0"),
        ({"warmup": 8.0}, "`warmup` must be at least 0 and less than 8 epochs"),
        ({"label_smoothing": 1.0}, "`label_smoothing` must be at least 0 and below 1"),
        ({"tet_lambda": 2.0}, "`tet_lambda` must lie between 0 and 1"),
        ({"norm_batches": -1}, "`norm_batches` must be at least 0"),
        ({"T": 0}, "`T` must be at least 1, not 0"),
        ({"num_classes": 0}, "`num_classes` must be at least 1"),
    ],
)
def test_impossible_methods(parameters: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        SmallSNN(**parameters)


def test_parameters_that_contradict_the_data() -> None:
    with pytest.raises(ValueError, match="`num_classes` is 5, but bands has 3"):
        SmallSNN(num_classes=5).build(image_data())
    with pytest.raises(ValueError, match="bands has images of 16x20 pixels"):
        SmallSNN().build(image_data(shape=(1, 16, 20)))
    with torch.device("meta"):
        model = SmallSNN(num_classes=7, image_size=8).build(None)
    assert model.network.head.weight.shape == (7, 8 * 2 * 2)


# What the samples go through


def test_images_are_standardised_by_the_training_images() -> None:
    data = image_data()
    model = SmallSNN().build(data)
    model.standardise_by(data.train)
    x = model.prepare(torch.from_numpy(data.train.images(np.arange(60))))
    assert x.dtype == torch.float32
    assert abs(float(x.mean())) < 1e-5
    assert float(x.std(correction=0)) == pytest.approx(1, abs=1e-5)
    black = ArraySplit(pixels=np.zeros((2, 1, 16, 16), np.uint8), labels=np.zeros(2, np.int64))
    model.standardise_by(black)
    assert not model.prepare(torch.zeros(1, 1, 16, 16, dtype=torch.uint8)).any()


@given(groups=st.integers(1, 4), T=st.integers(1, 4))
def test_event_frames_are_grouped_without_loss(groups: int, T: int) -> None:
    frames = torch.randint(0, 256, (2, groups * T, 2, 3, 3), generator=torch.Generator().manual_seed(0)).byte()
    x = grouped(frames, T)
    assert x.shape == (2, T, 2, 3, 3)
    assert torch.equal(x[:, 0], frames[:, :groups].float().sum(1))
    assert torch.equal(x.sum(1), frames.float().sum(1))
    with pytest.raises(ValueError, match="cannot be grouped into T"):
        grouped(frames, groups * T + 1)


def test_an_epoch_shows_every_sample_at_most_once() -> None:
    data = image_data(count=23)
    batches = Batches(data.train, Recipe(batch_size=5), seed=0)
    seen = [[(pixels.sum((1, 2, 3)).tolist(), labels.tolist()) for pixels, labels in batches] for _ in range(2)]
    assert [len(epoch) for epoch in seen] == [4, 4] == [len(batches)] * 2
    keys = {(total, label) for totals, labels in seen[0] for total, label in zip(totals, labels, strict=True)}
    known = set(zip(data.train.pixels.sum((1, 2, 3)).tolist(), data.train.labels.tolist(), strict=True))
    assert len(keys) == 20
    assert keys <= known
    assert seen[0] != seen[1]


@pytest.mark.parametrize("shape", [(6, 1, 16, 16), (6, 3, 2, 16, 16)])
def test_a_shifted_sample_is_a_window_of_its_frame(shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(1, 256, shape, generator=generator).byte()
    moved = augmented(pixels, "shift", generator)
    assert (moved.shape, moved.dtype) == (pixels.shape, torch.uint8)
    offsets = set()
    for before, after in zip(pixels, moved, strict=True):
        framed = torch.nn.functional.pad(before, (2, 2, 2, 2))
        windows = {
            (y, x) for y in range(5) for x in range(5) if torch.equal(framed[..., y : y + 16, x : x + 16], after)
        }
        assert len(windows) == 1
        offsets |= windows
    assert len(offsets) > 2
    assert augmented(pixels, "none", generator) is pixels


def test_mirroring_is_a_coin_for_each_sample() -> None:
    pixels = torch.arange(8, dtype=torch.uint8).expand(200, 1, 4, 8)  # sides of 4 and 8: moved by at most one column
    flipped = augmented(pixels, "shift-flip", torch.Generator().manual_seed(0))[:, 0, 0]
    falling = (flipped[:, 2] > flipped[:, 3]).float().mean()
    assert 0.35 < float(falling) < 0.65


def test_a_split_without_samples_is_refused() -> None:
    empty = ArraySplit(pixels=np.zeros((0, 1, 4, 4), np.uint8), labels=np.zeros(0, np.int64))
    with pytest.raises(ValueError, match="no training samples"):
        Batches(empty, Recipe(), seed=0)
    with pytest.raises(ValueError, match="no training samples"):
        fit_classifier(SmallSNN().build(image_data()), empty, Recipe(), seed=0, device="cpu")


# All of it through `bench`


def test_a_suite_of_classifiers_runs_from_its_declaration(bench: Bench) -> None:
    bench.suite.write_text(SUITE)
    plugin = ["--plugin", str(Path(__file__).parents[1] / "small_snn.py")]
    done = bench("run", str(bench.suite), "--jobs", "1", *plugin, plugin=False)
    assert done.returncode == 0, done.stderr
    gate = bench("gate", str(bench.suite), *plugin, plugin=False)
    assert gate.returncode == 0, gate.stdout + gate.stderr
    (table,) = json.loads(bench("table", str(bench.suite), "--json", *plugin, plugin=False).stdout)
    values = {row["entry"]: row["cells"]["accuracy"]["value"] for row in table["rows"]}
    assert min(values["snn"], values["ann"]) > 80
    assert values["on-events"] > 15
    assert values["published"] is None
