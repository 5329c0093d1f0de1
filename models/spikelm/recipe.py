"""How spiking BERT is trained, without torch: suites check these values before anything is imported."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Keep = Literal["last", "best", "both"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Masked words for `pretrain_steps`, then the task for `epochs` at a constant rate; AdamW without decay in both.

    The rate of the first stage rises over a hundredth of its schedule and falls linearly to 0 at its end: after
    `pretrain_steps`, or after `pretrain_schedule` steps, of which that many are taken (released: 100,005 of 500,000). The
    published fine-tuning keeps the best epoch on the very data it reports, which is `keep: best`; with `last` the last
    epoch counts. Of MNLI it measures the mismatched part with the last one: `both` keeps the two apart.
    """

    pretrain_steps: int = 0
    pretrain_schedule: int | None = None
    pretrain_batch: int = 512
    pretrain_lr: float = 2e-4
    epochs: int = 3
    batch_size: int = 32
    lr: float = 2e-5
    keep: Keep = "last"

    def __post_init__(self) -> None:
        for name in ("pretrain_batch", "epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1, not {getattr(self, name)}")
        if self.pretrain_steps < 0:
            raise ValueError(f"`pretrain_steps` must be at least 0, not {self.pretrain_steps}")
        if self.pretrain_schedule is not None and self.pretrain_schedule < max(self.pretrain_steps, 1):
            raise ValueError(
                f"`pretrain_schedule` must be at least the {self.pretrain_steps} `pretrain_steps`, not {self.pretrain_schedule}"
            )
        for name in ("pretrain_lr", "lr"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"`{name}` must be above 0, not {getattr(self, name)}")
