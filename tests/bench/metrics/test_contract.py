"""What every metric keeps to: it says what it is, imports nothing heavy, and is absent with a reason rather than 0."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import fields, is_dataclass
from types import SimpleNamespace
from typing import Any, get_args

import numpy as np
import pytest

from retable.bench import registry
from retable.bench.record import Direction, Measurement, canonical
from tests.bench.metrics.metric_evidence import DecodeEvidence, as_features, gaussian_features, plain_evidence

BUILT_IN = registry.built_in("metric")
FIELDS = {
    "network": "hand-made",
    "length": 64,
    "of": "rival",
    "step": 1,
    "rule": "full",
    "module": "attn",
    "task": "average",
    "attack": "pgd",
    "check": "iterations",
    "radius": 0.5,
    "size": "all",
    "region": "inside",
    "noise": 0.1,
    "scorer": "dnsmos-ovrl",
    "factor": 2.0,
    "part": "all",
    "points": 1.0,
    "shots": 5,
}
OVER_TIMINGS = [name for name in BUILT_IN if registry.resolve("metric", name).__module__.endswith("metrics.decode")]
OVER_FEATURES = ["class_accuracy", "fd", "fid", "inception_score", "kd", "precision", "recall"]


def build(name: str) -> Any:
    component = registry.resolve("metric", name)
    return component(**{field.name: FIELDS[field.name] for field in fields(component)})


def assert_absent(measurement: Measurement, metric: Any) -> None:
    assert measurement.value is None
    assert measurement.reason
    assert (measurement.unit, measurement.direction) == (metric.UNIT, metric.DIRECTION)


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_metric_says_what_it_is(name: str) -> None:
    metric = build(name)
    assert is_dataclass(metric)
    assert isinstance(metric.UNIT, str)
    assert metric.DIRECTION in get_args(Direction)
    assert metric.VERSION
    assert isinstance(metric.EXACT, bool)
    assert len(fields(metric)) <= 1  # `fd[network]` has one place for a parameter


def test_checking_a_metric_imports_nothing_heavy() -> None:
    code = (
        "import sys; from retable.bench import registry\n"
        f"for name in {BUILT_IN}: registry.resolve('metric', name)\n"
        "print([m for m in ('numpy', 'torch', 'scipy', 'pytorch_fid', 'safetensors') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert found.strip() == "[]"


@pytest.mark.parametrize("name", OVER_FEATURES)
@pytest.mark.parametrize("images", [0, 1])
def test_too_few_images(name: str, images: int) -> None:
    metric = build(name)
    measurement = metric.measure(plain_evidence(gaussian_features(images, seed=0)))
    assert_absent(measurement, metric)
    assert str(measurement.reason).startswith(f"{images} generated images")


@pytest.mark.parametrize("name", OVER_FEATURES)
def test_features_that_are_not_finite(name: str) -> None:
    features = gaussian_features(10, seed=0)
    features.activations[3] = np.nan
    features.probabilities[3] = np.nan
    metric = build(name)
    measurement = metric.measure(plain_evidence(features))
    assert_absent(measurement, metric)
    assert "1 of 10 generated images" in str(measurement.reason)


@pytest.mark.parametrize("name", ["fd", "kd", "precision", "recall"])
def test_a_reference_that_cannot_be_used(name: str) -> None:
    metric = build(name)
    for train in (gaussian_features(0, seed=0), as_features(np.full((20, 5), np.inf))):
        assert_absent(metric.measure(plain_evidence(gaussian_features(10, seed=0), train=train)), metric)


@pytest.mark.parametrize("name", OVER_FEATURES)
def test_without_held_out_images_there_is_a_value_and_no_floor(name: str) -> None:
    evidence = plain_evidence(gaussian_features(20, seed=0), held_out=gaussian_features(0, seed=0))
    measurement = build(name).measure(evidence)
    assert measurement.value is not None
    assert measurement.floor is None


@pytest.mark.parametrize("name", OVER_FEATURES)
def test_a_score_carries_its_network(name: str) -> None:
    measurement = build(name).measure(plain_evidence(gaussian_features(20, seed=0)))
    stored = json.loads(canonical(measurement))
    assert {"network", "network_digest", "dim", "resize", "backend", "n_floor"} <= set(stored["details"])
    assert stored["n"] in (20, 60)


@pytest.mark.parametrize("name", ["nll", "nll_unconditional"])
@pytest.mark.parametrize("values", [[], [1.0], [1.0, np.nan], [1.0, np.inf]])
def test_likelihoods_that_cannot_be_averaged(name: str, values: list[float]) -> None:
    evidence, metric = SimpleNamespace(nll=values, nll_unconditional=values), build(name)
    assert_absent(metric.measure(evidence), metric)


@pytest.mark.parametrize("seconds", [[], [1.0], [1.0, np.nan], [1.0, 0.0]])
def test_speeds_that_cannot_be_summarised(seconds: list[float]) -> None:
    metric = build("images_per_second")
    assert_absent(metric.measure(SimpleNamespace(seconds_per_image=seconds, images_per_batch=4)), metric)


@pytest.mark.parametrize("name", ["params", "params_non_embedding"])
def test_a_model_without_weights_has_no_count(name: str) -> None:
    model = SimpleNamespace(parameters=lambda: iter(()), embedding_tables=list)
    metric = build(name)
    assert_absent(metric.measure(SimpleNamespace(model=model)), metric)


@pytest.mark.parametrize("name", OVER_TIMINGS)
@pytest.mark.parametrize("rounds", [[], [1.0], [1.0, np.nan], [0.0, 1.0]])
def test_timings_that_cannot_be_summarised(name: str, rounds: list[float]) -> None:
    times = {model: {64: list(rounds), 128: list(rounds)} for model in ("method", "rival")}
    metric = build(name)
    assert_absent(metric.measure(DecodeEvidence(lengths=(64, 128), milliseconds=times)), metric)


@pytest.mark.parametrize("name", OVER_TIMINGS)
def test_no_timings_at_all(name: str) -> None:
    metric = build(name)
    assert_absent(metric.measure(DecodeEvidence(lengths=(), milliseconds={})), metric)
