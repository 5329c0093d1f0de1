"""GPTQ (arXiv 2210.17323): columns in order, each one's rounding error spread over those that follow by the inverse Hessian."""

from __future__ import annotations

import torch
from torch import Tensor

from retable.models.common.precision import no_autocast
from retable.models.spikellm.quantizer import WeightGrid

BLOCK = 128


class Hessian:
    """2/n sum x x^T over all tokens that enter a linear layer, float64 (C, C)."""

    def __init__(self, channels: int, device: torch.device) -> None:
        self.sum = torch.zeros(channels, channels, dtype=torch.float64, device=device)
        self.tokens = 0

    def add(self, x: Tensor) -> None:
        """x (..., C), in single precision also where the layer runs under autocast: sums of squares leave that of half."""
        rows = x.reshape(-1, x.shape[-1]).float()
        with no_autocast(rows):
            self.sum += (rows.T @ rows).double()
        self.tokens += len(rows)

    @property
    def mean(self) -> Tensor:
        return 2 * self.sum / max(1, self.tokens)


def gptq(w_OC: Tensor, inverse_CC: Tensor, dead_C: Tensor, grid: WeightGrid) -> Tensor:
    """The grid's values for w that keep w x, by the damped inverse Hessian; inputs that never moved (`dead_C`) weigh 0."""
    w = w_OC.float().clone()
    w[:, dead_C] = 0
    upper = torch.linalg.cholesky(inverse_CC, upper=True).float()
    out = torch.empty_like(w)
    columns = w.shape[1]
    for start in range(0, columns, BLOCK):
        stop = min(start + BLOCK, columns)
        block, errors = w[:, start:stop], torch.empty(len(w), stop - start, device=w.device)
        local = upper[start:stop, start:stop]
        for j in range(stop - start):
            column = grid.column(block[:, j], start + j)
            out[:, start + j] = column
            errors[:, j] = (block[:, j] - column) / local[j, j]
            block[:, j + 1 :] -= errors[:, j, None] * local[j, j + 1 :]
        w[:, stop:] -= errors @ upper[start:stop, stop:]
    return out.to(w_OC.dtype)
