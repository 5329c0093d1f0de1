"""Normalisations of the presynaptic input S_TNC: STFN (eq. 10, 11), batch normalisation, none."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from retable.models.stfn.dynamics import Dynamics

Norm = Literal["stfn", "batch", "none"]


class STFN(nn.Module):
    """Y = lambda rho V_th (S - E) / sqrt(Var + eps) + gamma; E and the biased Var of a node are over its features and all steps.

    So it is the same in training and in evaluation, and a layer's currents must be known for all T before its neurons run.
    The text indexes lambda and gamma by feature and node; here they are vectors over features, shared by all nodes, which
    leaves the layer inductive.
    """

    def __init__(self, features: int, dynamics: Dynamics) -> None:
        super().__init__()
        self.scale, self.eps = dynamics.rho * dynamics.threshold, dynamics.eps
        self.lam = nn.Parameter(torch.ones(features))
        self.gam = nn.Parameter(torch.zeros(features))

    def forward(self, S_TNC: Tensor) -> Tensor:
        centred_TNC = S_TNC - S_TNC.mean((0, 2), keepdim=True)
        variance_1N1 = centred_TNC.square().mean((0, 2), keepdim=True)
        return self.lam * (centred_TNC * (self.scale * (variance_1N1 + self.eps).rsqrt())) + self.gam


class BatchNorm(nn.Module):
    """The same scale and affine part with statistics of a feature over all nodes and steps, kept for evaluation."""

    def __init__(self, features: int, dynamics: Dynamics) -> None:
        super().__init__()
        self.scale = dynamics.rho * dynamics.threshold
        self.statistics = nn.BatchNorm1d(features, dynamics.eps, affine=False)
        self.lam = nn.Parameter(torch.ones(features))
        self.gam = nn.Parameter(torch.zeros(features))

    def forward(self, S_TNC: Tensor) -> Tensor:
        standard_TNC = self.statistics(S_TNC.flatten(0, 1)).view_as(S_TNC)
        return self.lam * (self.scale * standard_TNC) + self.gam


def normalisation(name: Norm, features: int, dynamics: Dynamics) -> nn.Module:
    """S_TNC -> Y_TNC by name. Raises ValueError for another name."""
    if name not in get_args(Norm):
        raise ValueError(f"norm is one of {', '.join(get_args(Norm))}, not {name!r}")
    if name == "none":
        return nn.Identity()
    return (STFN if name == "stfn" else BatchNorm)(features, dynamics)
