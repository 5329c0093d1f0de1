"""Attention with embedded prompts (arXiv 2407.01003, Equation 5 and Figure 5), literal and in closed form.

S (B, H, N, N) are the logits of keys, P (..., N, d_p) the prompts: one row a query token, shared by heads and images.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def logits(q_BHNE: Tensor, k_BHNE: Tensor) -> Tensor:
    """S = q k^T / sqrt(E). Prompts are joined later and so are not scaled."""
    return q_BHNE @ k_BHNE.transpose(-1, -2) * q_BHNE.shape[-1] ** -0.5


def plain(q_BHNE: Tensor, k_BHNE: Tensor, v_BHNE: Tensor) -> Tensor:
    """softmax(S) v."""
    return F.scaled_dot_product_attention(q_BHNE, k_BHNE, v_BHNE)


def kept_attention(S_BHNN: Tensor, P: Tensor) -> Tensor:
    """Equation 5 as it stands: softmax over [P, S], of which the prompts' columns are dropped; rows add up to less than 1."""
    d_p = P.shape[-1]
    joined = torch.cat([P.expand(*S_BHNN.shape[:-1], d_p), S_BHNN], dim=-1)
    return joined.softmax(-1)[..., d_p:]


def row_scale(S_BHNN: Tensor, P: Tensor) -> Tensor:
    """r_i = Z_i / (Z_i + sum_j exp P_ij), Z_i = sum_j exp S_ij: what a row of the kept attention adds up to, (B, H, N).

    Only logsumexp_j P_ij counts, so prompts of any length do what one column can. P = -inf gives exactly 1.
    """
    return torch.sigmoid(S_BHNN.logsumexp(-1) - P.logsumexp(-1))


def literal(q_BHNE: Tensor, k_BHNE: Tensor, v_BHNE: Tensor, P: Tensor) -> Tensor:
    return kept_attention(logits(q_BHNE, k_BHNE), P) @ v_BHNE


def scaled(q_BHNE: Tensor, k_BHNE: Tensor, v_BHNE: Tensor, P: Tensor) -> Tensor:
    """The same as `literal`: the plain attention's rows, each times its r_i."""
    return plain(q_BHNE, k_BHNE, v_BHNE) * row_scale(logits(q_BHNE, k_BHNE), P)[..., None]


def reach(S_BHNN: Tensor) -> Tensor:
    """alpha_i = max_j S_ij - min_j S_ij, (B, H, N, 1), which `multiply and concat` gives the prompts of a token (Figure 5)."""
    # the paper does not say whether alpha is held fixed; here the gradient goes through it
    return S_BHNN.amax(-1, keepdim=True) - S_BHNN.amin(-1, keepdim=True)
