"""How a backbone is tuned on a handful of images, without torch; the defaults are the published configuration of EPT."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The rate falls epoch by epoch along half a cosine to 0, after a linear rise over `warmup` steps from 1e-4 of it.

    `clip` bounds the norm of the gradient. With `adamw` the CLS token and the position table are not decayed. `dropout` is
    that of the backbone, 0 wherever it is frozen.
    """

    epochs: int = 20
    batch_size: int = 4
    optimizer: Literal["sgd", "adamw"] = "sgd"
    lr: float = 6e-4
    weight_decay: float = 1e-4
    warmup: int = 0
    clip: float | None = None
    dropout: float = 0.0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1, not {getattr(self, name)}")
        for name in ("weight_decay", "warmup"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"`{name}` must be at least 0, not {getattr(self, name)}")
        if not 0 < self.lr < math.inf:
            raise ValueError(f"`lr` must be above 0, not {self.lr}")
        if self.clip is not None and not 0 < self.clip < math.inf:
            raise ValueError(f"`clip` must be above 0, not {self.clip}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"`dropout` must be at least 0 and below 1, not {self.dropout}")

    def lr_at(self, epoch: int, step: int) -> float:
        """Of step 0, 1, ... (counted over all epochs) in epoch 0, 1, ...: lr (1 + cos(pi epoch / epochs)) / 2."""
        lr = self.lr * (1 + math.cos(math.pi * epoch / self.epochs)) / 2
        if step < self.warmup:
            lr *= 1e-4 + (1 - 1e-4) * step / self.warmup
        return lr
