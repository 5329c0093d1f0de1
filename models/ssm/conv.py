"""The short causal depthwise convolution before the scan: y_t = bias + sum_k weight[:, k] * x_{t - W + 1 + k}."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from retable.models.common import backends
from retable.models.common.operators import operator
from retable.models.common.precision import compute_dtype
from retable.models.common.shapes import check_dims, check_shape


def causal_conv1d(
    x_BLC: Tensor, weight_CW: Tensor, bias_C: Tensor | None = None, backend: backends.Backend | None = None
) -> Tensor:
    """Depthwise convolution of width W that sees x_{t-W+1} ... x_t, zeros before the start; y_BLC in x's dtype.

    Raises ValueError naming the argument of the wrong shape, BackendError for a backend that cannot run here.
    """
    check_dims("x", x_BLC, "BLC")
    _check_parameters(x_BLC.shape[2], weight_CW, bias_C)
    name = backends.choose("causal_conv1d", backend, backends.device_of(x_BLC, weight_CW), _REFUSALS)
    compute = compute_dtype(x_BLC)
    bias = None if bias_C is None else bias_C.to(compute)
    return _causal_conv1d(x_BLC.to(compute), weight_CW.to(compute), bias, name).to(x_BLC.dtype)


_REFUSALS: dict[str, backends.Refusal] = {"reference": lambda: None, "numba": lambda: None, "triton": lambda: None}


@operator("causal_conv1d")
def _causal_conv1d(x: Tensor, weight: Tensor, bias: Tensor | None, backend: str) -> Tensor:
    if backend != "reference":
        y: Tensor = _backend(backend).conv_forward(x, weight, bias)
        return y
    taps = weight.t().flip(0).contiguous()  # taps[k] meets the input k steps back
    y = (x * taps[0] if bias is None else torch.addcmul(bias, x, taps[0])).contiguous()
    for k in range(1, min(len(taps), x.shape[1])):
        y[:, k:].addcmul_(x[:, :-k], taps[k])
    return y


@_causal_conv1d.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor | None, backend: str) -> Tensor:
    return x.new_empty(x.shape)


@operator("causal_conv1d_backward", differentiable=False)
def _causal_conv1d_backward(x: Tensor, weight: Tensor, dy: Tensor, backend: str) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x, weight and bias."""
    if backend != "reference":
        grads: tuple[Tensor, Tensor, Tensor] = _backend(backend).conv_backward(x, weight, dy)
        return grads
    taps = weight.t().flip(0).contiguous()
    dx, dtaps = (dy * taps[0]).contiguous(), torch.zeros_like(taps)
    dtaps[0] = (dy * x).sum((0, 1))
    for k in range(1, min(len(taps), x.shape[1])):
        dx[:, :-k].addcmul_(dy[:, k:], taps[k])
        dtaps[k] = (dy[:, k:] * x[:, :-k]).sum((0, 1))
    return dx, dtaps.flip(0).t().contiguous(), dy.sum((0, 1))


@_causal_conv1d_backward.register_fake
def _(x: Tensor, weight: Tensor, dy: Tensor, backend: str) -> tuple[Tensor, Tensor, Tensor]:
    return x.new_empty(x.shape), weight.new_empty(weight.shape), weight.new_empty(weight.shape[0])


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, weight, bias, ctx.backend = inputs
    ctx.has_bias = bias is not None
    ctx.save_for_backward(x, weight)


def _differentiate(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
    dx, dweight, dbias = _causal_conv1d_backward(*ctx.saved_tensors, dy, ctx.backend)
    return dx, dweight, dbias if ctx.has_bias else None, None


_causal_conv1d.register_autograd(_differentiate, setup_context=_keep)


def _backend(name: str) -> Any:
    """The module with `conv_forward`, `conv_backward` and `conv_step` of a compiled backend."""
    if name == "numba":
        from retable.models.ssm import numba_backend

        return numba_backend
    from retable.models.ssm import triton_backend

    return triton_backend


def conv_state(batch: int, channels: int, width: int, dtype: Any = None, device: Any = None) -> Tensor:
    """A zero state (B, C, W) of the last W inputs; stored time-major, so that a step touches contiguous memory."""
    return torch.zeros(width, batch, channels, dtype=dtype, device=device).permute(1, 2, 0)


def fill_conv_state(state_BCW: Tensor, x_BLC: Tensor) -> None:
    """Set the state to the last W inputs of a prompt, with zeros before a prompt that is shorter."""
    width = state_BCW.shape[2]
    last = x_BLC[:, -width:].transpose(1, 2)
    state_BCW[..., : width - last.shape[2]] = 0
    state_BCW[..., width - last.shape[2] :] = last


@torch.no_grad()
def causal_conv1d_step(
    x_BC: Tensor,
    state_BCW: Tensor,
    weight_CW: Tensor,
    bias_C: Tensor | None = None,
    backend: backends.Backend | None = None,
) -> Tensor:
    """The next output y_BC; the state moves on in place by the input x_BC. Without gradient."""
    check_dims("x", x_BC, "BC")
    _check_parameters(x_BC.shape[1], weight_CW, bias_C)
    check_shape("state", state_BCW, *x_BC.shape, weight_CW.shape[1])
    name = backends.choose("causal_conv1d_step", backend, backends.device_of(x_BC, state_BCW, weight_CW), _REFUSALS)
    compute = compute_dtype(x_BC)
    bias = None if bias_C is None else bias_C.to(compute)
    return _causal_conv1d_step(state_BCW, x_BC.to(compute), weight_CW.to(compute), bias, name).to(x_BC.dtype)


@operator("causal_conv1d_step", mutates=("state",))
def _causal_conv1d_step(state: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None, backend: str) -> Tensor:
    """The state keeps inputs in its own dtype; the backends work on a copy of it where that is not x's."""
    work = state.to(x.dtype)
    y = _step(backend, x, work, weight, bias)
    if work is not state:
        state.copy_(work)
    return y


@_causal_conv1d_step.register_fake
def _(state: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None, backend: str) -> Tensor:
    return x.new_empty(x.shape)


def _step(backend: str, x: Tensor, state: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    if backend != "reference":
        y: Tensor = _backend(backend).conv_step(x, state, weight, bias)
        return y
    columns, taps = state.unbind(-1), weight.t().contiguous()
    for older, newer in pairwise(columns):
        older.copy_(newer)
    columns[-1].copy_(x)
    y = columns[0] * taps[0] if bias is None else torch.addcmul(bias, columns[0], taps[0])
    for column, tap in zip(columns[1:], taps[1:], strict=True):
        y.addcmul_(column, tap)
    return y.contiguous()


def _check_parameters(channels: int, weight: Tensor, bias: Tensor | None) -> None:
    check_dims("weight", weight, "CW")
    check_shape("weight", weight, channels, weight.shape[1])
    check_shape("bias", bias, channels)
