"""The selective scan S6 of Mamba (arXiv 2312.00752, section 3) with diagonal A, real or complex.

    x_l = exp(delta_l A) x_{l-1} + (delta_l u_l) B_l        x (D, N), x_{-1} = 0
    y_l = sum_n C_ln x_ln                                   complex A: 2 Re(sum)
    out = (y + D u) silu(z)

Everything is computed in float32 at least (complex64 at least for complex A). Shapes: B batch, D channels, L length,
N state size, G groups of B and C; channel d reads group d // (D / G).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from models.precision import compute_dtype, no_autocast
from models.shapes import check_dims, check_groups, check_shape

BLOCK = 1 << 16
"""Elements of (time, B, D, N) handled at once: a few such arrays stay in a second-level cache."""


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
) -> Any:
    """out (B, D, L) in u's dtype, or (out, last_state (B, D, N)); no gradient flows from the last state.

    u, delta, z (B, D, L); A (D, N); D, delta_bias (D,). B and C are constant (D, N), variable (B, N, L) or grouped
    (B, G, N, L); for complex A the constant ones are complex, the others real (.., N, 2L) with re and im interleaved.
    Raises ValueError naming the argument of the wrong shape.
    """
    _check_scan(u, delta, A, B, C, D, z, delta_bias)
    real = compute_dtype(u)
    state = torch.promote_types(A.dtype, real)
    with no_autocast(u):
        u_, dt = u.to(real), delta.to(real)
        if delta_bias is not None:
            dt = dt + delta_bias.to(real).unsqueeze(-1)
        if delta_softplus:
            dt = F.softplus(dt, threshold=20.0)
        B_, C_ = _time_major(B, A, state), _time_major(C, A, state)
        groups = max(B_.shape[2], C_.shape[2])  # a constant one counts as one group of all channels
        B_, C_ = _regroup(B_, groups), _regroup(C_, groups)
        arguments = [_split_channels(value.permute(2, 0, 1), groups) for value in (u_, dt)]
        A_GRN = A.to(state).view(groups, -1, A.shape[1])
        keep = torch.is_grad_enabled() and any(v.requires_grad for v in (u_, dt, A_GRN, B_, C_))
        y, last = _SelectiveScan.apply(*arguments, A_GRN, B_, C_, keep)
        y = y.flatten(2).permute(1, 2, 0)
        if D is not None:
            y = torch.addcmul(y, u_, D.to(real).unsqueeze(-1))
        if z is not None:
            y = y * F.silu(z.to(real))
        y = y.to(u.dtype)
    return (y, last.flatten(1, 2)) if return_last_state else y


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
) -> Tensor:
    """One step: out in x's dtype; `state` (B, D, N) or (B, H, P, N) moves on in place. Without gradient; real A only.

    x, dt, z (B, D) or (B, H, P); A (D, N) or (H, P, N);
    D, dt_bias (D) or (H, P); B, C (B, N), with heads also (B, G, N).
    """
    _check_step(state, x, dt, A, B, C, D, z, dt_bias)
    real = compute_dtype(x)
    x_, step = x.to(real), dt.to(real)
    if dt_bias is not None:
        step = step + dt_bias.to(real)
    if dt_softplus:
        step = F.softplus(step, threshold=20.0)
    if B.dim() == 3:
        B, C = (value.repeat_interleave(x.shape[1] // value.shape[1], dim=1) for value in (B, C))
    while B.dim() < state.dim():
        B, C = B.unsqueeze(-2), C.unsqueeze(-2)
    new = state.to(real).mul_((step.unsqueeze(-1) * A.to(real)).exp_())
    new.addcmul_((step * x_).unsqueeze(-1), B.to(real))
    if new is not state:
        state.copy_(new)
    y = (new * C.to(real)).sum(-1)
    if D is not None:
        y.addcmul_(x_, D.to(real))
    if z is not None:
        y = y * F.silu(z.to(real))
    return y.to(x.dtype)


class _SelectiveScan(torch.autograd.Function):
    """y and the last state from time-major inputs; a block of time steps shares every operation but the recurrence.

    Complex numbers follow torch's convention (gradients are conjugate Wirtinger derivatives times two), so with
    g_l = dL/dx_l and a_l = exp(delta_l A):  g_l = (2) dy_l conj(C_l) + conj(a_{l+1}) g_{l+1}.
    u, delta (L, B, G, R) real; A (G, R, N); B, C (L or 1, B or 1, G, R or 1, N).
    """

    @staticmethod
    def forward(
        ctx: Any, u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, keep: bool
    ) -> tuple[Tensor, Tensor]:
        shape = (*u.shape, A.shape[-1])
        states = A.new_empty(shape) if keep else None
        y = torch.empty(u.shape, dtype=u.dtype, device=u.device)
        x = A.new_zeros(shape[1:])
        for rows in _blocks(shape):
            a = (delta[rows].unsqueeze(-1) * A).exp_()
            b = (delta[rows] * u[rows]).unsqueeze(-1) * _rows(B, rows)
            block = b if states is None else states[rows]
            for a_l, b_l, x_l in zip(a.unbind(), b.unbind(), block.unbind(), strict=True):
                x = torch.addcmul(b_l, a_l, x, out=x_l)
            y_block = torch.linalg.vecdot(_rows(C, rows).conj(), block)
            y[rows] = 2 * y_block.real if A.is_complex() else y_block
        last = x.clone()
        ctx.mark_non_differentiable(last)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(u, delta, A, B, C, states)
        return y, last

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor | None, _: Tensor | None) -> tuple[Tensor | None, ...]:
        u, delta, A, B, C, states = ctx.saved_tensors
        if dy is None:
            return (None,) * 6
        du, ddelta = torch.empty_like(u), torch.empty_like(delta)
        dA, dB, dC = (torch.zeros_like(value) for value in (A, B, C))
        dy = (2 * dy if A.is_complex() else dy).unsqueeze(-1)
        carry = A.new_zeros(states.shape[1:])  # conj(a_{l+1}) g_{l+1}
        for rows in reversed(_blocks(states.shape)):
            a = (delta[rows].unsqueeze(-1) * A).exp_()
            B_l = _rows(B, rows)
            g = dy[rows] * _rows(C, rows).conj()
            _rows(dC, rows).add_((dy[rows] * states[rows].conj()).sum_to_size(_rows(C, rows).shape))
            first = rows.start == 0
            for a_l, g_l in zip(reversed(a.unbind()), reversed(g.unbind()), strict=True):
                g_l.add_(carry)
                torch.mul(g_l, a_l.conj(), out=carry)
            _rows(dB, rows).add_((g * (delta[rows] * u[rows]).unsqueeze(-1)).sum_to_size(B_l.shape))
            dub = (g * B_l.conj()).sum(-1).real
            du[rows] = dub * delta[rows]
            ddelta[rows] = dub * u[rows]
            inner = slice(rows.start + first, rows.stop)  # x_{-1} = 0 leaves no trace in dA
            before = states[inner.start - 1 : inner.stop - 1]
            da = g[first:].mul_(a[first:].conj()).mul_(before.conj())
            ddelta[inner] += (da * A.conj()).sum(-1).real
            dA += (da * delta[inner].unsqueeze(-1)).sum((0, 1))
        return du, ddelta, dA, dB, dC, None


def _blocks(shape: tuple[int, ...]) -> list[slice]:
    """Time slices of at most BLOCK elements each, one step at least."""
    length, width = shape[0], max(1, int(torch.Size(shape[1:]).numel()))
    steps = max(1, BLOCK // width)
    return [slice(start, min(start + steps, length)) for start in range(0, length, steps)]


def _rows(value: Tensor, rows: slice) -> Tensor:
    """The block's part of B or C; a constant one serves every block."""
    return value if value.shape[0] == 1 else value[rows]


def _time_major(value: Tensor, A: Tensor, dtype: torch.dtype) -> Tensor:
    """B or C as (L, B, G, 1, N), a constant one as (1, 1, 1, D, N)."""
    if value.dim() == 2:
        return value.to(dtype)[None, None, None]
    if A.is_complex():
        value = torch.view_as_complex(value.to(dtype.to_real()).unflatten(-1, (-1, 2)).contiguous())
    value = value.unsqueeze(1) if value.dim() == 3 else value
    return value.to(dtype).permute(3, 0, 1, 2).unsqueeze(3).contiguous()


def _regroup(value: Tensor, groups: int) -> Tensor:
    """A constant (1, 1, 1, D, N) as (1, 1, G, R, N); a variable one with one group broadcasts as it is."""
    return value if value.shape[3] == 1 else value.reshape(1, 1, groups, -1, value.shape[4])


def _split_channels(value: Tensor, groups: int) -> Tensor:
    """(L, B, D) as (L, B, G, R), contiguous."""
    return value.contiguous().unflatten(2, (groups, -1))


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
