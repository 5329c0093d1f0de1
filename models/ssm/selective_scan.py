"""The selective scan S6 of Mamba (arXiv 2312.00752, section 3) with diagonal A, real or complex.

    x_l = exp(delta_l A) x_{l-1} + (delta_l u_l) B_l        x (D, N), x_{-1} = 0
    y_l = sum_n C_ln x_ln                                   complex A: 2 Re(sum)
    out = (y + D u) silu(z)

Everything is computed in float32 at least (complex64 at least for complex A). Shapes: B batch, D channels, L length,
N state size, G groups of B and C; channel d reads group d // (D / G).
Backends: `reference` takes every option on any device; `numba` (CPU), `triton` (CUDA, or its interpreter) and `mamba_ssm`
(CUDA) take real A with B and C that vary over time, N up to 256.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from retable.models.common import backends
from retable.models.common.operators import operator
from retable.models.common.precision import compute_dtype, no_autocast
from retable.models.common.shapes import check_dims, check_groups, check_shape
from retable.models.ssm import scan_reference

LARGEST_STATE = 256
"""The fast backends' limit on N."""


def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
    return_last_state: bool = False,
    backend: backends.Backend | None = None,
) -> Any:
    """out (B, D, L) in u's dtype, or (out, last_state (B, D, N)); no gradient flows from the last state.

    u, delta, z (B, D, L); A (D, N); D, delta_bias (D,). B and C are constant (D, N), variable (B, N, L) or grouped
    (B, G, N, L); for complex A the constant ones are complex, the others real (.., N, 2L) with re and im interleaved.
    Raises ValueError naming the argument of the wrong shape, BackendError for a backend that cannot take the call.
    """
    _check_scan(u, delta, A, B, C, D, z, delta_bias)
    name = backends.choose("selective_scan", backend, backends.device_of(u, delta, A, B, C), _refusals(A, B, C))
    real = compute_dtype(u)
    state = torch.promote_types(A.dtype, real)
    with no_autocast(u):
        B_, C_ = (value.to(state if value.is_complex() or value.dim() == 2 else real) for value in (B, C))
        others = (None if value is None else value.to(real) for value in (D, z, delta_bias))
        arguments = (u.to(real), delta.to(real), A.to(state), B_, C_, *others)
        keep = torch.is_grad_enabled() and any(v is not None and v.requires_grad for v in arguments)
        out, last, _, _ = _selective_scan(*arguments, delta_softplus, keep, name)
    out = out.to(u.dtype)
    return (out, last) if return_last_state else out


def _refusals(A: Tensor, B: Tensor, C: Tensor) -> dict[str, backends.Refusal]:
    def why() -> str | None:
        if A.is_complex():
            return "A is complex"
        if B.dim() == 2 or C.dim() == 2:
            return "B or C is constant over time"
        return f"N is {A.shape[1]}, at most {LARGEST_STATE} is accepted" if A.shape[1] > LARGEST_STATE else None

    return {"reference": lambda: None, "numba": why, "triton": why, "mamba_ssm": why}


def _backend(name: str) -> Any:
    """The module with `scan_forward` and `scan_backward` of a backend."""
    if name == "reference":
        return scan_reference
    if name == "numba":
        from retable.models.ssm import numba_backend

        return numba_backend
    if name == "triton":
        from retable.models.ssm import triton_backend

        return triton_backend
    from retable.models.ssm import mamba_ssm_backend

    return mamba_ssm_backend


