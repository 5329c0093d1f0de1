"""The tasks `node-classify` and `graph-classify` and the metrics of graph networks."""

from __future__ import annotations

import dataclasses
import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from retable.bench.datasets.graphs.block_model import BlockModel
from retable.bench.datasets.graphs.graph import GraphData
from retable.bench.datasets.graphs.mixing import Mixing
from retable.bench.errors import BenchError
from retable.bench.metrics.accuracy import Accuracy, AccuracyAtStep
from retable.bench.metrics.graphs import (
    AccuracyLastEpoch,
    DecisionStep,
    EdgeHomophily,
    GraphEnergy,
    GraphLayers,
    GraphOperations,
    NodeDistance,
    StepsToFinal,
)
from retable.bench.metrics.operations import FiringRate
from retable.bench.tasks.graphs import GraphClassify, NodeClassify, distance
from retable.models.stfn.method import GCN, GCSNN
from tests.bench.conftest import Bench

SUITE = """\
suite: tiny
title: Spiking nets on small graphs
paper: None
arxiv: "0000.00000"
version: 1
profiles:
  mini: {repetitions: [0], limits: {timeout: 100 s, memory: 4 GB, threads: 1}}
methods:
  gcn: {use: gcn, with: {epochs: 20}}
  gc-snn: {use: gc-snn, with: {epochs: 15, hidden: 16, T: 3}}
datasets:
  blocks: {use: block-model, with: {nodes: 500}}
  mixing: {use: mixing, with: {graphs: 60}}
tasks:
  nodes: {use: node-classify}
  graphs: {use: graph-classify}
defaults: {dataset: blocks, task: nodes, metrics: [accuracy, accuracy_last_epoch, firing_rate, node_distance, "graph_energy_mj[all]"]}
entries:
  - {name: gcn, label: GCN, method: gcn}
  - {name: gc-snn, label: GC-SNN, method: gc-snn}
  - {name: of-graphs, label: GC-SNN, method: gc-snn, dataset: mixing, task: graphs}
  - {name: wrong, label: Wrong task, method: gc-snn, dataset: mixing}
claims:
  - name: learns
    text: A spiking network names more than half of the nodes
    source: none
    value: {entry: gc-snn, metric: accuracy, at_least: 50}
    min_seeds: 1
tables:
  - name: accuracy
    title: Accuracy
    rows: ["*"]
    columns: [{label: Accuracy, metric: accuracy, show: measured, format: .1f}]
"""


def small(**changed: Any) -> GraphData:
    """Six nodes on a path with a loop, all of them in the test."""
    given = {
        "name": "path",
        "features": np.eye(6, dtype=np.float32),
        "edges": np.array([[0, 1, 2, 3, 4], [1, 2, 3, 4, 4]]),
        "labels": np.array([0, 0, 1, 1, 2, 2]),
        "train": np.zeros(0, np.int64),
        "validation": np.zeros(0, np.int64),
        "test": np.arange(6),
        "num_classes": 3,
        "split": "none",
    }
    return GraphData(**{**given, **changed})


