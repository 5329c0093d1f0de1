"""State-space duality (Mamba-2, arXiv 2405.21060, section 6): a scan with one decay a head, in matrix products.

    S_t = exp(dt_t A) S_{t-1} + dt_t x_t B_t^T            S (P, N) for every head, S_{-1} = the initial state or 0
    y_t = S_t C_t + D x_t                                 head h reads group h // (H / G) of B and C

The scan is computed in chunks (`models.ssm.ssd_chunks`). Shapes: B batch, L length, H heads, P head size, G groups,
N state size. The step has the backends `reference`, `numba` (CPU) and `triton` (CUDA, or its interpreter).
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from retable.models.common import backends
from retable.models.common.operators import operator
from retable.models.common.precision import compute_dtype, no_autocast
from retable.models.common.shapes import check_dims, check_groups, check_shape
from retable.models.ssm import ssd_chunks

NO_LIMIT = (0.0, math.inf)


def ssd_scan(
    x_BLHP: Tensor,
    dt_BLH: Tensor,
    A_H: Tensor,
    B_BLGN: Tensor,
    C_BLGN: Tensor,
    *,
    chunk_size: int = 256,
    D: Tensor | None = None,
    z: Tensor | None = None,
    dt_bias: Tensor | None = None,
    initial_states: Tensor | None = None,
    dt_softplus: bool = False,
    dt_limit: tuple[float, float] = NO_LIMIT,
    return_final_states: bool = False,
    backend: backends.Backend | None = None,
) -> Any:
    """y_BLHP in x's dtype, or (y, final_states_BHPN in float32 at least).

    D (H) or (H, P) adds D x; z_BLHP multiplies the result by silu(z). dt becomes clamp(dt + dt_bias, dt_limit), with
    `dt_softplus` clamp(softplus(dt + dt_bias), dt_limit).
    The chunk size changes speed and memory, not the result. Any L, also one that chunks do not divide.
    Raises ValueError naming the argument of the wrong shape.
    """
    _check_scan(x_BLHP, dt_BLH, A_H, B_BLGN, C_BLGN, D, z, dt_bias, initial_states)
    if chunk_size < 1:
        raise ValueError(f"chunk_size must be at least 1, not {chunk_size}")
    name = backends.choose("ssd_scan", backend, backends.device_of(x_BLHP, dt_BLH, A_H, B_BLGN, C_BLGN), _SCANS)
    compute = compute_dtype(x_BLHP)
    length = x_BLHP.shape[1]
    chunk = min(chunk_size, max(length, 1))
    padding = -length % chunk if length else chunk
    with no_autocast(x_BLHP):
        x, A, B, C = (value.to(compute) for value in (x_BLHP, A_H, B_BLGN, C_BLGN))
        dt = discretise(dt_BLH.to(compute), dt_bias, dt_softplus, dt_limit)
        states = None if initial_states is None else initial_states.to(compute)
        padded = (_pad(value, padding) for value in (x, dt)), (_pad(value, padding) for value in (B, C))
        inputs = (*padded[0], A, *padded[1], states)
        keep = torch.is_grad_enabled() and any(value is not None and value.requires_grad for value in inputs)
        y, final, *_ = _ssd_scan(*inputs, chunk, return_final_states, keep, name)
        y = _skip_and_gate(y[:, :length], x, D, z).to(x_BLHP.dtype)
    return (y, final) if return_final_states else y


_SCANS: dict[str, backends.Refusal] = {"reference": lambda: None}
"""The chunked form is matrix products, which are the BLAS's on every device; there is no other backend."""


