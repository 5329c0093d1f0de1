"""How SpikeVoice is trained, without torch: suites check these values before anything is imported."""

from __future__ import annotations

import math
from dataclasses import dataclass

ANNEALED, ANNEALING = (300_000, 400_000, 500_000), 0.3


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Adam, betas (0.9, 0.98), eps 1e-9, gradients clipped to a norm of 1, for `steps` batches.

    Without `lr` the rate is the published one, d^-0.5 min(n^-0.5, n warmup^-1.5), times 0.3 behind each of 300k, 400k, 500k steps. With
    it the rate rises to `lr` over `warmup` steps and falls as a cosine to 0. `standardise` takes each mel band's mean and deviation
    out of what is learned, and starts durations at their mean: few steps would be spent on nothing else.
    """

    steps: int = 300_000
    batch_size: int = 48
    warmup: int = 4000
    lr: float | None = None
    standardise: bool = False

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "warmup"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1, not {getattr(self, name)}")
        if self.lr is not None and not 0 < self.lr < math.inf:
            raise ValueError(f"`lr` must be above 0, not {self.lr}")

    def rate(self, n: int, d: int) -> float:
        """The learning rate of step n, counted from 1, of a network of width d."""
        if self.lr is not None:
            return self.lr * min(n / self.warmup, 0.5 + 0.5 * math.cos(math.pi * (n - 1) / self.steps))
        return d**-0.5 * min(n**-0.5, n * self.warmup**-1.5) * ANNEALING ** sum(n > end for end in ANNEALED)
