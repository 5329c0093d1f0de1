"""Node features of few words as rows of places: dropout and the first product then cost what is there, not N C."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

DENSEST = 1 / 8
"""Features with more non-zero entries than that stay dense."""


@dataclass(frozen=True, eq=False)
class SparseFeatures:
    """X (N, C), the same at every step: row i has `values_M` of the columns `columns_M` from `start_N1[i]` to `start_N1[i + 1]`."""

    start_N1: Tensor
    columns_M: Tensor
    values_M: Tensor

    @property
    def dtype(self) -> torch.dtype:
        return self.values_M.dtype

    def __matmul__(self, W: Tensor) -> Tensor:
        """X W as one step, (1, N, C')."""
        return F.embedding_bag(
            self.columns_M, W, self.start_N1, mode="sum", per_sample_weights=self.values_M, include_last_offset=True
        )[None]


def sparse(x_NC: Tensor) -> SparseFeatures | Tensor:
    """X by its non-zero entries, or as it is where they are many."""
    rows_M, columns_M = x_NC.nonzero(as_tuple=True)
    if len(rows_M) > DENSEST * x_NC.numel():
        return x_NC
    count_N = torch.bincount(rows_M, minlength=len(x_NC))
    return SparseFeatures(torch.cat([count_N.new_zeros(1), count_N.cumsum(0)]), columns_M, x_NC[rows_M, columns_M])


def dropped(x: SparseFeatures | Tensor, share: float, training: bool) -> SparseFeatures | Tensor:
    """Dropout; of zeros it has nothing to drop."""
    if isinstance(x, Tensor):
        return F.dropout(x, share, training)
    return replace(x, values_M=F.dropout(x.values_M, share, training))
