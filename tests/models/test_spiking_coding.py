"""Codings: what their spikes mean, and what they refuse."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from retable.models.spiking.coding import Coding, encode, first_spike, phase, phase_weights, rank_order, rate

CODINGS = get_args(Coding)


def images(seed: int, *shape: int) -> Tensor:
    """Intensities in steps of 1/255, with a black and a white one."""
    levels = torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(seed))
    levels.view(-1)[:2] = torch.tensor([0, 255])
    return levels.double() / 255


@given(coding=st.sampled_from(CODINGS), T=st.integers(1, 12), seed=st.integers(0, 1000))
def test_codes_have_time_first_and_black_is_silent(coding: Coding, T: int, seed: int) -> None:
    x = images(seed, 2, 3, 4).float()
    code = encode(coding, x, T, torch.Generator().manual_seed(seed))
    assert (code.shape, code.dtype) == ((T, *x.shape), x.dtype)
    assert not code[:, x == 0].any()
    assert coding == "direct" or set(code.unique().tolist()) <= {0.0, 1.0}
    assert coding != "direct" or torch.equal(code, x.expand(T, *x.shape))


def test_the_rate_of_a_rate_code_is_the_intensity() -> None:
    T, x = 20_000, torch.tensor([[0.0, 0.1, 0.5, 0.9, 1.0]])
    found = rate(x, T, torch.Generator().manual_seed(0)).mean(0)
    assert torch.equal(found[:, [0, 4]], x[:, [0, 4]])
    assert ((found - x).abs() <= 5 * (x * (1 - x) / T).sqrt()).all()


@given(T=st.integers(1, 16), seed=st.integers(0, 1000))
def test_one_spike_and_the_brighter_is_never_later(T: int, seed: int) -> None:
    x = images(seed, 2, 9)
    for coded in (first_spike(x, T), rank_order(x, T)):
        assert torch.equal(coded.sum(0), (x > 0).double())
        time = torch.where(x > 0, coded.argmax(0), T)
        for sample, at in zip(x, time, strict=True):
            brighter = sample[:, None] > sample
            assert (at[:, None] <= at)[brighter].all()
        assert (time[x == x.amax(1, keepdim=True)] == 0).all() or T > 1


@given(period=st.integers(1, 12), periods=st.integers(1, 3), seed=st.integers(0, 1000))
def test_phases_add_up_to_the_intensity_rounded_down(period: int, periods: int, seed: int) -> None:
    T, x = period * periods, images(seed, 3, 5)
    total = (phase(x, T, period) * phase_weights(T, period).double()[:, None, None]).sum(0)
    rounded = (x * 2**period).floor().clamp(max=2**period - 1) / 2**period
    assert torch.equal(total, periods * rounded)


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize(
    ("x", "T", "sentence"),
    [
        (torch.zeros(2, 3), 0, "T must be at least 1, not 0"),
        (torch.full((2, 3), 1.5), 4, r"x must lie in \[0, 1\]"),
        (torch.full((2, 3), -0.1), 4, r"x must lie in \[0, 1\]"),
        (torch.full((2, 3), torch.nan), 4, r"x must lie in \[0, 1\]"),
        (torch.zeros(2, 3, dtype=torch.uint8), 4, "x must be floating-point"),
    ],
)
def test_what_is_no_intensity_is_refused(coding: Coding, x: Tensor, T: int, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        encode(coding, x, T, torch.Generator())


def test_a_drawn_code_needs_its_generator_and_a_code_its_name() -> None:
    with pytest.raises(ValueError, match="generator"):
        encode("rate", torch.zeros(1, 1), 2)
    with pytest.raises(ValueError, match="coding is one of direct, rate"):
        encode("poisson", torch.zeros(1, 1), 2)  # type: ignore[arg-type]
