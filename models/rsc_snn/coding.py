"""Codings of images x in [0, 1] over T steps, (T, B, ...), and what an attacker may take for their derivative.

    direct    z_t = x
    poisson   z_t = [u_t < x], u_t uniform: E = x, Var = x (1 - x)
    rsc       z_t = x + sigma e_t, e_t standard normal; one draw for all steps, or a fresh one each (arXiv 2407.20099)

Noise is drawn in training and in evaluation alike, anew at every call, in units of x, before any normalisation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Name = Literal["direct", "poisson", "rsc"]
Gradient = Literal["straight-through", "expected"]
"""`straight-through`: of the spikes drawn, averaged over T (Mukhoty et al., ICLR 2024); exact for direct and rsc. `expected`:
the network sees E[z_t] = x itself, with the exact derivative."""


@dataclass(frozen=True)
class Noise:
    """The law of a model's input noise, from which its certificate follows: `copies` independent noisy copies of x a forward pass."""

    law: Literal["none", "gaussian", "bernoulli"]
    sigma: float = 0.0
    copies: int = 1


@dataclass(frozen=True)
class Coding:
    """One of the table above; `sigma` and `per_step` belong to rsc."""

    name: Name
    T: int
    sigma: float = 0.0
    per_step: bool = True

    def __post_init__(self) -> None:
        if self.T < 1:
            raise ValueError(f"`T` must be at least 1, not {self.T}")
        if not 0 <= self.sigma < math.inf:
            raise ValueError(f"`sigma` must be at least 0, not {self.sigma}")
        if self.sigma and self.name != "rsc":
            raise ValueError(
                f"`sigma` is the noise of the coding rsc; {self.name} has none, so it cannot be {self.sigma}"
            )

    @property
    def noise(self) -> Noise:
        if self.name == "poisson":
            return Noise("bernoulli", copies=self.T)
        if self.name == "rsc" and self.sigma:
            return Noise("gaussian", self.sigma, self.T if self.per_step else 1)
        return Noise("none")

    def __call__(
        self, x: Tensor, generator: torch.Generator | None = None, gradient: Gradient = "straight-through"
    ) -> Tensor:
        """z (T, B, ...), drawn from `generator` or torch's own. Raises ValueError for x outside [0, 1] where it is to be drawn from."""
        if self.noise.law == "none":
            return x.expand(self.T, *x.shape)
        check_intensities(x)
        if gradient == "expected":
            return x.expand(self.T, *x.shape)
        shape = (self.T, *x.shape)
        if self.name == "poisson":
            return poisson(x, torch.rand(shape, generator=generator, device=x.device, dtype=x.dtype))
        shape = shape if self.per_step else (1, *x.shape)
        return rsc(x, torch.randn(shape, generator=generator, device=x.device, dtype=x.dtype), self.sigma, self.T)


def poisson(x: Tensor, uniform_T: Tensor) -> Tensor:
    """Spikes [u_t < x], (T, B, ...), of uniform draws (T, B, ...); dL/dx is the mean over t of dL/dz_t."""
    spikes = (uniform_T < x.detach()).to(x.dtype)
    return spikes + (x - x.detach()) / len(uniform_T)


def rsc(x: Tensor, normal_T: Tensor, sigma: float, T: int) -> Tensor:
    """x + sigma e_t, (T, B, ...), of standard normal draws (T, B, ...), or (1, B, ...) for one draw a forward pass."""
    return (x + sigma * normal_T).expand(T, *x.shape)


def check_intensities(x: Tensor) -> None:
    """Raises ValueError unless every entry of x lies in [0, 1] (NaN does not)."""
    if x.numel() and not bool(((x >= 0) & (x <= 1)).all()):
        raise ValueError(f"x must lie in [0, 1], not in [{float(x.detach().min()):g}, {float(x.detach().max()):g}]")
