"""Multi-step neurons as torch operators: `integrate_and_fire` (IF, LIF, PLIF, I-LIF) and `elastic` (SpikeLM).

Shapes: x (T, ...), first axis time. States and decisions are float32 at least; spikes come back in x's dtype. NaN in x or
in the state gives NaN from that step on. The equations stand in `models.spiking.reference`.
Backends: `reference` (any device), `numba` (CPU), `triton` (CUDA, or its interpreter).
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from retable.models.common import backends
from retable.models.common.operators import operator
from retable.models.common.precision import compute_dtype
from retable.models.common.shapes import check_shape
from retable.models.spiking import reference
from retable.models.spiking.surrogates import SIGMOID, Surrogate

Potentials = Literal["none", "last", "all"]


def integrate_and_fire(
    x: Tensor,
    *,
    k: Tensor | float,
    threshold: float = 1.0,
    v_reset: float | None = 0.0,
    decay_input: bool = True,
    strict: bool = False,
    levels: int = 0,
    detach_reset: bool = False,
    surrogate: Surrogate = SIGMOID,
    v: Tensor | None = None,
    potentials: Potentials = "none",
    backend: backends.Backend | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Spikes (T, ...), and the potentials after the reset that were asked for: of the last step (...) or all (T, ...).

    `k` is 1 / tau, 0 for IF, a tensor of one element where it is learned. `v` is the potential before the first step,
    by default v_reset, or 0 for a soft reset (`v_reset` None). `levels` > 0 makes an I-LIF, whose reset is soft.
    Raises ValueError naming the argument, BackendError for a backend that cannot run here.
    """
    _check(x, v, threshold, v_reset, levels)
    compute = compute_dtype(x)
    k = k.to(compute) if isinstance(k, Tensor) else torch.tensor(k, dtype=compute, device=x.device)
    if k.numel() != 1:
        raise ValueError(f"k must have one element, not the shape {tuple(k.shape)}")
    count = {"none": 0, "last": 1, "all": len(x)}[potentials]
    start = x.new_empty((0, *x.shape[1:]), dtype=compute) if v is None else v.to(compute)[None]
    name = backends.choose("integrate_and_fire", backend, backends.device_of(x, v), _REFUSALS)
    neuron = reference.Neuron(
        threshold, v_reset, decay_input, strict, levels, detach_reset, surrogate.name, surrogate.alpha
    )
    spikes, v_seq = _integrate_and_fire(x.to(compute), start, k.reshape(()), str(neuron), count, name)
    return spikes.to(x.dtype), {"none": None, "last": v_seq[0] if count else None, "all": v_seq}[potentials]


def elastic(
    x: Tensor,
    alpha: Tensor,
    *,
    binary: bool = False,
    return_u_seq: bool = False,
    backend: backends.Backend | None = None,
) -> Any:
    """The elastic bi-spiking neuron of SpikeLM (arXiv 2406.03287): spikes (T, ...) in {-a_t, 0, a_t}, from rest.

    `alpha` (T) are the amplitudes; twice the threshold each. `binary` leaves the zero out (the sign of the potential). With
    `return_u_seq` also the potentials before the reset, (T, ...), which carry no gradient.
    Raises ValueError naming the argument, BackendError for a backend that cannot run here.
    """
    _check_time(x)
    check_shape("alpha", alpha, x.shape[0])
    compute = compute_dtype(x)
    name = backends.choose("elastic", backend, backends.device_of(x, alpha), _REFUSALS)
    spikes, u_seq = _elastic(x.to(compute), alpha.to(compute), binary, return_u_seq, name)
    spikes = spikes.to(x.dtype)
    return (spikes, u_seq) if return_u_seq else spikes


def _check_time(x: Tensor) -> None:
    if not x.is_floating_point():
        raise ValueError(f"x must be of a floating-point dtype, not {x.dtype}")
    if x.dim() < 1 or x.shape[0] < 1:
        raise ValueError(f"x must have time as its first axis, one step at least, not the shape {tuple(x.shape)}")


def _check(x: Tensor, v: Tensor | None, threshold: float, v_reset: float | None, levels: int) -> None:
    _check_time(x)
    check_shape("v", v, *x.shape[1:])
    if not threshold > 0:
        raise ValueError(f"threshold must be above 0, not {threshold}")
    if levels < 0:
        raise ValueError(f"levels must be 0 (binary) or the largest spike, not {levels}")
    if levels and v_reset is not None:
        raise ValueError("v_reset must be None with levels: an integer spike is subtracted, the reset is soft")


