"""Readouts: from the last layer's spikes H_TNC to logits after each step.

    rate        R(1/t sum of the first t spikes), R learnable                        (eq. 12)
    last        R(h_t), what the text of eq. 17 takes at the last step               (eq. 17)
    rank-order  potentials of output neurons, summed up to t                         (eq. 14)

A head R is linear, or A ReLU(W h) with two matrices (eq. 17). For graphs the nodes' features are averaged first (eq. 18, 19).
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from retable.models.stfn.coding import rank_order
from retable.models.stfn.graph import Graph
from retable.models.stfn.layers import Init, uniform

Reads = Literal["rate", "last", "rank-order"]
Head = Literal["linear", "two-layer"]
Level = Literal["node", "graph"]


class TwoLayerHead(nn.Module):
    """A ReLU(W h), W (d, d), A (d, K), no biases (eq. 17)."""

    def __init__(self, features: int, classes: int, init: Init) -> None:
        super().__init__()
        self.W = nn.Parameter(uniform(init, features, features))
        self.A = nn.Parameter(uniform(init, features, classes))

    def forward(self, h: Tensor) -> Tensor:
        return F.relu(h @ self.W) @ self.A


class LinearHead(nn.Module):
    """h W + b."""

    def __init__(self, features: int, classes: int, init: Init, bias: bool = True) -> None:
        super().__init__()
        self.W = nn.Parameter(uniform(init, features, classes))
        self.b = nn.Parameter(torch.zeros(classes)) if bias else None

    def forward(self, h: Tensor) -> Tensor:
        logits = h @ self.W
        return logits if self.b is None else logits + self.b


class Readout(nn.Module):
    """Logits after each step, (T, N, K) of nodes or (T, G, K) of graphs."""

    def __init__(
        self,
        features: int,
        classes: int,
        reads: Reads = "rate",
        head: Head = "linear",
        level: Level = "node",
        penalty: float = 0.9,
        init: Init = "glorot",
    ) -> None:
        super().__init__()
        for name, value, words in (("reads", reads, Reads), ("head", head, Head), ("level", level, Level)):
            if value not in get_args(words):
                raise ValueError(f"{name} is one of {', '.join(get_args(words))}, not {value!r}")
        if reads == "rank-order" and head != "linear":
            raise ValueError("head must be linear where the output is a layer of neurons that fire in rank order")
        self.reads, self.level, self.penalty = reads, level, penalty
        if head == "linear":
            self.head: nn.Module = LinearHead(features, classes, init, bias=reads != "rank-order")
        else:
            self.head = TwoLayerHead(features, classes, init)

    def forward(self, H_TNC: Tensor, graph: Graph) -> Tensor:
        if self.reads == "rank-order":
            x_TNC = rank_order(H_TNC, self.penalty).cumsum(0)  # R is linear: the sum of what has arrived
        elif self.reads == "rate":
            x_TNC = running_mean(H_TNC)
        else:
            x_TNC = H_TNC
        logits: Tensor = self.head(x_TNC if self.level == "node" else mean_of_nodes(x_TNC, graph))
        return logits

    def last(self, H_TNC: Tensor, graph: Graph) -> Tensor:
        """What `forward` gives after the last step, without the steps before."""
        if self.reads == "rank-order":
            x_NC = rank_order(H_TNC, self.penalty).sum(0)
        elif self.reads == "rate":
            x_NC = H_TNC.mean(0)
        else:
            x_NC = H_TNC[-1]
        logits: Tensor = self.head(x_NC if self.level == "node" else mean_of_nodes(x_NC[None], graph)[0])
        return logits


def running_mean(H_TNC: Tensor) -> Tensor:
    """1/t sum of the first t steps."""
    steps_T11 = torch.arange(1, len(H_TNC) + 1, device=H_TNC.device, dtype=H_TNC.dtype)[:, None, None]
    return H_TNC.cumsum(0) / steps_T11


def mean_of_nodes(x_TNC: Tensor, graph: Graph) -> Tensor:
    """(T, G, C): the mean over the nodes of each graph (eq. 18); 0 for a graph without nodes."""
    T, _, C = x_TNC.shape
    sums_TGC = x_TNC.new_zeros(T, graph.graphs, C).index_add(1, graph.member_N, x_TNC)
    return sums_TGC / torch.bincount(graph.member_N, minlength=graph.graphs).clamp(min=1)[:, None]
