"""The recurrence of the selective scan in plain torch, for any device, dtype and kind of A, B and C.

    x_l = exp(delta_l A) x_{l-1} + (delta_l u_l) B_l        x (D, N), x_{-1} = 0
    y_l = sum_n C_ln x_ln                                   complex A: 2 Re(sum)

A block of time steps shares every operation but the recurrence. Complex numbers follow torch's convention (gradients are
conjugate Wirtinger derivatives times two), so with g_l = dL/dx_l and a_l = exp(delta_l A):
g_l = (2) dy_l conj(C_l) + conj(a_{l+1}) g_{l+1}.
"""

from __future__ import annotations

import torch
from torch import Tensor

BLOCK = 1 << 16
"""Elements of (time, B, D, N) handled at once: a few such arrays stay in a second-level cache."""


def scan_forward(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, keep: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """(y (B, D, L), all states or none, last state (B, D, N)).

    u, delta (B, D, L), delta after its softplus; A (D, N); B, C (B, G, N, L), (B, G, N, 2L) for complex A, or (D, N).
    """
    b, d, length = u.shape
    u_, dt, A_, B_, C_ = _time_major(u, delta, A, B, C)
    shape = (*u_.shape, A_.shape[-1])
    states = A_.new_empty(states_shape(b, d, length, A.shape[1]) if keep else (0,))
    blocks = states.unflatten(2, A_.shape[:2]) if keep else states
    y = torch.empty(u_.shape, dtype=u_.dtype, device=u_.device)
    x = A_.new_zeros(shape[1:])
    for rows in _blocks(shape):
        a = (dt[rows].unsqueeze(-1) * A_).exp_()
        input_ = (dt[rows] * u_[rows]).unsqueeze(-1) * _rows(B_, rows)
        block = blocks[rows] if keep else input_
        for a_l, b_l, x_l in zip(a.unbind(), input_.unbind(), block.unbind(), strict=True):
            x = torch.addcmul(b_l, a_l, x, out=x_l)
        y_block = torch.linalg.vecdot(_rows(C_, rows).conj(), block)
        y[rows] = 2 * y_block.real if A.is_complex() else y_block
    return _channels(y), states, x.flatten(1, 2).clone()


def states_shape(b: int, d: int, length: int, n: int) -> tuple[int, ...]:
    """Of what `scan_forward` keeps: x of every step, (L, B, D, N)."""
    return length, b, d, n


def scan_backward(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, states: Tensor, dy: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of the five inputs in their shapes, from that of y (B, D, L)."""
    u_, dt, A_, B_, C_ = _time_major(u, delta, A, B, C)
    states = states.unflatten(2, A_.shape[:2])  # as (L, B, G, R, N)
    du, ddt = torch.empty_like(u_), torch.empty_like(dt)
    dA, dB, dC = (torch.zeros_like(value) for value in (A_, B_, C_))
    dy_ = dy.permute(2, 0, 1).reshape(u_.shape).unsqueeze(-1)
    dy_ = 2 * dy_ if A.is_complex() else dy_
    carry = A_.new_zeros(states.shape[1:])  # conj(a_{l+1}) g_{l+1}
    for rows in reversed(_blocks(tuple(states.shape))):
        a = (dt[rows].unsqueeze(-1) * A_).exp_()
        B_l = _rows(B_, rows)
        g = dy_[rows] * _rows(C_, rows).conj()
        _rows(dC, rows).add_((dy_[rows] * states[rows].conj()).sum_to_size(_rows(C_, rows).shape))
        first = rows.start == 0
        for a_l, g_l in zip(reversed(a.unbind()), reversed(g.unbind()), strict=True):
            g_l.add_(carry)
            torch.mul(g_l, a_l.conj(), out=carry)
        _rows(dB, rows).add_((g * (dt[rows] * u_[rows]).unsqueeze(-1)).sum_to_size(B_l.shape))
        dub = (g * B_l.conj()).sum(-1).real
        du[rows] = dub * dt[rows]
        ddt[rows] = dub * u_[rows]
        inner = slice(rows.start + first, rows.stop)  # x_{-1} = 0 leaves no trace in dA
        before = states[inner.start - 1 : inner.stop - 1]
        da = g[first:].mul_(a[first:].conj()).mul_(before.conj())
        ddt[inner] += (da * A_.conj()).sum(-1).real
        dA += (da * dt[inner].unsqueeze(-1)).sum((0, 1))
    return _channels(du), _channels(ddt), dA.view(A.shape), _as_given(dB, B), _as_given(dC, C)


def _time_major(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> tuple[Tensor, ...]:
    """u, delta (L, B, G, R); A (G, R, N); B, C (L or 1, B or 1, G, R or 1, N)."""
    B, C = _rows_of_states(B, A), _rows_of_states(C, A)
    groups = max(B.shape[2], C.shape[2])  # a constant one counts as one group of all channels
    u, delta = (value.permute(2, 0, 1).contiguous().unflatten(2, (groups, -1)) for value in (u, delta))
    return u, delta, A.view(groups, -1, A.shape[1]), _regroup(B, groups), _regroup(C, groups)


def _rows_of_states(value: Tensor, A: Tensor) -> Tensor:
    """B or C as (L, B, G, 1, N), a constant one as (1, 1, 1, D, N)."""
    if value.dim() == 2:
        return value[None, None, None]
    if A.is_complex():
        value = torch.view_as_complex(value.unflatten(-1, (-1, 2)).contiguous())
    return value.permute(3, 0, 1, 2).unsqueeze(3).contiguous()


def _as_given(grad: Tensor, value: Tensor) -> Tensor:
    """The gradient of B or C in the layout of its argument: the inverse of `_rows_of_states` and `_regroup`."""
    if value.dim() == 2:
        return grad.reshape(value.shape)
    grad = grad.squeeze(3).permute(1, 2, 3, 0)
    return torch.view_as_real(grad).flatten(-2) if grad.is_complex() else grad.contiguous()


def _channels(y: Tensor) -> Tensor:
    """(L, B, G, R) as (B, D, L) over memory laid out (B, L, D)."""
    return y.flatten(2).transpose(0, 1).contiguous().mT


def _blocks(shape: tuple[int, ...]) -> list[slice]:
    """Time slices of at most BLOCK elements each, one step at least."""
    length, width = shape[0], max(1, int(torch.Size(shape[1:]).numel()))
    steps = max(1, BLOCK // width)
    return [slice(start, min(start + steps, length)) for start in range(0, length, steps)]


def _rows(value: Tensor, rows: slice) -> Tensor:
    """The block's part of B or C; a constant one serves every block."""
    return value if value.shape[0] == 1 else value[rows]


def _regroup(value: Tensor, groups: int) -> Tensor:
    """A constant (1, 1, 1, D, N) as (1, 1, G, R, N); a variable one with one group broadcasts as it is."""
    return value if value.shape[3] == 1 else value.reshape(1, 1, groups, -1, value.shape[4])
