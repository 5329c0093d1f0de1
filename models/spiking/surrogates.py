"""Surrogate derivatives: what stands in for the derivative of the Heaviside step, d s / d z with z = h - threshold.

| name | d s / d z |
| --- | --- |
| `sigmoid` | a sigma(a z) (1 - sigma(a z)) |
| `atan` | (a / 2) / (1 + (pi a z / 2)^2) |
| `rect` | a where abs(z) < 1 / (2 a), else 0 |
| `piecewise_quadratic` | a - a^2 abs(z) where abs(z) <= 1 / a, else 0 |
| `piecewise_exp` | (a / 2) exp(-a abs(z)) |
| `soft_sign` | 1 / (2 a (1 / a + abs(z))^2) |
| `erf` | (a / sqrt(pi)) exp(-a^2 z^2) |
| `super_spike` | a / (abs(z) + 1)^2 |
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


def _sigmoid(z: Tensor, a: float) -> Tensor:
    s = torch.sigmoid(a * z)
    return a * s * (1 - s)


DERIVATIVES: dict[str, Callable[[Tensor, float], Tensor]] = {
    "sigmoid": _sigmoid,
    "atan": lambda z, a: (a / 2) / (1 + (math.pi / 2 * a * z) ** 2),
    "rect": lambda z, a: (z.abs() < 1 / (2 * a)).to(z.dtype) * a,
    "piecewise_quadratic": lambda z, a: (a - a * a * z.abs()).clamp(min=0),
    "piecewise_exp": lambda z, a: a / 2 * torch.exp(-a * z.abs()),
    "soft_sign": lambda z, a: 1 / (2 * a * (1 / a + z.abs()) ** 2),
    "erf": lambda z, a: a / math.sqrt(math.pi) * torch.exp(-((a * z) ** 2)),
    "super_spike": lambda z, a: a / (z.abs() + 1) ** 2,
}
NAMES = tuple(DERIVATIVES)


@dataclass(frozen=True)
class Surrogate:
    """One of the table above with its steepness a > 0."""

    name: str = "sigmoid"
    alpha: float = 4.0

    def __post_init__(self) -> None:
        if self.name not in DERIVATIVES:
            raise ValueError(f"surrogate is one of {', '.join(NAMES)}, not {self.name!r}")
        if not 0 < self.alpha < math.inf:
            raise ValueError(f"the surrogate's alpha must be above 0, not {self.alpha}")

    def derivative(self, z: Tensor) -> Tensor:
        """d s / d z, elementwise."""
        return DERIVATIVES[self.name](z, self.alpha)


SIGMOID = Surrogate("sigmoid", 4.0)
ATAN = Surrogate("atan", 2.0)
RECT = Surrogate("rect", 1.0)
