"""Tasks `node-classify` and `graph-classify`: fit on the labels of some, then name the classes of the test after each step.

Training is transductive: the model sees all nodes and edges and the labels of `data.train`; the epoch is chosen by those of
`data.validation`. The fitted model turns the data into its input with `prepare(data, device)`, that into the logits after
each step with `steps(x, graph) -> (T, N, K)`, and these into classes with `decide(logits) -> (classes (T, N), steps (N,))`.
`features(x, graph)` are a node's features after each hidden layer, `last` is the network of the last epoch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from retable.bench.accountant.names import RuleName
from retable.bench.errors import BenchError
from retable.bench.probes.energy import Energy
from retable.bench.tasks.classify import UNUSABLE, ClassifyEvidence

if TYPE_CHECKING:
    import numpy as np

    from retable.bench.datasets.graphs.graph import GraphData

MOST_NODES = 4096
"""Distances are taken between so many nodes at most, evenly spread."""


@dataclass(frozen=True, kw_only=True)
class NodeClassify:
    """Classifies all test nodes; counts the operations of one pass over the graph, a sample is a node.

    Binary features of a spiking model are spikes to that count, any other input is real. `rules` are the accountant's; without
    one nothing is counted.
    """

    rules: tuple[RuleName, ...] = ("full", "literature")

    NAME: ClassVar[str] = "node-classify"
    FITS: ClassVar[bool] = True

    def evidence(self, model: Any, data: GraphData, *, seed: int, device: str) -> GraphEvidence:
        """Raises BenchError for labels of graphs or without test nodes."""
        if data.member is not None:
            raise BenchError(f"{data.name} has labels of graphs, not of nodes: use the task graph-classify")
        return _evidence(model, data, self.rules, len(data.features), device)


@dataclass(frozen=True, kw_only=True)
class GraphClassify:
    """Classifies all test graphs; counts the operations of one pass over all graphs, a sample is a graph."""

    rules: tuple[RuleName, ...] = ("full", "literature")

    NAME: ClassVar[str] = "graph-classify"
    FITS: ClassVar[bool] = True

    def evidence(self, model: Any, data: GraphData, *, seed: int, device: str) -> GraphEvidence:
        """Raises BenchError for labels of nodes or without test graphs."""
        if data.member is None:
            raise BenchError(f"{data.name} has labels of nodes, not of graphs: use the task node-classify")
        return _evidence(model, data, self.rules, len(data.labels), device)


@dataclass(frozen=True, kw_only=True, eq=False)
class GraphEvidence(ClassifyEvidence):
    """Evidence of the test part, with the steps of the decisions (N,), T + 1 for none, and what the last epoch got right (N,).

    `distances` are of the nodes' features after each hidden layer: the mean over pairs of nodes, in units of the features'
    mean norm; 0 where all are 0.
    """

    decided_N: np.ndarray
    last_right_N: np.ndarray
    distances: tuple[float, ...] = field(default=())


def _evidence(model: Any, data: GraphData, rules: tuple[RuleName, ...], samples: int, device: str) -> GraphEvidence:
    import torch

    if not len(data.test):
        raise BenchError(f"{data.name} has no test labels")
    model.eval()
    x, graph = model.prepare(data, device)
    test, labels = torch.from_numpy(data.test).to(device), data.labels[data.test]
    with torch.inference_mode(), Energy(device) as energy:
        predictions_TN, decided_N = _decided(model, x, graph, test)
    with torch.inference_mode():
        last_TN, _ = _decided(model.last, x, graph, test)
        distances = tuple(distance(features_NC) for features_NC in model.features(x, graph))
    account, why_not = _account(model, x, graph, rules, samples)
    return GraphEvidence(
        model=model,
        data=data,
        labels=labels,
        predictions_TN=predictions_TN,
        decided_N=decided_N,
        last_right_N=last_TN[-1] == labels,
        distances=distances,
        account=account,
        why_no_account=why_not,
        joules=energy.joules,
        why_no_joules=energy.reason or "",
    )


def _decided(network: Any, x: Any, graph: Any, test: Any) -> tuple[np.ndarray, np.ndarray]:
    """Classes after each step, UNUSABLE from the first logit on that is not finite, and the steps of the decisions."""
    logits_TNK = network.steps(x, graph)[:, test]
    classes_TN, decided_N = network.decide(logits_TNK)
    broken_TN = (~logits_TNK.isfinite().all(-1)).cumsum(0) > 0
    return classes_TN.masked_fill(broken_TN, UNUSABLE).cpu().numpy(), decided_N.cpu().numpy()


def distance(features_NC: Any) -> float:
    """Mean Euclidean distance of pairs of different nodes over the mean norm of a node's features, 0 where all are 0."""
    import torch

    chosen = torch.linspace(0, len(features_NC) - 1, min(len(features_NC), MOST_NODES)).long()
    some = features_NC[chosen.to(features_NC.device)].double()
    norm = float(some.norm(dim=1).mean())
    if len(some) < 2 or norm == 0:
        return 0.0
    total = sum(float(torch.cdist(part, some).sum()) for part in some.split(512))
    return total / (len(some) * (len(some) - 1)) / norm


def _account(model: Any, x: Any, graph: Any, rules: tuple[RuleName, ...], samples: int) -> tuple[Any, str]:
    """The account of one pass and the empty text, or None and why there is none."""
    import torch

    if not rules:
        return None, "the task counts no operations (rules is empty)"
    from retable.bench.accountant import Accountant

    with torch.no_grad(), Accountant(model, rules=rules) as accountant:
        if model.spiking and bool(((x == 0) | (x == 1)).all()):
            accountant.mark(x)
        model(x, graph)
    return accountant.result(samples=samples), ""
