"""Quantised weights as they are stored: each row's few values once, and their numbers packed into 2, 4 or 8 bits; exact."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

MOST = 256


def pack(weight: Tensor) -> dict[str, Tensor]:
    """`levels` (R, L) and `codes` (R, bytes) uint8 of a weight (R, C); `raw` where a row has more than 256 values."""
    sorted_RC, order = weight.sort(dim=1)
    new = torch.zeros_like(order)
    new[:, 1:] = sorted_RC[:, 1:] != sorted_RC[:, :-1]
    rank = new.cumsum(1)
    count = int(rank.max()) + 1
    if count > MOST:
        return {"raw": weight}
    levels = torch.zeros(len(weight), count, dtype=weight.dtype, device=weight.device).scatter_(1, rank, sorted_RC)
    codes = torch.empty_like(rank).scatter_(1, order, rank).to(torch.uint8)
    return {"levels": levels, "codes": _squeeze(codes, _bits(count))}


def unpack(packed: Mapping[str, Tensor], columns: int) -> Tensor:
    """The weight (R, columns)."""
    if "raw" in packed:
        return packed["raw"]
    codes = _stretch(packed["codes"], _bits(packed["levels"].shape[1]))[:, :columns]
    return packed["levels"].gather(1, codes.long())


def _bits(count: int) -> int:
    return 2 if count <= 4 else 4 if count <= 16 else 8


def _squeeze(codes: Tensor, bits: int) -> Tensor:
    each = 8 // bits
    padded = torch.nn.functional.pad(codes, (0, -codes.shape[1] % each)).view(len(codes), -1, each)
    out = padded[..., 0].clone()
    for place in range(1, each):
        out |= padded[..., place] << (bits * place)
    return out


def _stretch(packed: Tensor, bits: int) -> Tensor:
    parts = [(packed >> (bits * place)) & (2**bits - 1) for place in range(8 // bits)]
    return torch.stack(parts, -1).flatten(1)