@operator("selective_scan")
def _selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    softplus: bool,
    keep: bool,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(out, last state, states that the backward pass starts from, y where z needs it); both last empty unless `keep`."""
    u, delta = _by_channel(u), _by_channel(delta)
    dt = _discretise(delta, delta_bias, softplus, backend)
    y, states, last = _backend(backend).scan_forward(u, dt, A, _grouped(B), _grouped(C), keep)
    out = y if D is None else torch.addcmul(y, u, D.unsqueeze(-1))
    if z is None:
        return _by_channel(out), last, states, u.new_empty(0)
    return _by_channel(out * F.silu(_by_channel(z))), last, states, out if keep else u.new_empty(0)


@_selective_scan.register_fake
def _(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    softplus: bool,
    keep: bool,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    b, d, length = u.shape
    last = A.new_empty(b, *A.shape)
    states = _backend(backend).states_shape(b, d, length, A.shape[1]) if keep else (0,)
    y = u.new_empty(b, length, d).mT if z is not None and keep else u.new_empty(0)
    return u.new_empty(b, length, d).mT, last, A.new_empty(states), y


@operator("selective_scan_backward", differentiable=False)
def _selective_scan_backward(
    dout: Tensor,
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    states: Tensor,
    y: Tensor,
    softplus: bool,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of the eight tensors in their order; that of an absent one is empty."""
    dD, dz, dbias = (u.new_empty(0) for _ in range(3))
    u, delta, dout = _by_channel(u), _by_channel(delta), _by_channel(dout)
    if z is not None:
        z = _by_channel(z)
        sigma = torch.sigmoid(z)
        gate = z * sigma
        dz = _by_channel(torch.addcmul(gate, sigma, 1 - gate).mul_(y).mul_(dout))
        dout = dout * gate
    dt = _discretise(delta, delta_bias, softplus, backend)
    du, ddelta, dA, dB, dC = _backend(backend).scan_backward(u, dt, A, _grouped(B), _grouped(C), states, dout)
    if D is not None:
        du = torch.addcmul(du, dout, D.unsqueeze(-1))
        dD = (dout * u).sum((0, 2))
    if softplus:
        raw = delta if delta_bias is None else delta + delta_bias.unsqueeze(-1)
        ddelta = ddelta * torch.sigmoid(raw)  # 1 to the last digit above softplus' threshold
    if delta_bias is not None:
        dbias = ddelta.sum((0, 2))
    dA, dB, dC = dA.contiguous(), dB.reshape(B.shape).contiguous(), dC.reshape(C.shape).contiguous()
    return _by_channel(du), _by_channel(ddelta), dA, dB, dC, dD, dz, dbias


@_selective_scan_backward.register_fake
def _(
    dout: Tensor,
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    states: Tensor,
    y: Tensor,
    softplus: bool,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    def like(value: Tensor | None) -> Tensor:
        return u.new_empty(0) if value is None else value.new_empty(value.shape)

    b, d, length = u.shape
    du, ddelta, dz = (u.new_empty(b, length, d).mT for _ in range(3))
    return du, ddelta, like(A), like(B), like(C), like(D), dz if z is not None else like(z), like(delta_bias)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor, Tensor]) -> None:
    *tensors, ctx.softplus, _, ctx.backend = inputs
    _, last, states, y = output
    ctx.mark_non_differentiable(last, states, y)
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*tensors, states, y)


def _differentiate(ctx: Any, dout: Tensor | None, *_: Tensor | None) -> tuple[Tensor | None, ...]:
    if dout is None:
        return (None,) * 11
    *tensors, states, y = ctx.saved_tensors
    grads = _selective_scan_backward(dout, *tensors, states, y, ctx.softplus, ctx.backend)
    return *(None if value is None else grad for grad, value in zip(grads, tensors, strict=True)), None, None, None


_selective_scan.register_autograd(_differentiate, setup_context=_keep)


def _discretise(delta: Tensor, bias: Tensor | None, softplus: bool, backend: str) -> Tensor:
    """softplus(delta + bias), the identity above 20."""
    if softplus and backend == "numba":
        from retable.models.ssm import numba_backend

        return numba_backend.softplus(delta, bias)
    dt = delta if bias is None else delta + bias.unsqueeze(-1)
    return F.softplus(dt, threshold=20.0) if softplus else dt


def _grouped(value: Tensor) -> Tensor:
    """B or C with its axis of groups."""
    return value.unsqueeze(1) if value.dim() == 3 else value


def _by_channel(value: Tensor) -> Tensor:
    """(B, D, L) over memory laid out (B, L, D), the layout of every output."""
    return value.mT.contiguous().mT


def _check_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
) -> None:
    check_dims("u", u, "BDL")
    check_dims("A", A, "DN")
    b, d, length = u.shape
    n = A.shape[1]
    check_shape("A", A, d, n)
    check_shape("delta", delta, *u.shape)
    check_shape("z", z, *u.shape)
    check_shape("D", D, d)
    check_shape("delta_bias", delta_bias, d)
    steps = 2 * length if A.is_complex() else length
    for name, value in (("B", B), ("C", C)):
        if value.dim() not in (2, 3, 4):
            raise ValueError(f"{name} must be (D, N), (B, N, L) or (B, G, N, L), not {tuple(value.shape)}")
        if value.is_complex() != (A.is_complex() and value.dim() == 2):
            kind = "complex" if A.is_complex() and value.dim() == 2 else "real"
            raise ValueError(
                f"{name} must be {kind} here: constants have A's kind, variable ones hold re and im interleaved"
            )
        if value.dim() == 4:
            check_groups(name, value.shape[1], d)
        check_shape(name, value, *{2: (d, n), 3: (b, n, steps), 4: (b, *value.shape[1:2], n, steps)}[value.dim()])
