"""How a graph network is trained, without torch: suites check these values before anything is imported."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Loss = Literal["sum", "mean"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Adam for `epochs` steps of the whole graph; the rate and the dropout of a layer's input are those of the paper.

    The cross-entropy of the labelled nodes is summed (eq. 13) or averaged: with Adam that changes the share of the weight
    decay. Of all epochs the one with the best validation accuracy is kept, the first of equals, and the last one beside it.
    """

    epochs: int = 200
    lr: float = 0.01
    weight_decay: float = 5e-4
    dropout: float = 0.1
    loss: Loss = "sum"

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise ValueError(f"`epochs` must be at least 1, not {self.epochs}")
        if not 0 < self.lr < math.inf:
            raise ValueError(f"`lr` must be above 0, not {self.lr}")
        if not 0 <= self.weight_decay < math.inf:
            raise ValueError(f"`weight_decay` must be at least 0, not {self.weight_decay}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"`dropout` must be at least 0 and below 1, not {self.dropout}")
