"""Graph convolution (eq. 9, 15), graph attention (eq. 16), and the layer that puts a normalisation and a neuron behind them."""

from __future__ import annotations

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from retable.models.spiking.neurons import LIF
from retable.models.spiking.surrogates import Surrogate
from retable.models.stfn.dynamics import Dynamics
from retable.models.stfn.features import SparseFeatures
from retable.models.stfn.graph import Graph, neighbour_sum
from retable.models.stfn.norm import Norm, normalisation

Kind = Literal["convolution", "attention"]
Init = Literal["glorot", "fan-in"]


def uniform(init: Init, c_in: int, c_out: int) -> Tensor:
    """W (C_in, C_out), uniform within sqrt(6 / (C_in + C_out)) (glorot) or sqrt(1 / C_in) (fan-in). ValueError for another init.

    The paper says "uniform" without the bound.
    """
    if init not in get_args(Init):
        raise ValueError(f"init is one of {', '.join(get_args(Init))}, not {init!r}")
    bound = (6 / (c_in + c_out) if init == "glorot" else 1 / c_in) ** 0.5
    return torch.empty(c_in, c_out).uniform_(-bound, bound)


class Propagate(nn.Module):
    """sum over j in N(i) of w_ij x^j, a module of its own so that its operations can be told from those of the transform."""

    def forward(self, graph: Graph, w_TE: Tensor, x_TNC: Tensor) -> Tensor:
        return neighbour_sum(graph, w_TE, x_TNC)


class GraphConvolution(nn.Module):
    """S = P (H W) + b, P_ij = 1 / c_ij (eq. 9, 15): spikes meet W by additions, then neighbours are summed.

    `propagate_first` is eq. 7, S = (P H) W + b: the same values at another cost.
    """

    def __init__(self, c_in: int, c_out: int, init: Init = "glorot", propagate_first: bool = False) -> None:
        super().__init__()
        self.W = nn.Parameter(uniform(init, c_in, c_out))
        self.b = nn.Parameter(torch.zeros(c_out))
        self.propagate = Propagate()
        self.propagate_first = propagate_first

    def forward(self, H_TNC: Tensor | SparseFeatures, graph: Graph) -> Tensor:
        w_1E = graph.symmetric_weights(H_TNC.dtype)[None]
        if self.propagate_first and isinstance(H_TNC, Tensor):
            return self.propagate(graph, w_1E, H_TNC) @ self.W + self.b
        return self.propagate(graph, w_1E, H_TNC @ self.W) + self.b


class GraphAttention(nn.Module):
    """S^i = sum over j in N(i) of alpha_ij h^j W, one head; alpha is recomputed from the spikes of every step (eq. 16).

    alpha_ij = softmax over j in N(i) of LeakyReLU(a^T [h^i W || h^j W]); a node without neighbours gets 0. The slope is GAT's.
    """

    def __init__(self, c_in: int, c_out: int, init: Init = "glorot", slope: float = 0.2) -> None:
        super().__init__()
        self.W = nn.Parameter(uniform(init, c_in, c_out))
        self.a = nn.Parameter(uniform(init, 2 * c_out, 1).flatten())
        self.propagate = Propagate()
        self.slope = slope

    def forward(self, H_TNC: Tensor | SparseFeatures, graph: Graph) -> Tensor:
        x_TNC = H_TNC @ self.W
        out: Tensor = self.propagate(graph, self.coefficients(x_TNC, graph), x_TNC)
        return out

    def coefficients(self, x_TNC: Tensor, graph: Graph) -> Tensor:
        """alpha of every edge, (T, E), of the transformed features; they add up to 1 over N(i)."""
        receiving_TN, sending_TN = (x_TNC @ half for half in self.a.chunk(2))
        score_TE = F.leaky_relu(receiving_TN[:, graph.i_E] + sending_TN[:, graph.j_E], self.slope)
        i_TE = graph.i_E.expand_as(score_TE)
        largest_TN = torch.full_like(receiving_TN, -torch.inf).scatter_reduce(1, i_TE, score_TE.detach(), "amax")
        weight_TE = (score_TE - largest_TN.gather(1, i_TE)).exp()
        total_TN = torch.zeros_like(receiving_TN).scatter_add(1, i_TE, weight_TE)
        return weight_TE / total_TN.gather(1, i_TE)


def aggregation(kind: Kind, c_in: int, c_out: int, init: Init = "glorot") -> GraphConvolution | GraphAttention:
    """G_c of eq. 3 by name. Raises ValueError for another name."""
    if kind not in get_args(Kind):
        raise ValueError(f"kind is one of {', '.join(get_args(Kind))}, not {kind!r}")
    return (GraphConvolution if kind == "convolution" else GraphAttention)(c_in, c_out, init)


def neuron(dynamics: Dynamics) -> LIF:
    """V_t = k V_{t-1} (1 - H_{t-1}) + S_t, H_t = [V_t >= V_th] (eq. 4-8); derivative 1 / a within a / 2 of the threshold."""
    return LIF(
        tau=1 / (1 - dynamics.decay),
        threshold=dynamics.threshold,
        v_reset=0.0,
        decay_input=False,
        surrogate=Surrogate("rect", 1 / dynamics.window),
    )


class SpikingLayer(nn.Module):
    """Aggregation, normalisation, LIF: spikes (T, N, C') of H (T, N, C) or of one step that stands for T equal ones (eq. 3)."""

    def __init__(
        self,
        kind: Kind,
        c_in: int,
        c_out: int,
        dynamics: Dynamics | None = None,
        norm: Norm = "stfn",
        init: Init = "glorot",
    ) -> None:
        super().__init__()
        dynamics = dynamics or Dynamics()
        self.aggregate = aggregation(kind, c_in, c_out, init)
        self.norm = normalisation(norm, c_out, dynamics)
        self.neuron = neuron(dynamics)

    def forward(self, H_TNC: Tensor | SparseFeatures, graph: Graph, T: int) -> Tensor:
        """The current of a constant input is computed once; over equal steps its statistics are those of one."""
        Y_TNC = self.norm(self.aggregate(H_TNC, graph))
        spikes_TNC: Tensor = self.neuron(Y_TNC.expand(T, *Y_TNC.shape[1:]))
        return spikes_TNC
