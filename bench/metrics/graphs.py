"""Metrics of graph networks: the last epoch, decoding latency, oversmoothing, operations with propagation apart, facts of the graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from retable.bench.accountant import costs
from retable.bench.errors import BenchError
from retable.bench.metrics.measured import absent, measured, unusable
from retable.bench.record import Direction, Measurement

Part = Literal["transform", "propagation", "all", "nonzero"]
PROPAGATION = "retable.neighbour_sum"


@dataclass(frozen=True, kw_only=True)
class AccuracyLastEpoch:
    """Share of the test whose class is named by the network of the last epoch, whatever validation chose."""

    NAME: ClassVar[str] = "accuracy_last_epoch"
    UNIT: ClassVar[str] = "%"
    DIRECTION: ClassVar[Direction] = "higher"
    VERSION: ClassVar[str] = "1"
    EXACT: ClassVar[bool] = False

    def measure(self, evidence: Any) -> Measurement:
        hits = 100.0 * evidence.last_right_N
        if reason := unusable(hits, "classified samples"):
            return absent(self, reason)
        return measured(self, hits.mean(), n=len(hits), samples=tuple(hits.tolist()))


@dataclass(frozen=True, kw_only=True)
class DecisionStep:
    """Mean step after which a test node's class is decided: by the first output spike, else T; undecided ones count T + 1."""

    NAME: ClassVar[str] = "decision_step"
    UNIT: ClassVar[str] = "steps"
    DIRECTION: ClassVar[Direction] = "lower"
    VERSION: ClassVar[str] = "1"
    EXACT: ClassVar[bool] = False

    def measure(self, evidence: Any) -> Measurement:
        steps = evidence.decided_N.astype(float)
        if reason := unusable(steps, "decisions"):
            return absent(self, reason)
        undecided = float((steps > evidence.steps).mean())
        return measured(
            self, steps.mean(), n=len(steps), samples=tuple(steps.tolist()), details={"undecided": undecided}
        )


@dataclass(frozen=True, kw_only=True)
class StepsToFinal:
    """The first step from which on the accuracy is within `points` per cent of that after all steps; its details are the curve."""

    points: float = 1.0

    NAME: ClassVar[str] = "steps_to_final"
    UNIT: ClassVar[str] = "steps"
    DIRECTION: ClassVar[Direction] = "lower"
    VERSION: ClassVar[str] = "1"
    EXACT: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not 0 <= self.points < 100:
            raise BenchError(f"`points` must be at least 0 and below 100, not {self.points}")

    def measure(self, evidence: Any) -> Measurement:
        if evidence.unusable_by_step.any():
            return absent(self, "there are logits that are not finite")
        curve = 100 * evidence.correct_by_step.mean(1)
        far = [t for t, accuracy in enumerate(curve, start=1) if abs(accuracy - curve[-1]) > self.points]
        details: dict[str, str | float] = {f"step {t}": float(accuracy) for t, accuracy in enumerate(curve, start=1)}
        return measured(self, max(far, default=0) + 1, n=len(evidence.labels), details=details)


@dataclass(frozen=True, kw_only=True)
class NodeDistance:
    """Mean distance of pairs of nodes after the last hidden layer, in units of the features' mean norm: 0 is oversmoothed.

    Its details have every layer. Features of a spiking layer are its firing rates.
    """

    NAME: ClassVar[str] = "node_distance"
    UNIT: ClassVar[str] = "mean norms"
    DIRECTION: ClassVar[Direction] = "none"
    VERSION: ClassVar[str] = "1"
    EXACT: ClassVar[bool] = False

    def measure(self, evidence: Any) -> Measurement:
        distances = evidence.distances
        if not distances:
            return absent(self, "the model has no hidden layer")
        if reason := unusable(distances, "layers", least=1):
            return absent(self, reason)
        width = len(str(len(distances)))
        details: dict[str, str | float] = {f"layer {i:0{width}}": value for i, value in enumerate(distances, start=1)}
        return measured(self, distances[-1], n=len(evidence.data.features), details=details)


@dataclass(frozen=True, kw_only=True)
class GraphOperations:
    """Synaptic operations a sample: accumulates of spikes and multiply-accumulates of real values, element-wise work apart.

    `transform` are the products with weights, dense where their input is real; `propagation` the sums over neighbours, an
    operation an edge and feature; `all` both; `nonzero` both, where zeros of a real input cost nothing either. The current of
    a constant input is computed, and counted, once.
    """

    part: Part = "all"

    NAME: ClassVar[str] = "graph_operations"
    UNIT: ClassVar[str] = "operations/sample"
    DIRECTION: ClassVar[Direction] = "lower"
    VERSION: ClassVar[str] = "1"
    EXACT: ClassVar[bool] = False

    def measure(self, evidence: Any) -> Measurement:
        if evidence.account is None:
            return absent(self, evidence.why_no_account)
        mac, ac = synaptic(evidence.account, self.part)
        return measured(self, mac + ac, n=evidence.account.samples, details={"mac": mac, "ac": ac})


@dataclass(frozen=True, kw_only=True)
class GraphEnergy:
    """Millijoules a sample of the same operations, 4.6 pJ a multiply-accumulate and 0.9 pJ an accumulate; no measured joules."""

    part: Part = "all"

    NAME: ClassVar[str] = "graph_energy_mj"
    UNIT: ClassVar[str] = "mJ/sample"
    DIRECTION: ClassVar[Direction] = "lower"
    VERSION: ClassVar[str] = "1"
    EXACT: ClassVar[bool] = False

    def measure(self, evidence: Any) -> Measurement:
        if evidence.account is None:
            return absent(self, evidence.why_no_account)
        mac, ac = synaptic(evidence.account, self.part)
        value, _ = costs.table(costs.DEFAULT).price({"mac": mac, "ac": ac})
        return measured(self, value, n=evidence.account.samples, details={"costs": costs.DEFAULT, "mac": mac, "ac": ac})


@dataclass(frozen=True, kw_only=True)
class EdgeHomophily:
    """Share of the edges that join nodes of one class: a fact of the data."""

    NAME: ClassVar[str] = "edge_homophily"
    UNIT: ClassVar[str] = "share"
    DIRECTION: ClassVar[Direction] = "none"
    VERSION: ClassVar[str] = "1"
    EXACT: ClassVar[bool] = True

    def measure(self, evidence: Any) -> Measurement:
        share = evidence.data.homophily()
        if share is None:
            return absent(self, f"{evidence.data.name} has no edges between nodes with labels")
        return measured(self, share, details={"edges": evidence.data.pairs().shape[1]})


@dataclass(frozen=True, kw_only=True)
class GraphLayers:
    """Graph convolutions (or attentions) one after the other."""

    NAME: ClassVar[str] = "graph_layers"
    UNIT: ClassVar[str] = "layers"
    DIRECTION: ClassVar[Direction] = "none"
    VERSION: ClassVar[str] = "1"
    EXACT: ClassVar[bool] = True

    def measure(self, evidence: Any) -> Measurement:
        return measured(self, evidence.model.depth)


def synaptic(account: Any, part: Part) -> tuple[float, float]:
    """(multiply-accumulates, accumulates) a sample."""
    mac = ac = 0.0
    for row in account.rows:
        if part in ("all", "nonzero") or (row.operator == PROPAGATION) == (part == "propagation"):
            real = row.work.mac > 0
            mac += row.work.effective if part == "nonzero" and real else row.work.mac
            ac += row.work.ac
    return mac / account.samples, ac / account.samples
