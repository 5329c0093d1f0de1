"""Spiking graph networks with spatial-temporal feature normalisation, GC-SNN and GA-SNN (arXiv 2407.20508).

    GC-SNN  S_t = P (H_t W) + b,  P_ij = 1 / sqrt(|N(i)| |N(j)|) for j in N(i)                         (eq. 9, 15)
    GA-SNN  S_t^i = sum_j alpha_ij,t h_t^j W,  alpha = softmax_j LeakyReLU(a^T [h_t^i W || h_t^j W])   (eq. 16)
    STFN    Y = lambda rho V_th (S - E) / sqrt(Var + eps) + gamma,  E and Var of a node over its features and all steps (eq. 10-11)
    LIF     V_t = k V_{t-1} (1 - H_{t-1}) + Y_t;  H_t = [V_t >= V_th]                                   (eq. 4-8)
    readout logits = R(1/T sum_t H_t),  R linear                                                       (eq. 12)

Shapes: N nodes, C features, T steps, E directed edges. Features are spikes H_TNC; a constant input (N, C) stands for the same at
every step, and its current is computed once. No code was released. What the text leaves open is decided here: lambda and gamma are
vectors over features, shared by all nodes; k 0.25, V_th 0.5, rho 1, eps 1e-5, a window of width 1, slope 0.2, one head.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from retable.models.spiking.neurons import LIF
from retable.models.spiking.surrogates import Surrogate

Convolution = Literal["graph", "attention"]


@dataclass(frozen=True, kw_only=True)
class Dynamics:
    """decay k in [0, 1), threshold V_th, rho and eps of STFN, width of the rectangular surrogate."""

    decay: float = 0.25
    threshold: float = 0.5
    rho: float = 1.0
    eps: float = 1e-5
    window: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.decay < 1:
            raise ValueError(f"decay must lie in [0, 1), not {self.decay}")
        if min(self.threshold, self.rho, self.eps, self.window) <= 0:
            raise ValueError("threshold, rho, eps and window must be above 0")

    def neuron(self) -> LIF:
        return LIF(
            tau=1 / (1 - self.decay),
            threshold=self.threshold,
            v_reset=0.0,
            decay_input=False,
            surrogate=Surrogate("rect", 1 / self.window),
        )


def neighbourhood(edges_2E: Tensor, N: int, self_loops: bool = True) -> Tensor:
    """Both directions of every edge once, (2, E) sorted by the first, receiving node i; with (i, i) or without it.

    Raises ValueError for edges that are not node numbers below N.
    """
    if edges_2E.dim() != 2 or len(edges_2E) != 2 or edges_2E.is_floating_point():
        raise ValueError(f"edges must be integers of the shape (2, E), not {edges_2E.dtype} of {tuple(edges_2E.shape)}")
    if edges_2E.numel() and (edges_2E.min() < 0 or edges_2E.max() >= N):
        raise ValueError(f"edges must join nodes from 0 to {N - 1}")
    edges_2E = edges_2E[:, edges_2E[0] != edges_2E[1]]
    both = [edges_2E, edges_2E.flip(0)]
    if self_loops:
        both.append(torch.arange(N, device=edges_2E.device).expand(2, N))
    return torch.cat(both, 1).unique(dim=1)


def propagation(edges_2E: Tensor, N: int) -> Tensor:
    """P of eq. 15, sparse (N, N), from `neighbourhood`'s edges; a node without neighbours has an empty row."""
    i, j = edges_2E
    degree = torch.bincount(i, minlength=N).double()
    weights_E = (degree[i] * degree[j]).rsqrt().float()
    return torch.sparse_coo_tensor(edges_2E, weights_E, (N, N), check_invariants=False).coalesce()


def propagate(P_NN: Tensor, x_TNC: Tensor) -> Tensor:
    """P x_t at every step, in one product."""
    T, _, C = x_TNC.shape
    return (P_NN @ x_TNC.transpose(0, 1).flatten(1)).unflatten(1, (T, C)).transpose(0, 1)


class STFN(nn.Module):
    """Y_TNC of S_TNC; the same in training and in evaluation."""

    def __init__(self, features: int, dynamics: Dynamics) -> None:
        super().__init__()
        self.scale, self.eps = dynamics.rho * dynamics.threshold, dynamics.eps
        self.lam = nn.Parameter(torch.ones(features))
        self.gam = nn.Parameter(torch.zeros(features))

    def forward(self, S_TNC: Tensor) -> Tensor:
        variance, mean = torch.var_mean(S_TNC, (0, 2), correction=0, keepdim=True)
        return self.lam * self.scale * (S_TNC - mean) / (variance + self.eps).sqrt() + self.gam


