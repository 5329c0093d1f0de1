"""One step of the selective scan (arXiv 2312.00752, section 3) for decoding: the state moves on in place.

    x = exp(dt A) x + (dt u) B;   y = sum_n C_n x_n;   out = (y + D u) silu(z)

Backends: `reference`, `numba` (CPU), `triton` (CUDA, or its interpreter). Real A only, without gradient, float32 at least.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from retable.models.common import backends
from retable.models.common.operators import operator
from retable.models.common.precision import compute_dtype
from retable.models.common.shapes import check_groups, check_shape


@torch.no_grad()
def selective_state_update(
    state: Tensor,
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    dt_bias: Tensor | None = None,
    dt_softplus: bool = False,
    backend: backends.Backend | None = None,
) -> Tensor:
    """One step: out in x's dtype; `state` (B, D, N) or (B, H, P, N) moves on in place. Without gradient; real A only.

    x, dt, z (B, D) or (B, H, P); A (D, N) or (H, P, N);
    D, dt_bias (D) or (H, P); B, C (B, N), with heads also (B, G, N).
    """
    _check_step(state, x, dt, A, B, C, D, z, dt_bias)
    name = backends.choose("selective_state_update", backend, backends.device_of(state, x, dt, A, B, C), _REFUSALS)
    real = compute_dtype(x)
    x_, step, *others = (None if value is None else value.to(real) for value in (x, dt, A, B, C, D, z, dt_bias))
    return _selective_state_update(state, x_, step, *others, dt_softplus, name).to(x.dtype)


_REFUSALS: dict[str, backends.Refusal] = {"reference": lambda: None, "numba": lambda: None, "triton": lambda: None}


@operator("selective_state_update", mutates=("state",))
def _selective_state_update(
    state: Tensor,
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    dt_bias: Tensor | None,
    softplus: bool,
    backend: str,
) -> Tensor:
    """out like x; heads and their rows are channels here, so that head h of H reads group h // (H / G)."""
    step = dt if dt_bias is None else dt + dt_bias
    step = F.softplus(step, threshold=20.0) if softplus else step
    work = state.to(x.dtype).contiguous()
    B, C = (value if value.dim() == 3 else value.unsqueeze(1) for value in (B, C))
    x = x.contiguous()
    flat = [value.flatten(1) for value in (x, step)]
    y = _update(backend, work.flatten(1, -2), flat[0], flat[1], A.flatten(0, -2), B, C).view(x.shape)
    if work is not state:
        state.copy_(work)
    if D is not None:
        y = torch.addcmul(y, x, D)
    return y if z is None else (y * F.silu(z)).contiguous()


@_selective_state_update.register_fake
def _(
    state: Tensor,
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    dt_bias: Tensor | None,
    softplus: bool,
    backend: str,
) -> Tensor:
    return x.new_empty(x.shape)


def _update(backend: str, state: Tensor, x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """y (B, D) for state (B, D, N), x and dt (B, D), A (D, N), B and C (B, G, N)."""
    if backend == "numba":
        from retable.models.ssm import numba_backend

        return numba_backend.state_update(state, x, dt, A, B, C)
    if backend == "triton":
        from retable.models.ssm import triton_backend

        y: Tensor = triton_backend.state_update(state, x, dt, A, B, C)
        return y
    B, C = (value.repeat_interleave(x.shape[1] // value.shape[1], dim=1) for value in (B, C))
    state.mul_((dt.unsqueeze(-1) * A).exp_()).addcmul_((dt * x).unsqueeze(-1), B)
    return (state * C).sum(-1)


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
    if state.dim() not in (3, 4):
        raise ValueError(f"state must be (B, D, N) or (B, H, P, N), not {tuple(state.shape)}")
    batch, *channels, n = state.shape
    if A.is_complex() or state.is_complex():
        raise ValueError("A and state must be real: the step exists for real A only")
    check_shape("x", x, batch, *channels)
    check_shape("dt", dt, batch, *channels)
    check_shape("A", A, *channels, n)
    for name, value in (("B", B), ("C", C)):
        if value.dim() == 3 and len(channels) == 2:
            check_groups(name, value.shape[1], channels[0])
            check_shape(name, value, batch, value.shape[1], n)
        else:
            check_shape(name, value, batch, n)
    if B.dim() != C.dim():
        raise ValueError(f"C must have groups as B has, not {tuple(C.shape)}")
    check_shape("D", D, *channels)
    check_shape("z", z, batch, *channels)
    check_shape("dt_bias", dt_bias, *channels)
