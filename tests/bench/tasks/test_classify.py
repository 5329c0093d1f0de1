"""The task `classify` and its metrics on a spiking network of two layers."""

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
from tests.bench.conftest import Bench
from tests.bench.small_snn import SmallSNN, fitted, image_data

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