class GraphConvolution(nn.Module):
    """S_TNC of eq. 9: transform first, so that spikes meet W by additions, then propagate."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.W = nn.Parameter(nn.init.xavier_uniform_(torch.empty(c_in, c_out)))
        self.b = nn.Parameter(torch.zeros(c_out))

    def forward(self, H_TNC: Tensor, edges_2E: Tensor, P_NN: Tensor) -> Tensor:
        return propagate(P_NN, H_TNC @ self.W) + self.b


class GraphAttention(nn.Module):
    """S_TNC of eq. 16, one head; the coefficients are recomputed from the spikes of every step."""

    def __init__(self, c_in: int, c_out: int, slope: float = 0.2) -> None:
        super().__init__()
        self.W = nn.Parameter(nn.init.xavier_uniform_(torch.empty(c_in, c_out)))
        self.a = nn.Parameter(nn.init.xavier_uniform_(torch.empty(2 * c_out, 1)).flatten())
        self.slope = slope

    def forward(self, H_TNC: Tensor, edges_2E: Tensor, P_NN: Tensor) -> Tensor:
        x_TNC = H_TNC @ self.W
        messages_TEC = x_TNC[:, edges_2E[1]] * self.coefficients(x_TNC, edges_2E)[..., None]
        return torch.zeros_like(x_TNC).index_add(1, edges_2E[0], messages_TEC)

    def coefficients(self, x_TNC: Tensor, edges_2E: Tensor) -> Tensor:
        """alpha of every edge, (T, E), from the transformed features; they add up to 1 over the neighbours of a node."""
        i, j = edges_2E
        left, right = (x_TNC @ half for half in self.a.chunk(2))
        score_TE = F.leaky_relu(left[:, i] + right[:, j], self.slope)
        index = i.expand_as(score_TE)
        top_TN = torch.full_like(left, -torch.inf).scatter_reduce(1, index, score_TE.detach(), "amax")
        weight_TE = (score_TE - top_TN.gather(1, index)).exp()
        total_TN = torch.zeros_like(left).scatter_add(1, index, weight_TE)
        return weight_TE / total_TN.gather(1, index)


class Layer(nn.Module):
    """Graph convolution or attention - STFN - LIF: spikes (T, N, C') of H_TNC. `stfn=False` leaves the normalisation out."""

    def __init__(self, kind: Convolution, c_in: int, c_out: int, dynamics: Dynamics, stfn: bool = True) -> None:
        super().__init__()
        if kind not in ("graph", "attention"):
            raise ValueError(f"kind is graph or attention, not {kind!r}")
        self.aggregate = GraphConvolution(c_in, c_out) if kind == "graph" else GraphAttention(c_in, c_out)
        self.norm = STFN(c_out, dynamics) if stfn else nn.Identity()
        self.neuron = dynamics.neuron()

    def forward(self, H_TNC: Tensor, edges_2E: Tensor, P_NN: Tensor, T: int) -> Tensor:
        """H of one step stands for T equal ones: they share their current."""
        S_TNC = self.aggregate(H_TNC, edges_2E, P_NN)
        return self.neuron(self.norm(S_TNC.expand(T, *S_TNC.shape[1:])))


class SpikingGNN(nn.Module):
    """GC-SNN ("graph") or GA-SNN ("attention"): node features -> logits (N, num_classes).

    Dropout falls on the input spikes of every layer.
    """

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        hidden: Sequence[int] = (64,),
        kind: Convolution = "graph",
        T: int = 8,
        dynamics: Dynamics | None = None,
        stfn: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if not hidden or min(in_features, num_classes, T, *hidden) < 1:
            raise ValueError("a spiking graph network needs a hidden layer and sizes of at least 1")
        widths = (in_features, *hidden)
        dynamics = dynamics or Dynamics()
        self.T = T
        self.layers = nn.ModuleList(Layer(kind, c_in, c_out, dynamics, stfn) for c_in, c_out in pairwise(widths))
        self.dropout = nn.Dropout(dropout)
        self.readout = nn.Linear(widths[-1], num_classes)

    def forward(self, x: Tensor, edges_2E: Tensor) -> Tensor:
        """x (N, C), the same at every step, or (T, N, C); edges (2, E) as `neighbourhood` makes them."""
        return self.readout(self.spikes(x, edges_2E)[-1].mean(0))

    def spikes(self, x: Tensor, edges_2E: Tensor) -> list[Tensor]:
        """Spikes (T, N, C) of every layer."""
        if x.dim() not in (2, 3) or (x.dim() == 3 and len(x) != self.T):
            raise ValueError(f"x must have the shape (N, C) or (T, N, C) with T = {self.T}, not {tuple(x.shape)}")
        H_TNC = x if x.dim() == 3 else x[None]
        P_NN = propagation(edges_2E, x.shape[-2]).to(x.dtype)
        out = []
        for layer in self.layers:
            H_TNC = layer(self.dropout(H_TNC), edges_2E, P_NN, self.T)
            out.append(H_TNC)
        return out


def summed_cross_entropy(logits_NK: Tensor, y_N: Tensor, labelled_N: Tensor) -> Tensor:
    """Eq. 13: the sum, not the mean, over the labelled nodes."""
    return F.cross_entropy(logits_NK[labelled_N], y_N[labelled_N], reduction="sum")