_REFUSALS: dict[str, backends.Refusal] = {"reference": lambda: None, "numba": lambda: None, "triton": lambda: None}


def _backend(name: str) -> Any:
    """The module that implements the four functions of `reference` for a backend."""
    if name == "reference":
        return reference
    if name == "numba":
        from retable.models.spiking import numba_backend

        return numba_backend
    from retable.models.spiking import triton_backend

    return triton_backend


@operator("integrate_and_fire")
def _integrate_and_fire(
    x: Tensor,
    v: Tensor,
    k: Tensor,
    neuron: str,
    potentials: int,
    backend: str,
) -> tuple[Tensor, Tensor]:
    """As `reference.forward`."""
    out: tuple[Tensor, Tensor] = _backend(backend).forward(
        reference.parse(neuron), x.contiguous(), v.contiguous(), k, potentials
    )
    return out


@_integrate_and_fire.register_fake
def _(x: Tensor, v: Tensor, k: Tensor, neuron: str, potentials: int, backend: str) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape), x.new_empty((potentials, *x.shape[1:]))


@operator("integrate_and_fire_backward", differentiable=False)
def _integrate_and_fire_backward(
    x: Tensor,
    v: Tensor,
    k: Tensor,
    grad_spikes: Tensor,
    grad_v: Tensor,
    neuron: str,
    need_k: bool,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor]:
    """As `reference.backward`."""
    grads = grad_spikes.contiguous(), grad_v.contiguous()
    out: tuple[Tensor, Tensor, Tensor] = _backend(backend).backward(
        reference.parse(neuron), x.contiguous(), v.contiguous(), k, *grads, need_k
    )
    return out


@_integrate_and_fire_backward.register_fake
def _(x: Tensor, v: Tensor, k: Tensor, *options: Any) -> tuple[Tensor, Tensor, Tensor]:
    return x.new_empty(x.shape), x.new_empty(v.shape), x.new_empty(())


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, v, k, ctx.neuron, _, ctx.backend = inputs
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(x, v, k)


def _differentiate(ctx: Any, grad_spikes: Tensor | None, grad_v: Tensor | None) -> tuple[Tensor | None, ...]:
    x, v, k = ctx.saved_tensors
    none = x.new_empty((0, *x.shape[1:]))
    grads = (none if grad is None else grad for grad in (grad_spikes, grad_v))
    dx, dv, dk = _integrate_and_fire_backward(x, v, k, *grads, ctx.neuron, ctx.needs_input_grad[2], ctx.backend)
    return dx, dv, dk if ctx.needs_input_grad[2] else None, None, None, None


_integrate_and_fire.register_autograd(_differentiate, setup_context=_keep)


@operator("elastic")
def _elastic(x: Tensor, alpha: Tensor, binary: bool, whole_u: bool, backend: str) -> tuple[Tensor, Tensor]:
    """Spikes (T, ...) and the potentials before the reset, (T, ...) or none of them as (0, ...)."""
    out: tuple[Tensor, Tensor] = _backend(backend).elastic_forward(x.contiguous(), alpha, binary, whole_u)
    return out


@_elastic.register_fake
def _(x: Tensor, alpha: Tensor, binary: bool, whole_u: bool, backend: str) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape), x.new_empty(x.shape if whole_u else (0, *x.shape[1:]))


@operator("elastic_backward", differentiable=False)
def _elastic_backward(x: Tensor, alpha: Tensor, grad: Tensor, binary: bool, backend: str) -> tuple[Tensor, Tensor]:
    """Gradients of x (T, ...) and of alpha (T)."""
    out: tuple[Tensor, Tensor] = _backend(backend).elastic_backward(x.contiguous(), alpha, grad.contiguous(), binary)
    return out


@_elastic_backward.register_fake
def _(x: Tensor, alpha: Tensor, grad: Tensor, binary: bool, backend: str) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape), alpha.new_empty(alpha.shape)


def _keep_elastic(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, alpha, ctx.binary, _, ctx.backend = inputs
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(x, alpha)


def _differentiate_elastic(ctx: Any, grad_spikes: Tensor, _: Tensor | None) -> tuple[Tensor | None, ...]:
    dx, dalpha = _elastic_backward(*ctx.saved_tensors, grad_spikes, ctx.binary, ctx.backend)
    return dx, dalpha if ctx.needs_input_grad[1] else None, None, None, None


_elastic.register_autograd(_differentiate_elastic, setup_context=_keep_elastic)
