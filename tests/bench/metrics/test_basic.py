"""Counts, likelihoods, speeds and decoding times on small cases whose answer is known."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from retable.bench.metrics.basic import (
    HeldOutNLL,
    ImagesPerSecond,
    NonEmbeddingParameters,
    Parameters,
    UnconditionalNLL,
)
from retable.bench.metrics.decode import CrossoverLength, DecodeGrowth, DecodeMilliseconds, DecodeRatio
from tests.bench.metrics.metric_evidence import DecodeEvidence


class TiedLM(nn.Module):
    """Embedding 7 x 4, tied head, one 4 x 4 layer, and a tokenizer that is not its own."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(7, 4)
        self.mix = nn.Linear(4, 4, bias=False)
        self.head = nn.Linear(4, 7, bias=False)
        self.head.weight = self.embed.weight
        self.tokenizer = nn.Linear(100, 100)

    def parameters_counted(self) -> list[nn.Parameter]:
        return [self.embed.weight, self.mix.weight, self.head.weight]

    def embedding_tables(self) -> list[nn.Parameter]:
        return [self.embed.weight]


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_tied_weights_count_once_and_the_tokenizer_not(device: str) -> None:
    with torch.device(device):
        model = TiedLM()
    model.head.weight = model.embed.weight
    evidence = SimpleNamespace(model=model)
    everything, rest = Parameters().measure(evidence), NonEmbeddingParameters().measure(evidence)
    assert (everything.value, rest.value) == (7 * 4 + 4 * 4, 4 * 4)
    assert everything.exact


def test_a_model_that_says_nothing_is_counted_whole() -> None:
    model = nn.Linear(3, 2)
    assert Parameters().measure(SimpleNamespace(model=model)).value == 8
    assert NonEmbeddingParameters().measure(SimpleNamespace(model=model)).value is None


def test_likelihoods_keep_their_samples() -> None:
    evidence = SimpleNamespace(nll=np.float32([1, 2, 3, 6]), nll_unconditional=np.float32([4, 6]))
    measurement = HeldOutNLL().measure(evidence)
    assert (measurement.value, measurement.n, measurement.samples) == (3.0, 4, (1, 2, 3, 6))
    assert measurement.details["standard_error"] == pytest.approx(np.std([1, 2, 3, 6], ddof=1) / 2)
    assert UnconditionalNLL().measure(evidence).value == 5.0


def test_speed_is_the_median_batch() -> None:
    measurement = ImagesPerSecond().measure(SimpleNamespace(seconds_per_image=[0.1, 0.2, 10.0], images_per_batch=4))
    assert measurement.value == pytest.approx(5.0)
    assert (measurement.details["slowest"], measurement.details["batches"]) == (pytest.approx(0.1), 3)


# decoding


def timed(method: dict[int, Any], rival: dict[int, Any]) -> DecodeEvidence:
    rounds = {
        name: {length: list(np.atleast_1d(ms) * np.ones(3)) for length, ms in times.items()}
        for name, times in (("method", method), ("rival", rival))
    }
    return DecodeEvidence(lengths=tuple(method), milliseconds=rounds)


def test_step_time_and_growth() -> None:
    evidence = timed({64: [1, 2, 9], 1024: [2, 4, 3]}, {64: 1, 1024: 8})
    step = DecodeMilliseconds(length=1024).measure(evidence)
    assert (step.value, step.n, step.samples, step.unit) == (3.0, 3, (2, 4, 3), "ms")
    assert DecodeGrowth().measure(evidence).value == 1.5
    assert DecodeGrowth(of="rival").measure(evidence).value == 8


def test_an_untimed_length_is_absent() -> None:
    measurement = DecodeMilliseconds(length=512).measure(timed({64: 1, 1024: 1}, {64: 1, 1024: 1}))
    assert measurement.reason == "no steps were timed after 512 tokens (timed: 64, 1024)"


def test_ratio_is_taken_within_rounds() -> None:
    """A machine that slows down in the middle slows both down: the paired ratio stays, that of medians does not."""
    evidence = timed({64: 1, 128: [1, 10, 10]}, {64: 1, 128: [2, 20, 5]})
    assert DecodeRatio().measure(evidence).value == 2
    assert DecodeRatio().measure(evidence).samples == (2, 2, 0.5)


def test_rounds_that_do_not_pair_are_absent() -> None:
    evidence = timed({64: 1, 128: 1}, {64: 1, 128: 1})
    evidence.milliseconds["rival"][128].append(1.0)
    assert "cannot be paired" in str(DecodeRatio().measure(evidence).reason)


@given(start=st.floats(0.1, 10), exponent=st.floats(0.05, 2), crossing=st.floats(70, 4000))
@settings(deadline=None)
def test_crossover_of_a_power_law_is_exact(start: float, exponent: float, crossing: float) -> None:
    lengths = (64, 256, 1024, 4096)
    evidence = timed(dict.fromkeys(lengths, start), {n: start * (n / crossing) ** exponent for n in lengths})
    assert CrossoverLength().measure(evidence).value == pytest.approx(crossing, rel=1e-6)


@pytest.mark.parametrize(
    ("rival", "reason"),
    [
        ({64: 2, 256: 3}, "the method is faster at every measured context, from 64 tokens on"),
        ({64: 0.1, 256: 0.9}, "the method is not faster at the longest measured context, 256 tokens"),
        ({64: 2, 256: 0.9}, "the method is not faster at the longest measured context, 256 tokens"),
        ({64: 1, 256: 1}, "the method is not faster at the longest measured context, 256 tokens"),
    ],
)
def test_no_crossover_within_what_was_measured(rival: dict[int, float], reason: str) -> None:
    measurement = CrossoverLength().measure(timed({64: 1, 256: 1}, rival))
    assert (measurement.value, measurement.reason) == (None, reason)


def test_crossover_is_the_last_one() -> None:
    evidence = timed(dict.fromkeys((16, 64, 256, 1024), 1.0), {16: 0.5, 64: 2, 256: 0.5, 1024: 2})
    measurement = CrossoverLength().measure(evidence)
    assert measurement.value == pytest.approx(512)
    assert measurement.details["sign_changes"] == 3


def test_lengths_may_come_in_any_order() -> None:
    evidence = timed({1024: 1, 64: 1}, {1024: 4, 64: 0.25})
    assert CrossoverLength().measure(evidence).value == pytest.approx(256)
    assert DecodeGrowth(of="rival").measure(evidence).value == 16
