"""The mixers step by step against the whole sequence, their parameters, and the convolution and norms in them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from retable.models.ssm.conv import causal_conv1d, causal_conv1d_step, conv_state, fill_conv_state
from retable.models.ssm.linear import few_row_linear, packs
from retable.models.ssm.mamba1 import Mamba1
from retable.models.ssm.mamba2 import Mamba2
from retable.models.ssm.norm import RMSNorm, RMSNormGated, rms_norm

CLOSE = {"rtol": 1e-9, "atol": 1e-9}
MIXERS = {
    "mamba1": lambda: Mamba1(8, d_state=3),
    "mamba1 without biases": lambda: Mamba1(8, d_state=3, conv_bias=False, dt_rank=2, dt_init="constant"),
    "mamba2": lambda: Mamba2(8, d_state=4, headdim=4, chunk_size=4),
    "mamba2 with groups": lambda: Mamba2(8, d_state=4, headdim=4, ngroups=2, D_has_hdim=True, dt_limit=(0.01, 0.05)),
    "mamba2 norm first": lambda: Mamba2(8, d_state=4, headdim=8, norm_before_gate=True, bias=True, d_conv=3),
    "mamba2 without norm": lambda: Mamba2(8, d_state=4, headdim=4, rmsnorm=False, conv_bias=False),
}


def mixer(name: str) -> Any:
    """A mixer in float64 with every parameter moved away from its special initial value."""
    torch.manual_seed(0)
    module = MIXERS[name]().double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return module


@pytest.mark.parametrize("name", MIXERS)
@pytest.mark.parametrize("prompt", [0, 1, 2, 6])
def test_prefill_and_steps_give_the_whole_sequence(name: str, prompt: int) -> None:
    module = mixer(name)
    u = torch.randn(2, 9, 8, dtype=torch.float64)
    want = module(u).detach()
    cache = module.empty_cache(2)
    with torch.inference_mode():
        parts = [module.prefill(u[:, :prompt], cache)]
        parts += [module.step(token, cache)[:, None] for token in u[:, prompt:].unbind(1)]
    torch.testing.assert_close(torch.cat(parts, dim=1), want, **CLOSE)


@pytest.mark.parametrize("name", MIXERS)
def test_causality_and_a_gradient_for_every_parameter(name: str) -> None:
    module = mixer(name)
    u = torch.randn(2, 7, 8, dtype=torch.float64)
    changed = torch.cat([u[:, :4], torch.randn(2, 3, 8, dtype=torch.float64)], dim=1)
    y = module(u)
    torch.testing.assert_close(y[:, :4], module(changed)[:, :4], **CLOSE)
    assert not torch.allclose(y[:, 4:], module(changed)[:, 4:])
    y.square().sum().backward()
    assert [n for n, p in module.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


@pytest.mark.parametrize("name", ["mamba1", "mamba2"])
def test_a_used_cache_can_start_again_and_nan_stays_in_its_row(name: str) -> None:
    module, u = mixer(name), torch.randn(2, 5, 8, dtype=torch.float64)
    cache = module.empty_cache(2)
    first = module.prefill(u, cache)
    module.step(u[:, 0], cache)
    torch.testing.assert_close(module.prefill(u, cache), first, **CLOSE)
    u[0, 0] = float("nan")
    spoiled = module(u)
    assert spoiled[0].isnan().all()
    torch.testing.assert_close(spoiled[1], first[1], **CLOSE)


@pytest.mark.parametrize("name", ["mamba1", "mamba2"])
@pytest.mark.parametrize("shape", [(0, 4, 8), (2, 1, 8)])
def test_empty_batches_and_single_tokens(name: str, shape: tuple[int, ...]) -> None:
    module = mixer(name)
    assert module(torch.randn(shape, dtype=torch.float64)).shape == shape
    assert module.step(torch.randn(shape[0], 8, dtype=torch.float64), module.empty_cache(shape[0])).shape == (
        shape[0],
        8,
    )
    with pytest.raises(ValueError, match=r"^u must"):
        module(torch.randn(2, 3, 7, dtype=torch.float64))


def test_official_shapes_of_aim_b_without_memory() -> None:
    state = {name: tuple(value.shape) for name, value in Mamba2(768, device="meta").state_dict().items()}
    assert state == {
        "dt_bias": (24,),
        "A_log": (24,),
        "D": (24,),
        "in_proj.weight": (3352, 768),
        "conv1d.weight": (1792, 1, 4),
        "conv1d.bias": (1792,),
        "norm.weight": (1536,),
        "out_proj.weight": (768, 1536),
    }
    assert Mamba2(768, device="meta")(torch.empty(2, 256, 768, device="meta")).shape == (2, 256, 768)
    assert Mamba1(768, device="meta").x_proj.weight.shape == (48 + 2 * 16, 1536)


def test_initial_step_sizes_and_decays() -> None:
    torch.manual_seed(0)
    two, one = Mamba2(512, d_state=4, headdim=4), Mamba1(64, d_state=5)
    for bias in (two.dt_bias, one.dt_proj.bias):
        dt = F.softplus(bias.detach())
        assert 0.001 * 0.999 <= float(dt.min()) < 0.0015
        assert 0.07 < float(dt.max()) <= 0.1 * 1.001
    A = two.A_log.detach().exp()
    assert 1 <= float(A.min()) < 1.5 < 15.5 < float(A.max()) <= 16
    torch.testing.assert_close(one.A_log.detach().exp(), torch.arange(1.0, 6.0).expand(128, 5))
    assert one.dt_proj.weight.abs().max() <= one.dt_rank**-0.5


@pytest.mark.parametrize(
    ("options", "message"),
    [({"headdim": 5}, "headdim 5"), ({"d_ssm": 4}, "d_ssm = 4"), ({"dt_limit": (1.0,)}, "dt_limit")],
)
def test_options_that_make_no_mixer(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Mamba2(8, **{"headdim": 4, **options})


@settings(max_examples=30, deadline=None)
@given(
    b=st.integers(0, 2),
    length=st.integers(0, 7),
    channels=st.integers(1, 4),
    width=st.integers(1, 5),
    bias=st.booleans(),
)
def test_causal_conv_and_its_step_are_torchs_convolution(
    b: int, length: int, channels: int, width: int, bias: bool
) -> None:
    x, weight = torch.randn(b, length, channels).double(), torch.randn(channels, width).double()
    offset = torch.randn(channels).double() if bias else None
    padded = F.pad(x.mT, (width - 1, 0))
    want = F.conv1d(padded, weight[:, None], offset, groups=channels).mT if length else x
    torch.testing.assert_close(causal_conv1d(x, weight, offset), want, **CLOSE)
    state = conv_state(b, channels, width, dtype=torch.float64)
    for t in range(length):
        torch.testing.assert_close(causal_conv1d_step(x[:, t], state, weight, offset), want[:, t], **CLOSE)
    filled = conv_state(b, channels, width, dtype=torch.float64).fill_(7)
    fill_conv_state(filled, x)
    torch.testing.assert_close(filled, state)


@pytest.mark.parametrize("length", [1, 2, 6])
def test_causal_conv_gradients(length: int) -> None:
    leaves = [torch.randn(shape).double().requires_grad_() for shape in ((2, length, 3), (3, 4), (3,))]
    assert torch.autograd.gradcheck(causal_conv1d, leaves)


def test_conv_names_the_argument_of_the_wrong_shape() -> None:
    x, weight = torch.randn(2, 5, 3), torch.randn(3, 4)
    with pytest.raises(ValueError, match=r"^weight must"):
        causal_conv1d(x, weight[:2])
    with pytest.raises(ValueError, match=r"^bias must"):
        causal_conv1d(x, weight, torch.randn(2))
    with pytest.raises(ValueError, match=r"^state must"):
        causal_conv1d_step(x[:, 0], torch.zeros(2, 3, 3), weight)


@pytest.mark.parametrize("group_size", [None, 4])
def test_rms_norm_value_and_gradients(group_size: int | None) -> None:
    x, weight = torch.randn(3, 5, 8).double(), torch.randn(8).double()
    grouped = x.view(3, 5, -1, group_size or 8)
    want = F.rms_norm(grouped, grouped.shape[-1:], eps=1e-3).view_as(x) * weight
    torch.testing.assert_close(rms_norm(x, weight, 1e-3, group_size), want, **CLOSE)
    with torch.no_grad():
        torch.testing.assert_close(rms_norm(x, weight, 1e-3, group_size), want, **CLOSE)
    leaves = [x.requires_grad_(), weight.requires_grad_()]
    assert torch.autograd.gradcheck(lambda *values: rms_norm(*values, 1e-3, group_size), leaves)


def test_gate_before_or_after_the_norm_and_the_residual_sum() -> None:
    x, z = torch.randn(2, 6), torch.randn(2, 6)
    after, before, plain = RMSNormGated(6), RMSNormGated(6, norm_before_gate=True), RMSNorm(6)
    torch.testing.assert_close(after(x, z), plain(x * F.silu(z)))
    torch.testing.assert_close(before(x, z), plain(x) * F.silu(z))
    torch.testing.assert_close(after(x), plain(x))
    y, total = plain(x.bfloat16(), z, prenorm=True)
    assert (y.dtype, total.dtype) == (torch.bfloat16, torch.float32)
    torch.testing.assert_close(total, x.bfloat16().float() + z)
    with pytest.raises(ValueError, match="group_size 4"):
        RMSNormGated(6, group_size=4)(x)
    with pytest.raises(ValueError, match=r"^z must"):
        after(x, z[:1])


def test_few_row_linear_copies_only_large_weights() -> None:
    small, large = torch.nn.Linear(4, 3), torch.nn.Linear(512, 640)
    assert not packs(small.weight)
    assert not packs(large.weight.double())
    for layer in (small, large):
        x: Tensor = torch.randn(5, layer.in_features)
        torch.testing.assert_close(
            few_row_linear(layer.weight, layer.bias, 5)(x), layer(x).detach(), rtol=1e-5, atol=1e-5
        )
    apply = few_row_linear(small.weight, small.bias, 2)
    x = torch.randn(2, 4)
    with torch.no_grad():
        small.weight.zero_()
    torch.testing.assert_close(apply(x), small.bias.detach().expand(2, 3))
