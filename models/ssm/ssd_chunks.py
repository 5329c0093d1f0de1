"""The chunked matrix form of the SSD scan and its derivative, in plain torch (arXiv 2405.21060, section 6).

With c_i = sum_{j <= i} dt_j A inside a chunk of Q tokens that S enters, and X = dt x:

    Y_i  = sum_{j <= i} exp(c_i - c_j) (C_i . B_j) X_j  +  exp(c_i) S C_i
    S'   = sum_j exp(c_Q - c_j) X_j B_j^T               +  exp(c_Q) S

The derivative is written by hand, about 1.5 times as fast as the recorded one: nothing of size Q x Q is reduced for the
gradient of c, since by Y_i = sum_j M_ij X_j + ... it is dc_i = dY_i . Y_i - X_i . dX_i inside a chunk, and <dS', S'>
reaches every token of the chunk that S' leaves.

Shapes: B batch, L length, H heads, P head size, G groups, R = H / G heads a group, N state size; K chunks of Q tokens.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Kept(NamedTuple):
    """What the forward pass leaves for the backward pass; states are empty where no chunk hands one on."""

    decay_BKHQQ: Tensor
    CB_BKGQQ: Tensor
    before_BKHPN: Tensor
    after_BKHPN: Tensor


def kept_shapes(x: Tensor, B: Tensor, Q: int, has_initial: bool, want_final: bool) -> list[tuple[int, ...]]:
    """Of the four tensors of `Kept`."""
    (b, L, H, P), (G, N) = x.shape, B.shape[2:]
    K = L // Q
    states, chained = (b, K, H, P, N), K > 1 or has_initial
    return [(b, K, H, Q, Q), (b, K, G, Q, Q), states if chained else (0,), states if chained or want_final else (0,)]


def forward(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, initial: Tensor | None, Q: int, want_final: bool
) -> tuple[Tensor, Tensor, Kept]:
    """(y_BLHP, final_BHPN or an empty tensor, Kept); L is a multiple of Q."""
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
    final = after[:, -1].clone() if want_final and after is not None else x.new_empty(0)
    states = (x.new_empty(0) if value is None else value for value in (before, after))
    return y, final, Kept(decay_BKHQQ, CB_BKGQQ, *states)


def backward(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    y: Tensor,
    kept: Kept,
    dy: Tensor | None,
    dfinal: Tensor | None,
    Q: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of x, dt, A, B, C and of the initial state, which is empty where no chunk is preceded by a state."""
    (b, L, H, P), (G, N) = x.shape, B.shape[2:]
    K, R = L // Q, H // G
    decay_BKHQQ, CB_BKGQQ, before, after = kept
    X_BLHP = (x * dt.unsqueeze(-1)).contiguous()
    c_BKQH = (dt * A).reshape(b, K, Q, H).cumsum(2)
    dy = torch.zeros_like(y) if dy is None else dy.contiguous()
    X_BKQHP, dY_BKQHP = X_BLHP.view(b, K, Q, H, P), dy.view(b, K, Q, H, P)
    B_BKGQN, C_BKGQN = (value.reshape(b, K, Q, G, N).transpose(2, 3) for value in (B, C))
    dY_BKHQP = dY_BKQHP.transpose(2, 3).contiguous()
    M = (decay_BKHQQ.view(b, K, G, R, Q, Q) * CB_BKGQQ.unsqueeze(3)).view(b, K, H, Q, Q)
    dX = (M.mT @ dY_BKHQP).transpose(2, 3)
    dM = dY_BKHQP @ X_BKQHP.permute(0, 1, 3, 4, 2)
    dCB = dM.mul_(decay_BKHQQ).view(b, K, G, R, Q, Q).sum(3)
    dC, dB = dCB @ B_BKGQN, dCB.mT @ C_BKGQN
    dinitial, dc_end = x.new_empty(0), None
    if after.numel():
        whole = c_BKQH[:, :, -1].exp()[..., None, None]
        dafter = torch.empty_like(after)
        dafter[:, -1] = 0 if dfinal is None else dfinal
        if before.numel():
            dY_decayed = (dY_BKQHP * c_BKQH.exp().unsqueeze(-1)).reshape(b, K, Q, G, R * P).transpose(2, 3)
            dC += dY_decayed @ before.view(b, K, G, R * P, N)
            dbefore = (dY_decayed.mT @ C_BKGQN).view(b, K, H, P, N)
            for k in reversed(range(1, K)):
                torch.addcmul(dbefore[:, k], dafter[:, k], whole[:, k], out=dafter[:, k - 1])
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
    return dX * dt.unsqueeze(-1), torch.addcmul(dX_x, da, A), dA, dB, dC, dinitial