@operator("ssd_scan")
def _ssd_scan(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    initial: Tensor | None,
    chunk: int,
    want_final: bool,
    keep: bool,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """y, the final state or an empty tensor, and what the backward pass starts from, empty unless `keep`.

    All in one piece, as the fake says: products of matrices leave strides that depend on the number of chunks.
    """
    y, final, kept = ssd_chunks.forward(x, dt, A, B, C, initial, chunk, want_final)
    decay, CB, before, after = (value.contiguous() if keep else x.new_empty(0) for value in kept)
    return y.contiguous(), final, decay, CB, before, after


@_ssd_scan.register_fake
def _(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    initial: Tensor | None,
    chunk: int,
    want_final: bool,
    keep: bool,
    backend: str,
) -> tuple[Tensor, ...]:
    shapes = ssd_chunks.kept_shapes(x, B, chunk, initial is not None, want_final) if keep else [(0,)] * 4
    batch, _, heads, size = x.shape
    final = x.new_empty((batch, heads, size, B.shape[3]) if want_final else (0,))
    return x.new_empty(x.shape), final, *(x.new_empty(shape) for shape in shapes)


@operator("ssd_scan_backward", differentiable=False)
def _ssd_scan_backward(
    dy: Tensor | None,
    dfinal: Tensor | None,
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    y: Tensor,
    decay: Tensor,
    CB: Tensor,
    before: Tensor,
    after: Tensor,
    chunk: int,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of x, dt, A, B, C and of the initial state, which is empty where no chunk is preceded by a state."""
    kept = ssd_chunks.Kept(decay, CB, before, after)
    dx, ddt, dA, dB, dC, dinitial = (
        value.contiguous() for value in ssd_chunks.backward(x, dt, A, B, C, y, kept, dy, dfinal, chunk)
    )
    return dx, ddt, dA, dB, dC, dinitial


@_ssd_scan_backward.register_fake
def _(
    dy: Tensor | None,
    dfinal: Tensor | None,
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    y: Tensor,
    decay: Tensor,
    CB: Tensor,
    before: Tensor,
    after: Tensor,
    chunk: int,
    backend: str,
) -> tuple[Tensor, ...]:
    b, _, H, P = x.shape
    dinitial = x.new_empty((b, H, P, B.shape[3]) if before.numel() else (0,))
    return *(value.new_empty(value.shape) for value in (x, dt, A, B, C)), dinitial


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *tensors, initial, ctx.chunk, _, _, ctx.backend = inputs
    y, _, *kept = output
    ctx.mark_non_differentiable(*kept)
    ctx.set_materialize_grads(False)
    ctx.has_initial = initial is not None
    ctx.save_for_backward(*tensors, y, *kept)


def _differentiate(ctx: Any, dy: Tensor | None, dfinal: Tensor | None, *_: Tensor | None) -> tuple[Tensor | None, ...]:
    *grads, dinitial = _ssd_scan_backward(dy, dfinal, *ctx.saved_tensors, ctx.chunk, ctx.backend)
    return *grads, dinitial if ctx.has_initial else None, None, None, None, None


_ssd_scan.register_autograd(_differentiate, setup_context=_keep)


@torch.no_grad()
def ssd_step(
    state_BHPN: Tensor,
    x_BHP: Tensor,
    dt_BH: Tensor,
    A_H: Tensor,
    B_BGN: Tensor,
    C_BGN: Tensor,
    *,
    D: Tensor | None = None,
    z: Tensor | None = None,
    dt_bias: Tensor | None = None,
    dt_softplus: bool = False,
    dt_limit: tuple[float, float] = NO_LIMIT,
    backend: backends.Backend | None = None,
) -> Tensor:
    """One step of `ssd_scan`: y_BHP in x's dtype; `state_BHPN` moves on in place. Without gradient."""
    _check_step(state_BHPN, x_BHP, dt_BH, A_H, B_BGN, C_BGN, D, z, dt_bias)
    name = backends.choose("ssd_step", backend, backends.device_of(state_BHPN, x_BHP, dt_BH, A_H, B_BGN, C_BGN), _STEPS)
    compute = compute_dtype(x_BHP)
    x, A, B, C = (value.to(compute) for value in (x_BHP, A_H, B_BGN, C_BGN))
    dt = discretise(dt_BH.to(compute), dt_bias, dt_softplus, dt_limit)
    y = _ssd_step(state_BHPN, x, dt, A, B, C, name)
    return _skip_and_gate(y, x, D, z).to(x_BHP.dtype)


_STEPS: dict[str, backends.Refusal] = {"reference": lambda: None, "numba": lambda: None, "triton": lambda: None}


@operator("ssd_step", mutates=("state",))
def _ssd_step(state: Tensor, x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, backend: str) -> Tensor:
    """y (B, H, P); the backends work on a copy of a state of another dtype or layout."""
    work = state.to(x.dtype).contiguous()
    if backend == "numba":
        from retable.models.ssm import numba_backend

        y = numba_backend.ssd_step(work, x, dt, A, B, C)
    elif backend == "triton":
        from retable.models.ssm import triton_backend

        y = triton_backend.ssd_step(work, x, dt, A, B, C)
    else:
        y = _step(work, x, dt, A, B, C)
    if work is not state:
        state.copy_(work)
    return y


@_ssd_step.register_fake
def _(state: Tensor, x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, backend: str) -> Tensor:
    return x.new_empty(x.shape)


def _step(state_BHPN: Tensor, x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """S = exp(dt A) S + dt x B^T, y = S C, head h with group h // (H / G)."""
    share = x.shape[1] // B.shape[1]
    B_BH1N, C_BHN1 = (value.repeat_interleave(share, dim=1) for value in (B.unsqueeze(2), C.unsqueeze(3)))
    state_BHPN.mul_((dt * A).exp_()[:, :, None, None]).addcmul_((x * dt.unsqueeze(-1)).unsqueeze(-1), B_BH1N)
    return (state_BHPN @ C_BHN1).squeeze(-1)


def discretise(dt: Tensor, bias: Tensor | None, softplus: bool, limit: tuple[float, float]) -> Tensor:
    """clamp(softplus(dt + bias), limit) over the heads in the last dimension; softplus is the identity above 20."""
    if bias is not None:
        dt = dt + bias.to(dt.dtype)
    if softplus:
        dt = F.softplus(dt, threshold=20.0)
    low, high = limit
    if (low, high) != NO_LIMIT or not softplus:
        dt = dt.clamp(low, high)
    return dt


def _skip_and_gate(y: Tensor, x: Tensor, D: Tensor | None, z: Tensor | None) -> Tensor:
    """(y + D x) silu(z)."""
    if D is not None:
        y = torch.addcmul(y, x, (D if D.dim() == 2 else D.unsqueeze(-1)).to(y.dtype))
    return y if z is None else y * F.silu(z.to(y.dtype))


def _pad(value: Tensor, count: int) -> Tensor:
    """`count` zero tokens behind dimension 1; dt = 0 makes them leave the state as it is."""
    return F.pad(value, (0, 0) * (value.dim() - 2) + (0, count)) if count else value


def _check_scan(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    dt_bias: Tensor | None,
    initial_states: Tensor | None,
) -> None:
    check_dims("x", x, "BLHP")
    check_dims("B", B, "BLGN")
    (b, L, H, P), (G, N) = x.shape, B.shape[2:]
    check_shape("dt", dt, b, L, H)
    check_shape("B", B, b, L, G, N)
    check_shape("C", C, b, L, G, N)
    check_shape("initial_states", initial_states, b, H, P, N)
    _check_heads(H, P, G, A, D, dt_bias)
    check_shape("z", z, *x.shape)


def _check_step(
    state: Tensor,
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    dt_bias: Tensor | None,
) -> None:
    check_dims("x", x, "BHP")
    check_dims("B", B, "BGN")
    (b, H, P), (G, N) = x.shape, B.shape[1:]
    check_shape("state", state, b, H, P, N)
    check_shape("dt", dt, b, H)
    check_shape("B", B, b, G, N)
    check_shape("C", C, b, G, N)
    _check_heads(H, P, G, A, D, dt_bias)
    check_shape("z", z, *x.shape)


def _check_heads(H: int, P: int, G: int, A: Tensor, D: Tensor | None, dt_bias: Tensor | None) -> None:
    check_groups("B", G, H)
    check_shape("A", A, H)
    check_shape("dt_bias", dt_bias, H)
    if D is not None:
        check_shape("D", D, *((H, P) if D.dim() == 2 else (H,)))
