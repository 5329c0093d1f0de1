"""GC-SNN and GA-SNN, and their ANN twins GCN and GAT: node features and a graph -> logits."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from retable.models.stfn import coding
from retable.models.stfn.dynamics import Dynamics
from retable.models.stfn.features import SparseFeatures, dropped
from retable.models.stfn.graph import Graph
from retable.models.stfn.layers import Init, Kind, SpikingLayer, aggregation
from retable.models.stfn.norm import Norm
from retable.models.stfn.readout import Head, Level, Readout, Reads

Input = Tensor | SparseFeatures


class SpikingGNN(nn.Module):
    """GC-SNN (`convolution`) or GA-SNN (`attention`).

    Dropout falls on the input of every layer. Where the readout is in rank order, hidden layers are too: their neurons fire
    once, and r^order of the ensemble of a node is what the next layer's weights meet (eq. 14).
    """

    def __init__(
        self,
        in_features: int,
        classes: int,
        hidden: Sequence[int] = (64,),
        kind: Kind = "convolution",
        T: int = 8,
        dynamics: Dynamics | None = None,
        norm: Norm = "stfn",
        reads: Reads = "rate",
        head: Head = "linear",
        level: Level = "node",
        dropout: float = 0.0,
        init: Init = "glorot",
    ) -> None:
        super().__init__()
        _check_sizes(in_features, classes, *hidden, T)
        if not hidden:
            raise ValueError("a spiking graph network needs a layer of neurons")
        self.T, self.reads, self.dynamics = T, reads, dynamics or Dynamics()
        widths = (in_features, *hidden)
        self.layers = nn.ModuleList(
            SpikingLayer(kind, c_in, c_out, self.dynamics, norm, init) for c_in, c_out in pairwise(widths)
        )
        self.dropout = dropout
        self.readout = Readout(widths[-1], classes, reads, head, level, self.dynamics.penalty, init)

    def forward(self, x: Input, graph: Graph) -> Tensor:
        """Logits after all T steps, (N, K) or (G, K); x (N, C), the same at every step, or (T, N, C)."""
        logits: Tensor = self.readout.last(self.spikes(x, graph)[-1], graph)
        return logits

    def steps(self, x: Input, graph: Graph) -> Tensor:
        """Logits after each step, (T, N, K) or (T, G, K), of one run over T steps: STFN has seen them all."""
        logits: Tensor = self.readout(self.spikes(x, graph)[-1], graph)
        return logits

    def spikes(self, x: Input, graph: Graph) -> list[Tensor]:
        """Spikes (T, N, C) of every layer. Raises ValueError for x of another shape."""
        if isinstance(x, Tensor) and (x.dim() not in (2, 3) or (x.dim() == 3 and len(x) != self.T)):
            raise ValueError(f"x must have the shape (N, C) or (T, N, C) with T = {self.T}, not {tuple(x.shape)}")
        H_TNC = x[None] if isinstance(x, Tensor) and x.dim() == 2 else x
        found: list[Tensor] = []
        for layer in self.layers:
            if found and self.reads == "rank-order":
                H_TNC = coding.rank_order(found[-1], self.dynamics.penalty)
            H_TNC = layer(dropped(H_TNC, self.dropout, self.training), graph, self.T)
            found.append(H_TNC)
        return found

    def features(self, x: Input, graph: Graph) -> list[Tensor]:
        """What every layer says of a node, (N, C): the firing rates of its neurons."""
        return [H_TNC.mean(0) for H_TNC in self.spikes(x, graph)]

    def decide(self, logits_TNK: Tensor) -> tuple[Tensor, Tensor]:
        """The class after each step, (T, N), and the step after which a node is decided, (N,), T + 1 for none.

        Rank order decides by winner takes all; the other readouts name the largest logit and are decided at T.
        """
        if self.reads == "rank-order":
            return coding.decide(logits_TNK, self.dynamics.threshold)
        classes_TN = logits_TNK.argmax(-1)
        return classes_TN, classes_TN.new_full(classes_TN.shape[1:], self.T)


class GNN(nn.Module):
    """GCN (`convolution`, arXiv 1609.02907) or one-headed GAT (`attention`, arXiv 1710.10903): one step, ReLU or ELU.

    As published, the last layer makes the logits of nodes. Graphs have a head behind the mean of their nodes.
    """

    T = 1

    def __init__(
        self,
        in_features: int,
        classes: int,
        hidden: Sequence[int] = (16,),
        kind: Kind = "convolution",
        level: Level = "node",
        head: Head = "linear",
        dropout: float = 0.0,
        init: Init = "glorot",
    ) -> None:
        super().__init__()
        _check_sizes(in_features, classes, *hidden)
        if level == "graph" and not hidden:
            raise ValueError("a network for graphs needs a hidden layer before the mean of the nodes")
        self.activation = F.relu if kind == "convolution" else F.elu
        widths = (in_features, *hidden) if level == "graph" else (in_features, *hidden, classes)
        self.layers = nn.ModuleList(aggregation(kind, c_in, c_out, init) for c_in, c_out in pairwise(widths))
        self.dropout = dropout
        self.readout = Readout(hidden[-1], classes, "rate", head, "graph", init=init) if level == "graph" else None

    def forward(self, x: Input, graph: Graph) -> Tensor:
        """Logits (N, K) or (G, K) of x (N, C)."""
        hidden_1NC, out_1NK = self._layers(x, graph)
        return out_1NK[0] if self.readout is None else self.readout.last(hidden_1NC[-1], graph)

    def steps(self, x: Input, graph: Graph) -> Tensor:
        """The same as the one step there is, (1, N, K) or (1, G, K)."""
        return self(x, graph)[None]

    def features(self, x: Input, graph: Graph) -> list[Tensor]:
        """What every hidden layer says of a node, (N, C)."""
        return [h_1NC[0] for h_1NC in self._layers(x, graph)[0]]

    def decide(self, logits_TNK: Tensor) -> tuple[Tensor, Tensor]:
        """The class, (1, N), and the one step that it took, (N,)."""
        classes_TN = logits_TNK.argmax(-1)
        return classes_TN, classes_TN.new_ones(classes_TN.shape[1:])

    def _layers(self, x: Input, graph: Graph) -> tuple[list[Tensor], Tensor]:
        """Activations of the hidden layers and the output of the last layer."""
        entering: Input = x[None] if isinstance(x, Tensor) else x
        hidden: list[Tensor] = []
        for layer in self.layers:
            out_1NC = layer(dropped(entering, self.dropout, self.training), graph)
            if self.readout is not None or layer is not self.layers[-1]:
                out_1NC = self.activation(out_1NC)
                hidden.append(out_1NC)
            entering = out_1NC
        return hidden, out_1NC


def _check_sizes(*sizes: int) -> None:
    if min(sizes) < 1:
        raise ValueError(f"sizes and steps of a graph network must be at least 1, not {min(sizes)}")
