"""How a network of the survey is trained, without torch: suites check these values before anything is imported."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Augment = Literal["none", "shift", "shift-flip"]
Loss = Literal["ce", "tet"]
Optimizer = Literal["adamw", "sgd"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How long and how fast. The rate rises over `warmup` epochs to `lr` and falls to `min_lr` along half a cosine.

    `shift` moves a sample by up to an eighth of its side, into black; `shift-flip` mirrors every other one too. `tet_lambda` is
    TET's weight of the pull. The statistics of batch norms are measured anew over `norm_batches` training
    batches once the weights are final, because a short training leaves their running means behind; 0 keeps these.
    """

    epochs: int = 8
    batch_size: int = 64
    lr: float = 1e-3
    min_lr: float = 1e-5
    weight_decay: float = 0.05
    warmup: float = 0.5
    label_smoothing: float = 0.0
    augment: Augment = "none"
    loss: Loss = "ce"
    tet_lambda: float = 1e-3
    norm_batches: int = 16
    optimizer: Optimizer = "adamw"

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1, not {getattr(self, name)}")
        if self.norm_batches < 0:
            raise ValueError(f"`norm_batches` must be at least 0, not {self.norm_batches}")
        if not 0 < self.lr < math.inf:
            raise ValueError(f"`lr` must be above 0, not {self.lr}")
        if not 0 <= self.min_lr <= self.lr:
            raise ValueError(f"`min_lr` must lie between 0 and lr = {self.lr}, not be {self.min_lr}")
        if not 0 <= self.weight_decay < math.inf:
            raise ValueError(f"`weight_decay` must be at least 0, not {self.weight_decay}")
        if not 0 <= self.warmup < self.epochs:
            raise ValueError(f"`warmup` must be at least 0 and less than {self.epochs} epochs, not {self.warmup}")
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"`label_smoothing` must be at least 0 and below 1, not {self.label_smoothing}")
        if not 0 <= self.tet_lambda <= 1:
            raise ValueError(f"`tet_lambda` must lie between 0 and 1, not be {self.tet_lambda}")

    def lr_at(self, step: int, steps_an_epoch: int) -> float:
        """Learning rate of step 0, 1, ..., epochs * steps_an_epoch - 1."""
        rise, steps = self.warmup * steps_an_epoch, self.epochs * steps_an_epoch
        if step < rise:
            return self.lr * (step + 1) / (rise + 1)
        share = (step - rise) / (steps - rise)
        return self.min_lr + (self.lr - self.min_lr) * (1 + math.cos(math.pi * share)) / 2
