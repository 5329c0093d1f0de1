"""State-space duality (Mamba-2, arXiv 2405.21060, section 6): a scan with one decay a head, in matrix products.

    S_t = exp(dt_t A) S_{t-1} + dt_t x_t B_t^T            S (P, N) for every head, S_{-1} = the initial state or 0
    y_t = S_t C_t + D x_t                                 head h reads group h // (H / G) of B and C

With c_i = sum_{j <= i} dt_j A inside a chunk of Q tokens that S enters, and X = dt x:

    Y_i  = sum_{j <= i} exp(c_i - c_j) (C_i . B_j) X_j  +  exp(c_i) S C_i
    S'   = sum_j exp(c_Q - c_j) X_j B_j^T               +  exp(c_Q) S

Shapes: B batch, L length, H heads, P head size, G groups, R = H / G heads a group, N state size; K chunks of Q tokens.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from models.precision import compute_dtype, no_autocast
from models.shapes import check_dims, check_groups, check_shape

NO_LIMIT = (0.0, math.inf)
STEP_BLOCK = 1 << 18
"""State elements that a CPU step updates at once: the three passes over them stay in the second-level cache."""


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
    compute = compute_dtype(x_BLHP)
    length = x_BLHP.shape[1]
    chunk = min(chunk_size, max(length, 1))
    padding = -length % chunk if length else chunk
    with no_autocast(x_BLHP):
        x, A, B, C = (value.to(compute) for value in (x_BLHP, A_H, B_BLGN, C_BLGN))
        dt = discretise(dt_BLH.to(compute), dt_bias, dt_softplus, dt_limit)
        states = None if initial_states is None else initial_states.to(compute)
        padded = (_pad(value, padding) for value in (x, dt)), (_pad(value, padding) for value in (B, C))
        y, final = _SSD.apply(*padded[0], A, *padded[1], states, chunk, return_final_states)
        y = _skip_and_gate(y[:, :length], x, D, z).to(x_BLHP.dtype)
    return (y, final) if return_final_states else y


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
) -> Tensor:
    """One step of `ssd_scan`: y_BHP in x's dtype; `state_BHPN` moves on in place. Without gradient."""
    _check_step(state_BHPN, x_BHP, dt_BH, A_H, B_BGN, C_BGN, D, z, dt_bias)
    compute = compute_dtype(x_BHP)
    (batch, heads, headdim, size), groups = state_BHPN.shape, B_BGN.shape[1]
    x, B, C = (value.to(compute) for value in (x_BHP, B_BGN, C_BGN))
    dt = discretise(dt_BH.to(compute), dt_bias, dt_softplus, dt_limit)
    decay_BH11 = (dt * A_H.to(compute)).exp_()[:, :, None, None]
    state = state_BHPN.to(compute)
    whole = state.is_cuda or state.numel() <= STEP_BLOCK
    rows = max(1, batch) if whole else max(1, STEP_BLOCK // (heads * headdim * size))
    # The same memory seen by head, to decay, and by group, to meet B and C; M = R P rows a group.
    M = heads // groups * headdim
    state_gMN = state.view(batch * groups, M, size)
    xdt_gM1 = (x * dt.unsqueeze(-1)).reshape(batch * groups, M, 1)
    B_g1N, C_gN1 = B.reshape(batch * groups, 1, size), C.reshape(batch * groups, size, 1)
    y_gM1 = torch.empty_like(xdt_gM1)
    by_head = (value.split(rows) for value in (state, decay_BH11))
    by_group = (value.split(rows * groups) for value in (state_gMN, xdt_gM1, B_g1N, C_gN1, y_gM1))
    for s, decay, s_g, xdt, b, c, y in zip(*by_head, *by_group, strict=True):
        s.mul_(decay)
        s_g.addcmul_(xdt, b)
        torch.bmm(s_g, c, out=y)
    if state is not state_BHPN:
        state_BHPN.copy_(state)
    return _skip_and_gate(y_gM1.view(x.shape), x, D, z).to(x_BHP.dtype)


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


class _SSD(torch.autograd.Function):
    """The chunked form above with a hand-written derivative, about 1.5 times as fast as the recorded one.

    Nothing of size Q x Q is reduced for the gradient of c: by Y_i = sum_j M_ij X_j + ..., the decay's gradient is
    dc_i = dY_i . Y_i - X_i . dX_i inside a chunk, and <dS', S'> reaches every token of the chunk that S' leaves.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        dt: Tensor,
        A: Tensor,
        B: Tensor,
        C: Tensor,
        initial: Tensor | None,
        Q: int,
        want_final: bool,
    ) -> tuple[Tensor, Tensor | None]:
        (b, L, H, P), (G, N) = x.shape, B.shape[2:]
        K, R = L // Q, H // G
        X_BLHP = (x * dt.unsqueeze(-1)).contiguous()
        X_BKQHP = X_BLHP.view(b, K, Q, H, P)
        B_BKGQN, C_BKGQN = (value.reshape(b, K, Q, G, N).transpose(2, 3) for value in (B, C))
        c_BKQH = (dt * A).reshape(b, K, Q, H).cumsum(2)
        c_BKHQ = c_BKQH.transpose(2, 3).contiguous()
        decay_BKHQQ = torch.sub(c_BKHQ.unsqueeze(-1), c_BKHQ.unsqueeze(-2)).exp_().tril_()
        CB_BKGQQ = C_BKGQN @ B_BKGQN.mT
        M = (decay_BKHQQ.view(b, K, G, R, Q, Q) * CB_BKGQQ.unsqueeze(3)).view(b, K, H, Q, Q)
        Y = (M @ X_BKQHP.transpose(2, 3)).transpose(2, 3)
        before = after = None
        if K > 1 or initial is not None or want_final:
            rest_BKQH1 = (c_BKQH[:, :, -1:] - c_BKQH).exp_().unsqueeze(-1)
            X_end = (X_BKQHP * rest_BKQH1).reshape(b, K, Q, G, R * P).transpose(2, 3)
            after = (X_end.mT @ B_BKGQN).view(b, K, H, P, N)
            whole = c_BKHQ[..., -1].exp()[..., None, None]
            first = after.new_zeros(b, 1, H, P, N) if initial is None else initial.unsqueeze(1)
            for k in range(K):
                after[:, k].addcmul_(after[:, k - 1] if k else first[:, 0], whole[:, k])
            if K > 1 or initial is not None:
                before = torch.cat([first, after[:, :-1]], dim=1)
                Y_state = (C_BKGQN @ before.view(b, K, G, R * P, N).mT).transpose(2, 3).reshape(b, K, Q, H, P)
                Y = torch.addcmul(Y, Y_state, c_BKQH.exp().unsqueeze(-1))
        y = Y.reshape(b, L, H, P)
        ctx.set_materialize_grads(False)
        ctx.chunk = Q
        ctx.save_for_backward(x, dt, A, B, C, X_BLHP, c_BKQH, decay_BKHQQ, CB_BKGQQ, before, after, y)
        return y, after[:, -1].clone() if want_final and after is not None else None

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor | None, dfinal: Tensor | None) -> tuple[Tensor | None, ...]:
        x, dt, A, B, C, X_BLHP, c_BKQH, decay_BKHQQ, CB_BKGQQ, before, after, y = ctx.saved_tensors
        (b, L, H, P), (G, N) = x.shape, B.shape[2:]
        Q = ctx.chunk
        K, R = L // Q, H // G
        dy = torch.zeros_like(y) if dy is None else dy.contiguous()
        X_BKQHP, dY_BKQHP = X_BLHP.view(b, K, Q, H, P), dy.view(b, K, Q, H, P)
        B_BKGQN, C_BKGQN = (value.reshape(b, K, Q, G, N).transpose(2, 3) for value in (B, C))
        dY_BKHQP = dY_BKQHP.transpose(2, 3).contiguous()
        M = (decay_BKHQQ.view(b, K, G, R, Q, Q) * CB_BKGQQ.unsqueeze(3)).view(b, K, H, Q, Q)
        dX = (M.mT @ dY_BKHQP).transpose(2, 3)
        dM = dY_BKHQP @ X_BKQHP.permute(0, 1, 3, 4, 2)
        dCB = dM.mul_(decay_BKHQQ).view(b, K, G, R, Q, Q).sum(3)
        dC, dB = dCB @ B_BKGQN, dCB.mT @ C_BKGQN
        dinitial = dc_end = None
        if after is not None:
            whole = c_BKQH[:, :, -1].exp()[..., None, None]
            dafter = torch.empty_like(after)
            dafter[:, -1] = 0 if dfinal is None else dfinal
            if before is not None:
                dY_decayed = (dY_BKQHP * c_BKQH.exp().unsqueeze(-1)).reshape(b, K, Q, G, R * P).transpose(2, 3)
                dC += dY_decayed @ before.view(b, K, G, R * P, N)
                dbefore = (dY_decayed.mT @ C_BKGQN).view(b, K, H, P, N)
                for k in reversed(range(1, K)):
                    torch.addcmul(dbefore[:, k], dafter[:, k], whole[:, k], out=dafter[:, k - 1])
                if ctx.needs_input_grad[5]:
                    dinitial = torch.addcmul(dbefore[:, 0], dafter[:, 0], whole[:, 0])
            dS = dafter.view(b, K, G, R * P, N)
            rest_BKQH1 = (c_BKQH[:, :, -1:] - c_BKQH).exp_().unsqueeze(-1)
            dX = torch.addcmul(dX, (B_BKGQN @ dS.mT).transpose(2, 3).reshape(b, K, Q, H, P), rest_BKQH1)
            dB += (X_BKQHP * rest_BKQH1).reshape(b, K, Q, G, R * P).transpose(2, 3) @ dS
            dc_end = (dafter * after).sum((-1, -2))[:, :, None]
        dX = dX.reshape(b, L, H, P)
        dX_x = (dX * x).sum(-1)
        dc = (dy * y).sum(-1).sub_(dt * dX_x).view(b, K, Q, H)
        da = dc.flip(2).cumsum(2).flip(2)
        da = (da if dc_end is None else da.add_(dc_end)).view(b, L, H)
        dA = (da * dt).sum((0, 1))
        dB, dC = (value.transpose(2, 3).reshape(B.shape) for value in (dB, dC))
        return dX * dt.unsqueeze(-1), torch.addcmul(dX_x, da, A), dA, dB, dC, dinitial, None, None


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
