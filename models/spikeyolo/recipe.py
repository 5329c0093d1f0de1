"""How a detector is trained, without torch: suites check these values before anything is imported."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Augment = Literal["none", "flip"]
Optimizer = Literal["adamw", "sgd"]
BIAS_LR = 0.1
"""Where the rate of the biases begins under `sgd`."""
MOMENTUM = (0.8, 0.937)
"""Under `sgd`, before and after the warm-up."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How long and how fast. The rate rises over `warmup` epochs to `lr` and falls on a line to `final_lr` times that.

    Under `sgd` (Nesterov) biases begin at a rate of 0.1 and the momentum rises, as in the released code; biases and norms are
    never decayed. `flip` mirrors every other image and its boxes. `prior_side` is the side of the images that the head's
    initial class scores are made for; null takes the data's, the released code 640. The statistics of batch norms are
    measured anew over `norm_batches` training batches at the end; 0 keeps the running ones. With `ema` the running average
    of the weights is what is kept.
    """

    epochs: int = 12
    batch_size: int = 16
    lr: float = 3e-3
    final_lr: float = 0.02
    weight_decay: float = 5e-4
    warmup: float = 1.0
    clip: float = 10.0
    augment: Augment = "flip"
    optimizer: Optimizer = "adamw"
    prior_side: int | None = None
    norm_batches: int = 8
    ema: bool = False

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1, not {getattr(self, name)}")
        if self.norm_batches < 0:
            raise ValueError(f"`norm_batches` must be at least 0, not {self.norm_batches}")
        for name in ("lr", "clip"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"`{name}` must be above 0, not {getattr(self, name)}")
        if not 0 <= self.final_lr <= 1:
            raise ValueError(f"`final_lr` is a share of `lr` from 0 to 1, not {self.final_lr}")
        if not 0 <= self.weight_decay < math.inf:
            raise ValueError(f"`weight_decay` must be at least 0, not {self.weight_decay}")
        if not 0 <= self.warmup < self.epochs:
            raise ValueError(f"`warmup` must be at least 0 and less than {self.epochs} epochs, not {self.warmup}")
        if self.prior_side is not None and self.prior_side < 1:
            raise ValueError(f"`prior_side` must be at least 1, not {self.prior_side}")

    def risen(self, step: int, steps_an_epoch: int) -> float:
        """How much of the warm-up is over at step 0, 1, ...: 0 to 1."""
        rise = self.warmup * steps_an_epoch
        return min((step + 1) / (rise + 1), 1.0)

    def lr_at(self, step: int, steps_an_epoch: int) -> float:
        """What the rate falls from and to, without the warm-up."""
        share = step / max(self.epochs * steps_an_epoch - 1, 1)
        return self.lr * (1 - share * (1 - self.final_lr))
