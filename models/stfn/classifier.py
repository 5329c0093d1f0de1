"""A graph network with the preparation of its data, as it was in the best and in the last epoch of its training."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import Any, Literal

import torch
from torch import Tensor, nn

from retable.models.stfn.graph import Graph, neighbourhoods
from retable.models.stfn.network import GNN, SpikingGNN

Features = Literal["given", "binary", "unit"]


class GraphClassifier(nn.Module):
    """`network` is that of the best validation accuracy, `last` that of the last epoch."""

    def __init__(self, network: SpikingGNN | GNN, self_loops: bool = True, features: Features = "given") -> None:
        super().__init__()
        self.network, self.last = network, deepcopy(network)
        self.self_loops, self.treatment = self_loops, features
        self.T, self.depth = network.T, len(network.layers)

    @property
    def spiking(self) -> bool:
        return isinstance(self.network, SpikingGNN)

    def prepare(self, data: Any, device: str) -> tuple[Tensor, Graph]:
        """float32 features (N, C) and the neighbourhoods. Features are `given`, `binary` (1 where above 0, else 0), or of `unit`
        sum by row, 0 in rows of zeros.
        """
        x_NC = torch.from_numpy(data.features).float()
        member_N = None if data.member is None else torch.from_numpy(data.member)
        graph = neighbourhoods(torch.from_numpy(data.edges), len(x_NC), self.self_loops, member_N)
        if self.treatment == "binary":
            x_NC = (x_NC > 0).float()
        elif self.treatment == "unit":
            sum_N1 = x_NC.sum(1, keepdim=True)
            x_NC = x_NC / sum_N1.where(sum_N1 != 0, 1)
        return x_NC.to(device), graph.to(device)

    def forward(self, x: Tensor, graph: Graph) -> Tensor:
        """Logits after all steps, (N, K) or (G, K)."""
        logits: Tensor = self.network(x, graph)
        return logits

    def steps(self, x: Tensor, graph: Graph) -> Tensor:
        """Logits after each step, (T, N, K) or (T, G, K)."""
        return self.network.steps(x, graph)

    def decide(self, logits_TNK: Tensor) -> tuple[Tensor, Tensor]:
        """Classes after each step (T, N) and the step after which each is decided (N,)."""
        return self.network.decide(logits_TNK)

    def features(self, x: Tensor, graph: Graph) -> list[Tensor]:
        """What every hidden layer says of a node, (N, C)."""
        return self.network.features(x, graph)

    def parameters_counted(self) -> Iterator[nn.Parameter]:
        """Those of one network."""
        return self.network.parameters()