class Told(torch.nn.Module):
    """Its logits of the nodes at each step are in a table."""

    spiking, depth, T = True, 2, 3

    def __init__(self, logits_TNK: torch.Tensor, *last_TNK: torch.Tensor) -> None:
        super().__init__()
        self.logits_TNK, self.other = logits_TNK, [Told(logits) for logits in last_TNK]

    @property
    def last(self) -> Told:
        return self.other[0] if self.other else self

    def prepare(self, data: GraphData, device: str) -> tuple[torch.Tensor, None]:
        return torch.from_numpy(data.features), None

    def forward(self, x: torch.Tensor, graph: None) -> torch.Tensor:
        return x @ torch.ones(x.shape[1], 2)

    def steps(self, x: torch.Tensor, graph: None) -> torch.Tensor:
        return self.logits_TNK

    def decide(self, logits_TNK: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return logits_TNK.argmax(-1), torch.tensor([1, 3, 4, 1, 1, 1])[: logits_TNK.shape[1]]

    def features(self, x: torch.Tensor, graph: None) -> list[torch.Tensor]:
        return [torch.ones(6, 2), x]


# The tasks


def test_a_suite_of_graphs_runs_and_a_wrong_task_says_so(bench: Bench) -> None:
    bench.suite.write_text(SUITE)
    done = bench("run", "suites/tiny.yaml", "--jobs", "0")
    assert "reproduced" in done.stdout
    assert "mixing has labels of graphs, not of nodes: use the task graph-classify" in done.stdout + done.stderr
    assert done.returncode == 3


def test_accuracy_is_that_of_the_test_nodes_by_step_and_of_the_last_epoch() -> None:
    rng = torch.Generator().manual_seed(1)
    logits, last = torch.randn(3, 6, 3, generator=rng), torch.randn(3, 6, 3, generator=rng)
    data = small(train=np.array([1]), test=np.array([0, 2, 3, 4, 5]))

    evidence = NodeClassify(rules=()).evidence(Told(logits, last), data, seed=0, device="cpu")
    right = logits.argmax(-1).numpy()[:, data.test] == data.labels[data.test]
    for t in range(3):
        assert AccuracyAtStep(step=t + 1).measure(evidence).value == pytest.approx(100 * right[t].mean())
    assert Accuracy().measure(evidence).value == pytest.approx(100 * right[-1].mean())
    right_last = last[-1].argmax(-1).numpy()[data.test] == data.labels[data.test]
    assert AccuracyLastEpoch().measure(evidence).value == pytest.approx(100 * right_last.mean())
    decided = DecisionStep().measure(evidence)
    assert decided.value == 2.0
    assert decided.details["undecided"] == 0.2
    assert json.loads(evidence.artefacts()["confusion.json"])["true_by_predicted"]


def test_logits_that_are_not_finite_name_no_class_from_that_step_on() -> None:
    logits = torch.zeros(3, 6, 3)
    logits[1, 2, 0] = torch.nan
    evidence = NodeClassify(rules=()).evidence(Told(logits), small(), seed=0, device="cpu")
    assert (evidence.predictions_TN == -1).sum(1).tolist() == [0, 1, 1]
    assert "not finite" in str(Accuracy().measure(evidence).reason)
    assert "not finite" in str(StepsToFinal().measure(evidence).reason)


def test_tasks_refuse_labels_of_the_other_level_and_an_empty_test() -> None:
    with pytest.raises(BenchError, match="mixing has labels of graphs"):
        NodeClassify().evidence(None, Mixing(graphs=36).load(), seed=0, device="cpu")
    with pytest.raises(BenchError, match="block-model has labels of nodes"):
        GraphClassify().evidence(None, BlockModel(nodes=500).load(), seed=0, device="cpu")
    with pytest.raises(BenchError, match="path has no test labels"):
        NodeClassify().evidence(Told(torch.zeros(3, 6, 3)), small(test=np.zeros(0, int)), seed=0, device="cpu")


# The metrics


@settings(max_examples=50)
@given(st.lists(st.integers(0, 20), min_size=1, max_size=8), st.integers(0, 6))
def test_steps_to_final_is_the_first_step_that_stays_near_the_end(curve: list[int], samples: int) -> None:
    right, points = np.arange(20) < np.array(curve)[:, None], 5.0 * samples + 0.1
    evidence = SimpleNamespace(correct_by_step=right, unusable_by_step=np.zeros(len(curve), int), labels=right[0])
    found = StepsToFinal(points=points).measure(evidence)
    step = int(found.value or 0)
    seen = 100 * right.mean(1)
    assert all(abs(value - seen[-1]) <= points for value in seen[step - 1 :])
    assert step == 1 or abs(seen[step - 2] - seen[-1]) > points
    assert found.details[f"step {len(curve)}"] == pytest.approx(seen[-1])


def test_distances_are_of_pairs_in_units_of_the_norm() -> None:
    features = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    pairs = [float((u - v).norm()) for i, u in enumerate(features) for j, v in enumerate(features) if i != j]
    wanted = sum(pairs) / len(pairs) / float(features.norm(dim=1).mean())
    assert distance(features) == pytest.approx(wanted, rel=1e-5)
    assert distance(7 * features) == pytest.approx(wanted, rel=1e-5)
    assert distance(torch.zeros(5, 3)) == distance(features[:1]) == 0.0
    assert distance(torch.ones(5, 3)) == pytest.approx(0.0, abs=1e-6)
    evidence = NodeClassify(rules=()).evidence(Told(torch.zeros(3, 6, 3)), small(), seed=0, device="cpu")
    measured = NodeDistance().measure(evidence)
    assert measured.value == measured.details["layer 2"] == pytest.approx(2**0.5)
    assert measured.details["layer 1"] == pytest.approx(0.0, abs=1e-6)
    assert GraphLayers().measure(evidence).value == 2
    assert EdgeHomophily().measure(evidence).value == 0.5
    assert "no hidden layer" in str(NodeDistance().measure(dataclasses.replace(evidence, distances=())).reason)


def test_operations_of_a_spiking_network_are_its_spikes_and_its_edges() -> None:
    data = BlockModel(nodes=500).load()
    torch.manual_seed(0)
    model = GCSNN(hidden=8, T=3, layers=2).build(data)
    evidence = NodeClassify().evidence(model, data, seed=0, device="cpu")
    x, graph = model.prepare(data, "cpu")
    with torch.no_grad():
        spikes = [float(H.sum()) for H in model.network.spikes(x, graph)]
    E, nodes = graph.edges, 500
    # The current of the constant input counts once; the last spikes are averaged, and their rates meet the head by additions.
    ac = float(x.sum()) * 8 + spikes[0] * 8 + spikes[1] + spikes[1] * 5
    transform = GraphOperations(part="transform").measure(evidence)
    assert transform.details["ac"] * nodes == pytest.approx(ac)
    assert transform.details["mac"] == 0
    propagation = GraphOperations(part="propagation").measure(evidence)
    assert propagation.value * nodes == pytest.approx((1 + 3) * E * 8)
    both = GraphOperations(part="all").measure(evidence)
    assert both.value == pytest.approx(transform.value + propagation.value)
    energy = GraphEnergy(part="all").measure(evidence)
    assert energy.value * nodes * 1e9 == pytest.approx(0.9 * ac + 4.6 * 4 * E * 8)
    rate = FiringRate().measure(evidence)
    assert rate.value == pytest.approx(sum(spikes) / (2 * 3 * nodes * 8))
    assert not evidence.account.uncounted
    assert not evidence.account.lost_marks


def test_operations_of_a_gcn_are_dense_and_nonzero_leaves_out_its_zeros() -> None:
    data = BlockModel(nodes=500).load()
    torch.manual_seed(0)
    model = GCN(hidden=8).build(data)
    evidence = NodeClassify().evidence(model, data, seed=0, device="cpu")
    x, graph = model.prepare(data, "cpu")
    E = graph.edges
    transform = GraphOperations(part="transform").measure(evidence)
    assert transform.details["ac"] == 0
    assert transform.value * 500 == pytest.approx(500 * (500 * 8 + 8 * 5))
    assert GraphOperations(part="propagation").measure(evidence).value * 500 == pytest.approx(E * (8 + 5))
    with torch.no_grad():
        hidden = model.features(x, graph)[0]
    sent = graph.degrees().double()
    first, second = x.double() @ torch.ones(500, 8).double(), hidden.double() @ torch.ones(8, 5).double()
    wanted = (
        float(x.sum()) * 8
        + float((hidden != 0).sum()) * 5
        + float(((first != 0).sum(1) * sent).sum() + ((second != 0).sum(1) * sent).sum())
    )
    assert GraphOperations(part="nonzero").measure(evidence).value * 500 == pytest.approx(wanted, rel=1e-3)


@pytest.mark.parametrize("kind", ["ga-snn", "gat"])
def test_attention_has_a_rule_for_every_operator(kind: str) -> None:
    from retable.bench.registry import resolve

    data = BlockModel(nodes=500).load()
    model = resolve("method", kind)(hidden=8).build(data)
    evidence = NodeClassify().evidence(model, data, seed=0, device="cpu")
    assert not evidence.account.uncounted
    assert GraphOperations(part="propagation").measure(evidence).value > 0


def test_graphs_are_samples_of_their_task() -> None:
    data = Mixing(graphs=36).load()
    model = GCSNN(hidden=8, T=2, reads="last", head="two-layer").build(data)
    evidence = GraphClassify().evidence(model, data, seed=0, device="cpu")
    assert evidence.predictions_TN.shape == (2, 18)
    assert evidence.account.samples == 36
    assert "no edges between nodes with labels" in str(EdgeHomophily().measure(evidence).reason)
