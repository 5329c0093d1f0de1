"""Quantiser, GIF neuron, saliency, weight grids, GPTQ and the stored form of weights."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from retable.models.spikellm import gif, palette, saliency
from retable.models.spikellm.gptq import Hessian, gptq
from retable.models.spikellm.layers import Neurons, SpikingLinear
from retable.models.spikellm.quantizer import Quantizer, WeightGrid, binary_range, symmetric_range, uniform_range
from retable.models.spikellm.recipe import Recipe

bits = st.integers(2, 8)
seeds = st.integers(0, 2**31)


def normal(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@given(bits, seeds)
@settings(max_examples=25, deadline=None)
def test_a_quantised_value_is_within_half_a_step_and_stays_when_quantised_again(bits: int, seed: int) -> None:
    x = normal(seed, 3, 17)
    q = Quantizer(bits=bits)
    scale = q.range(x).scale
    once = q(x)
    # A half step for the value and, because the zero point is rounded too, a half step for it.
    assert bool(((once - x).abs() <= scale * 1.001).all())
    assert len(once[0].unique()) <= 2**bits
    assert torch.allclose(q(once), once, atol=float(scale.max()) * 0.51)


@given(st.integers(2, 6), st.integers(0, 3), seeds)
@settings(max_examples=25, deadline=None)
def test_spikes_sum_to_what_the_steps_can_say(bits: int, addbit: int, seed: int) -> None:
    steps = gif.steps_of(addbit)
    q = torch.randint(0, steps * 2**bits, (5, 9), generator=torch.Generator().manual_seed(seed)).float()
    fired = gif.spikes(q, bits, steps)
    assert fired.shape == (steps, 5, 9)
    assert int(fired.max()) <= 2**bits - 1
    assert torch.equal(fired.sum(0), q.clamp(max=gif.largest_sum(bits, steps)))


@given(st.floats(0.5, 1.0), st.integers(8, 60), seeds)
@settings(max_examples=25, deadline=None)
def test_the_salient_channels_are_the_largest_and_random_ones_are_as_many(
    low_p: float, channels: int, seed: int
) -> None:
    channel = normal(seed, channels)
    mask = saliency.ordinary_mask(channel, low_p)
    assert int(mask.sum()) == int(low_p * channels)
    if not bool(mask.all()):
        assert channel[mask].max() < channel[~mask].min()
    random = saliency.random_mask(channel, low_p, torch.Generator().manual_seed(seed))
    assert int(random.sum()) == int(mask.sum())


def test_saliency_is_signed_and_ties_stay_ordinary() -> None:
    assert saliency.ordinary_mask(torch.tensor([-5.0, 1.0, 2.0, 3.0]), 0.75).tolist() == [True, True, True, False]
    assert bool(saliency.ordinary_mask(torch.ones(10), 0.5).all())
    # 0.29 * 100 is 28.999...: cut, not rounded; a share of less than one channel leaves all of them ordinary
    assert saliency.ordinary_count(0.29, 100) == 28
    assert bool(saliency.ordinary_mask(torch.arange(10.0), 0.05).all())


def test_saliency_of_a_linear_layer_is_the_derivative_of_its_energy() -> None:
    x = normal(0, 2, 3, 7).requires_grad_()
    w = normal(1, 5, 7)
    (gradient,) = torch.autograd.grad((x @ w.T).square().sum() / 2, x)
    assert torch.allclose(saliency.linear_saliency(x, w), gradient * x, atol=1e-4)


@given(st.integers(2, 5), st.integers(1, 2), seeds)
@settings(max_examples=20, deadline=None)
def test_steps_in_time_equal_the_merged_neuron_but_for_its_topmost_levels(bits: int, addbit: int, seed: int) -> None:
    linear = nn.Linear(12, 6)
    layer = SpikingLinear(linear, Neurons(bits=bits, addbit=addbit))
    layer.quantising = True
    layer.mask_low_mse[..., ::4] = False
    x = normal(seed, 1, 4, 12)
    x[..., 1], x[..., 2] = 9.0, -9.0  # ordinary channels hold the range's ends, so no salient one reaches the top
    merged = layer(x)
    layer.neurons = Neurons(bits=bits, addbit=addbit, execution="spikes")
    assert torch.allclose(layer(x), merged, atol=1e-4)


def test_a_missing_level_at_the_top_is_what_the_steps_lose() -> None:
    linear = nn.Linear(2, 1, bias=False).requires_grad_(False)
    nn.init.ones_(linear.weight)
    layer = SpikingLinear(linear, Neurons(bits=4, addbit=1))
    layer.quantising = True
    layer.mask_low_mse[..., 1] = False
    x = torch.tensor([[[0.0, 31.0]]])
    assert float(layer(x)) == 31.0
    layer.neurons = Neurons(bits=4, addbit=1, execution="spikes")
    assert float(layer(x)) == 30.0  # two steps of 15


def test_gptq_keeps_outputs_better_than_nearest_values_and_only_uses_the_grid() -> None:
    x, w = normal(0, 2000, 48) @ (normal(1, 48, 48) / 4), normal(2, 32, 48)
    hessian = Hessian(48, x.device)
    hessian.add(x[:1000])
    hessian.add(x[1000:])
    inverse, dead = saliency.inverse_hessian(hessian.mean)
    assert torch.allclose(hessian.mean.float(), 2 * x.T @ x / 2000, rtol=1e-3, atol=1e-3)
    mask = saliency.ordinary_mask(saliency.weight_saliency(w, inverse).sum(0, keepdim=True), 0.8)
    wide = mask.expand_as(w)
    for by_element in (mask, (normal(3, 32, 48) < 1)):
        grid = WeightGrid(by_element, uniform_range(w, wide, 2), uniform_range(w, ~wide, 3))
        q, nearest = gptq(w, inverse, dead, grid), grid.nearest(w)
        assert torch.allclose(grid.nearest(q), q, atol=1e-5)
        assert float(((w - q) @ x.T).square().mean()) < 0.8 * float(((w - nearest) @ x.T).square().mean())


def test_an_input_that_never_moves_does_not_stop_gptq() -> None:
    x = normal(0, 100, 8)
    x[:, 3] = 0
    hessian = Hessian(8, x.device)
    hessian.add(x)
    inverse, dead = saliency.inverse_hessian(hessian.mean)
    w = normal(1, 4, 8)
    mask = torch.ones(1, 8, dtype=torch.bool)
    grid = WeightGrid(mask, symmetric_range(w, mask.expand_as(w), 1), symmetric_range(w, mask.expand_as(w), 1))
    assert dead.tolist() == [i == 3 for i in range(8)]
    assert not gptq(w, inverse, dead, grid)[:, 3].any()


@given(st.integers(1, 4), seeds)
@settings(max_examples=20, deadline=None)
def test_ternary_sums_have_their_levels_and_more_steps_are_nearer(steps: int, seed: int) -> None:
    w = normal(seed, 6, 40)
    everywhere = torch.ones_like(w, dtype=torch.bool)
    errors = []
    for T in (1, steps):
        span = symmetric_range(w, everywhere, T)
        assert span.integers(w).abs().max() <= T
        errors.append(float((span.nearest(w) - w).square().mean()))
    assert errors[1] <= errors[0] * 1.0001


def test_binary_weights_are_plus_and_minus_their_rows_mean() -> None:
    w = torch.tensor([[1.0, -3.0, 2.0, -0.5]])
    span = binary_range(w, torch.ones_like(w, dtype=torch.bool))
    assert span.nearest(w).tolist() == [[1.625, -1.625, 1.625, -1.625]]


@given(st.integers(1, 8), st.integers(1, 33), seeds)
@settings(max_examples=40, deadline=None)
def test_packed_weights_come_back_bit_for_bit(bits: int, columns: int, seed: int) -> None:
    levels = normal(seed, 5, 2**bits)
    codes = torch.randint(0, 2**bits, (5, columns), generator=torch.Generator().manual_seed(seed))
    weight = levels.gather(1, codes)
    assert torch.equal(palette.unpack(palette.pack(weight), columns), weight)


def test_packed_two_bit_weights_take_a_quarter_of_a_byte() -> None:
    packed = palette.pack(Quantizer(bits=2)(normal(0, 8, 64)))
    assert packed["codes"].shape == (8, 16)
    assert "raw" in palette.pack(normal(0, 2, 300))


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"wbits": 1}, "`wbits`"),
        ({"abits": 17}, "`abits`"),
        ({"steps": 3, "low_p": 0.9}, "`steps`"),
        ({"steps": 2}, "`low_p`"),
        ({"low_p": 1.5}, "`low_p`"),
        ({"weight_salient": 0.1}, "`weight_salient`"),
        ({"weights": "ternary", "lwc": True}, "`lwc`"),
        ({"epochs": 2}, "`epochs`"),
        ({"gptq": True, "lwc": True}, "`gptq`"),
        ({"samples": 0}, "`samples`"),
        ({"window": 1}, "`window`"),
        ({"layers": 0}, "`layers`"),
        ({"abits": 15, "steps": 4, "low_p": 0.9}, "`abits`"),
        ({"group_size": 32, "gptq": True}, "`group_size`"),
    ],
)
def test_a_recipe_that_makes_no_sense_is_named(changes: dict, names: str) -> None:
    with pytest.raises(ValueError, match=names):
        Recipe(**changes)


def test_widths_outside_two_to_sixteen_are_refused() -> None:
    for width in (1, 17):
        with pytest.raises(ValueError, match="between 2 and 16"):
            Quantizer(bits=width)
