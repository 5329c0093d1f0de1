"""Spiking graph networks: graphs and their product, STFN, layers, codings, readouts, training."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from retable.models.stfn.classifier import GraphClassifier
from retable.models.stfn.coding import decide, first_spikes, rank_order
from retable.models.stfn.dynamics import Dynamics
from retable.models.stfn.graph import Graph, neighbourhoods
from retable.models.stfn.layers import GraphAttention, GraphConvolution, SpikingLayer, neuron
from retable.models.stfn.method import GASNN, GAT, GCN, GCSNN
from retable.models.stfn.network import GNN, SpikingGNN
from retable.models.stfn.norm import STFN, BatchNorm
from retable.models.stfn.readout import Readout
from retable.models.stfn.training import labelled_loss

PATH = torch.tensor([[0, 1], [1, 2]])
"""0 - 1 - 2; further nodes are isolated."""


@st.composite
def graphs(draw: st.DrawFn) -> tuple[int, Tensor]:
    """(nodes, edges (2, E)) with loops, repetitions and isolated nodes."""
    nodes = draw(st.integers(1, 8))
    node = st.integers(0, nodes - 1)
    pairs = draw(st.lists(st.tuples(node, node), max_size=20))
    return nodes, torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2).T


def dense(graph: Graph, w_E: Tensor) -> Tensor:
    return torch.zeros(graph.nodes, graph.nodes, dtype=w_E.dtype).index_put((graph.i_E, graph.j_E), w_E)


def randomised(network: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Every parameter drawn anew, biases and affine parts too."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.7)
    return network.eval()


def planted(nodes: int = 60, classes: int = 3, seed: int = 0) -> SimpleNamespace:
    """Two features and neighbours tell the class of a node."""
    rng = np.random.default_rng(seed)
    labels = np.arange(nodes) % classes
    features = (rng.random((nodes, 6 * classes)) < 0.1).astype(np.float32)
    for node, label in enumerate(labels):
        features[node, 6 * label : 6 * label + 6] = rng.random(6) < 0.7
    u = rng.integers(0, nodes, 4 * nodes)
    v = (u + classes * rng.integers(1, nodes // classes, 4 * nodes)) % nodes
    order = rng.permutation(nodes)
    return SimpleNamespace(
        name="planted",
        features=features,
        edges=np.stack([u, v]),
        labels=labels,
        member=None,
        num_classes=classes,
        train=order[:15],
        validation=order[15:30],
        test=order[30:],
    )


# The methods


@pytest.mark.parametrize(
    "method",
    [
        GCN(epochs=40, lr=0.05),
        GAT(epochs=40, lr=0.05, dropout=0.1),
        GCSNN(epochs=40, lr=0.05, hidden=16, T=4),
        GASNN(epochs=40, lr=0.05, hidden=16, T=4, dropout=0.1),
        GCSNN(epochs=40, lr=0.05, hidden=16, T=4, reads="rank-order"),
        GCSNN(epochs=40, lr=0.05, hidden=16, T=4, reads="last", head="two-layer", norm="batch"),
    ],
    ids=lambda method: f"{type(method).__name__}-{getattr(method, 'reads', '')}",
)
def test_a_fitted_network_names_classes_of_nodes_it_had_no_labels_of(method: GCN) -> None:
    data = planted()
    model, log = method.fit(data, {}, seed=1, device="cpu")
    x, graph = model.prepare(data, "cpu")

    def accuracy(network: torch.nn.Module, part: np.ndarray) -> float:
        classes, _ = network.decide(network.steps(x, graph))
        return 100 * float((classes[-1][part].numpy() == data.labels[part]).mean())

    assert accuracy(model.network, data.test) > 80
    assert accuracy(model.network, data.validation) == pytest.approx(log["validation_accuracy"])
    assert accuracy(model.last, data.validation) == pytest.approx(log["validation_accuracy_last"])
    assert log["validation_accuracy"] >= log["validation_accuracy_last"]
    again = method.load(model.state_dict(), data, {}, device="cpu")
    assert torch.equal(again(x, graph), model(x, graph))
    assert sum(p.numel() for p in model.parameters_counted()) * 2 == sum(p.numel() for p in model.parameters())


def test_the_same_seed_trains_the_same_network_whatever_ran_before() -> None:
    data, method = planted(), GCSNN(epochs=3, hidden=8, T=2)
    first, _ = method.fit(data, {}, seed=3, device="cpu")
    torch.rand(7)
    second, _ = method.fit(data, {}, seed=3, device="cpu")
    other, _ = method.fit(data, {}, seed=4, device="cpu")
    states = [torch.cat([p.flatten() for p in model.parameters()]) for model in (first, second, other)]
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (lambda: GCSNN(threshold=0.0), "`threshold` must be above 0"),
        (lambda: GCSNN(decay=1.0), r"`decay` must lie in \[0, 1\)"),
        (lambda: GCSNN(penalty=1.0), "`penalty` must lie between"),
        (lambda: GCSNN(reads="rank-order", head="two-layer"), "`head` must be linear"),
        (lambda: GCN(layers=0), "`layers` must be at least 1"),
        (lambda: GCN(in_features=5).build(planted()), "`in_features` is 5, but planted has 18"),
        (lambda: GCN().fit(SimpleNamespace(**{**vars(planted()), "train": np.zeros(0, int)}), {}, seed=0, device="cpu"), "no train labels"),
    ],
)  # fmt: skip
def test_what_cannot_be_built_or_trained_is_said_in_a_sentence(wrong: object, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        wrong()  # type: ignore[operator]


# Normalisation


@settings(max_examples=40)
@given(st.integers(1, 4), st.integers(1, 5), st.integers(2, 6), st.integers(0, 100))
def test_stfn_looks_at_one_node_over_its_features_and_all_steps(T: int, N: int, C: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    dynamics = Dynamics(rho=1.5, threshold=0.4)
    S = 3 + 2 * torch.randn(T, N, C, generator=generator, dtype=torch.float64)
    norm = STFN(C, dynamics).double()
    Y = norm(S).detach()
    for v in range(N):
        own = [float(S[t, v, k]) for t in range(T) for k in range(C)]
        mean = sum(own) / (T * C)
        variance = sum((s - mean) ** 2 for s in own) / (T * C)
        for t in range(T):
            for k in range(C):
                want = 1.5 * 0.4 * (float(S[t, v, k]) - mean) / math.sqrt(variance + dynamics.eps)
                assert float(Y[t, v, k]) == pytest.approx(want, abs=1e-9)
    changed = S.clone()
    changed[:, 1:] = 0
    assert torch.equal(norm(changed)[:, 0], Y[:, 0])
    assert torch.equal(norm.train()(S), norm.eval()(S))


def test_over_equal_steps_the_statistics_are_those_of_one() -> None:
    S, norm = torch.randn(1, 5, 7), STFN(7, Dynamics())
    assert torch.allclose(norm(S.expand(6, 5, 7)), norm(S).expand(6, 5, 7), atol=1e-6)


def test_a_bias_that_is_the_same_for_all_features_is_taken_away_and_another_is_not() -> None:
    S, norm = torch.randn(3, 4, 6), STFN(6, Dynamics())
    assert torch.allclose(norm(S + 2.5), norm(S), atol=1e-5)
    assert not torch.allclose(norm(S + torch.arange(6.0)), norm(S), atol=1e-2)


def test_the_threshold_alone_changes_no_spike_but_rho_does() -> None:
    S, C = torch.randn(5, 20, 8), 8

    def spikes(**constants: float) -> Tensor:
        layer = SpikingLayer("convolution", C, C, Dynamics(**constants))
        return layer.neuron(layer.norm(S)).detach()

    assert torch.equal(spikes(threshold=0.5), spikes(threshold=2.0))
    assert float(spikes(rho=2.0).mean()) > 1.2 * float(spikes(rho=1.0).mean())


def test_batch_normalisation_has_the_same_scale_over_the_other_axes() -> None:
    S, norm = 3 + 2 * torch.randn(4, 50, 3), BatchNorm(3, Dynamics(rho=2.0, threshold=0.5))
    Y = norm.train()(S)
    assert torch.allclose(Y.mean((0, 1)), torch.zeros(3), atol=1e-5)
    assert torch.allclose(Y.std((0, 1), correction=0), torch.ones(3), atol=1e-3)
    with torch.no_grad():
        for _ in range(200):
            norm(S)
    assert torch.allclose(norm.eval()(S[:, :1]), Y[:, :1], atol=2e-2)


# Layers


@settings(max_examples=40)
@given(graphs(), st.booleans(), st.integers(0, 50))
def test_isolated_nodes_have_the_bias_or_nothing_and_every_gradient_is_finite(
    drawn: tuple[int, Tensor], loops: bool, seed: int
) -> None:
    torch.manual_seed(seed)
    graph = neighbourhoods(drawn[1], drawn[0], loops)
    x = torch.randn(2, graph.nodes, 3, requires_grad=True)
    alone = graph.degrees() == 0
    for layer, wanted in ((GraphConvolution(3, 4), None), (GraphAttention(3, 4), torch.zeros(4))):
        randomised(layer, seed)
        S = layer(x, graph)
        want = layer.b if wanted is None else wanted  # type: ignore[union-attr]
        assert torch.equal(S[:, alone], want.expand_as(S[:, alone]))
        gradients = torch.autograd.grad(S.square().sum(), [x, *layer.parameters()])
        assert bool(S.isfinite().all())
        assert all(bool(gradient.isfinite().all()) for gradient in gradients)


@settings(max_examples=40)
@given(graphs(), st.integers(0, 50))
def test_both_orders_of_transform_and_propagation_give_the_same_currents(drawn: tuple[int, Tensor], seed: int) -> None:
    graph = neighbourhoods(drawn[1], drawn[0])
    first, then = GraphConvolution(5, 3), GraphConvolution(5, 3, propagate_first=True)
    then.load_state_dict(randomised(first, seed).state_dict())
    H = (torch.rand(2, graph.nodes, 5, generator=torch.Generator().manual_seed(seed)) < 0.4).float()
    assert torch.allclose(first(H, graph), then(H, graph), atol=1e-5)


@settings(max_examples=40)
@given(graphs(), st.integers(0, 50))
def test_attention_is_a_softmax_over_the_neighbours(drawn: tuple[int, Tensor], seed: int) -> None:
    graph = neighbourhoods(drawn[1], drawn[0])
    layer = randomised(GraphAttention(4, 3), seed)
    x = 30 * torch.randn(1, graph.nodes, 4, generator=torch.Generator().manual_seed(seed))
    h = (x @ layer.W)[0]  # type: ignore[operator]
    pairs = torch.cat([h[:, None].expand(-1, len(h), -1), h[None].expand(len(h), -1, -1)], -1)
    scores = F.leaky_relu(pairs @ layer.a, 0.2)  # type: ignore[operator]
    alpha = scores.masked_fill(dense(graph, torch.ones(graph.edges)) == 0, -torch.inf).softmax(1)
    assert torch.allclose(layer(x, graph)[0], alpha @ h, atol=1e-3, rtol=1e-4)


def test_a_gcn_is_the_published_two_products() -> None:
    graph = neighbourhoods(PATH, 4)
    net = randomised(GNN(5, 3, (6,)))
    x = torch.rand(4, 5)
    P, (one, two) = dense(graph, graph.symmetric_weights()), net.layers  # type: ignore[misc]
    wanted = P @ (F.relu(P @ (x @ one.W) + one.b) @ two.W) + two.b
    assert torch.allclose(net(x, graph), wanted, atol=1e-5)
    assert [tuple(h.shape) for h in net.features(x, graph)] == [(4, 6)]  # type: ignore[operator]


@pytest.mark.oracle("torch_geometric")
@pytest.mark.parametrize("kind", ["convolution", "attention"])
def test_layers_give_what_pytorch_geometrics_give(kind: str) -> None:
    from torch_geometric import nn as theirs

    graph = neighbourhoods(torch.randint(0, 30, (2, 50)), 30)
    edges = torch.stack([graph.j_E, graph.i_E])[:, graph.i_E != graph.j_E]
    x = torch.randn(30, 6)
    if kind == "convolution":
        layer, other = randomised(GraphConvolution(6, 4)), theirs.GCNConv(6, 4)
        state = {"lin.weight": layer.W.T, "bias": layer.b}
    else:
        layer, other = randomised(GraphAttention(6, 4)), theirs.GATConv(6, 4, heads=1, bias=False)
        receiving, sending = layer.a.chunk(2)
        state = {"lin.weight": layer.W.T, "att_dst": receiving[None, None], "att_src": sending[None, None]}
    other.load_state_dict(state)
    assert torch.allclose(layer(x[None], graph)[0], other(x, edges), atol=1e-5)


# Networks


@pytest.mark.parametrize("kind", ["convolution", "attention"])
@pytest.mark.parametrize("level", ["node", "graph"])
def test_numbers_of_nodes_are_only_names(kind: str, level: str) -> None:
    net = randomised(SpikingGNN(6, 3, (8, 8), kind, T=3, level=level)).double()  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(1)
    edges, x = torch.randint(0, 9, (2, 14), generator=generator), torch.rand(9, 6, generator=generator).double()
    moved_to = torch.randperm(9, generator=generator)
    out = net(x, neighbourhoods(edges, 9))
    moved = torch.empty_like(x).index_copy(0, moved_to, x)
    out_moved = net(moved, neighbourhoods(moved_to[edges], 9))
    assert torch.allclose(out_moved if level == "graph" else out_moved[moved_to], out)


def test_graphs_side_by_side_are_read_as_each_alone_and_one_without_nodes_as_zero() -> None:
    net = randomised(SpikingGNN(4, 2, (8,), T=3, level="graph", head="two-layer"))
    x = torch.rand(7, 4)
    edges = torch.tensor([[0, 1, 3, 5], [1, 2, 4, 6]])
    members = torch.tensor([0, 0, 0, 2, 2, 2, 2])
    together = net.steps(x, neighbourhoods(edges, 7, member_N=members))  # type: ignore[operator]
    first = net.steps(x[:3], neighbourhoods(edges[:, :2], 3))  # type: ignore[operator]
    third = net.steps(x[3:], neighbourhoods(edges[:, 2:] - 3, 4))  # type: ignore[operator]
    assert torch.allclose(together[:, 0], first[:, 0], atol=1e-6)
    assert torch.allclose(together[:, 2], third[:, 0], atol=1e-6)
    assert torch.equal(together[:, 1], torch.zeros(3, 2))


def test_spikes_stay_binary_in_evaluation_and_dropout_is_in_training_alone() -> None:
    net = SpikingGNN(6, 2, (16, 16), T=4, dropout=0.5)
    x, graph = (torch.rand(5, 6) < 0.5).float(), neighbourhoods(PATH, 5)
    assert all(set(H.unique().tolist()) <= {0.0, 1.0} for H in net.eval().spikes(x, graph))
    assert torch.equal(net(x, graph), net(x, graph))
    assert not torch.equal(net.train()(x, graph), net(x, graph))


@pytest.mark.parametrize("reads", ["rate", "last", "rank-order"])
def test_the_last_step_is_what_a_call_gives(reads: str) -> None:
    net = randomised(SpikingGNN(6, 3, (8, 8), T=4, reads=reads))  # type: ignore[arg-type]
    x, graph = torch.rand(5, 6), neighbourhoods(PATH, 5)
    steps = net.steps(x, graph)  # type: ignore[operator]
    assert torch.allclose(steps[-1], net(x, graph), atol=1e-6)
    H = net.spikes(x, graph)[-1]  # type: ignore[operator]
    if reads == "rate":
        assert torch.allclose(steps[1], net.readout.head(H[:2].mean(0)), atol=1e-6)  # type: ignore[union-attr, operator]
    if reads == "last":
        assert torch.allclose(steps[1], net.readout.head(H[1]), atol=1e-6)  # type: ignore[union-attr, operator]


def test_the_head_of_eq_17_has_two_matrices() -> None:
    readout = Readout(4, 3, "last", "two-layer")
    H, graph = (torch.rand(2, 5, 4) < 0.5).float(), neighbourhoods(PATH, 5)
    W, A = readout.head.W, readout.head.A
    assert torch.allclose(readout.last(H, graph), F.relu(H[-1] @ W) @ A, atol=1e-6)  # type: ignore[operator]


def test_the_loss_is_the_sum_over_the_labelled_nodes() -> None:
    logits, y = torch.randn(6, 3), torch.tensor([0, 1, 2, 0, 1, 2])
    some = torch.tensor([1, 4])
    each = [-logits[i].log_softmax(0)[y[i]] for i in (1, 4)]
    assert float(labelled_loss(logits, y, some)) == pytest.approx(float(sum(each)), rel=1e-6)
    assert float(labelled_loss(logits, y, some, "mean")) == pytest.approx(float(sum(each)) / 2, rel=1e-6)


# Rank order


def ranked_by_hand(spikes_TC: list[list[bool]], weights_C: list[float], penalty: float) -> float:
    """Eq. 14 of one ensemble and one output neuron, after all steps."""
    first = [next((t for t, fired in enumerate(neuron) if fired), None) for neuron in zip(*spikes_TC, strict=True)]
    total = 0.0
    for when, weight in zip(first, weights_C, strict=True):
        if when is not None:
            rank = sum(other is not None and other < when for other in first)
            total += penalty**rank * weight
    return total


@settings(max_examples=40)
@given(st.integers(1, 5), st.integers(1, 6), st.integers(0, 1000))
def test_rank_order_is_equation_14_with_its_tie_rules(T: int, C: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    H = (torch.rand(T, 2, C, generator=generator) < 0.3).double()
    w = torch.randn(C, generator=generator, dtype=torch.float64)
    out = rank_order(H, 0.7)
    for t in range(1, T + 1):
        for v in range(2):
            want = ranked_by_hand(H[:t, v].bool().tolist(), w.tolist(), 0.7)
            assert float((out[:t].sum(0) @ w)[v]) == pytest.approx(want, abs=1e-9)
    assert bool((first_spikes(H).sum(0) <= 1).all())


def test_ties_share_a_rank_and_silence_gives_nothing() -> None:
    H = torch.tensor([[1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0]]).float()[:, None]
    assert torch.allclose(rank_order(H, 0.5).sum(0), torch.tensor([[1.0, 1.0, 0.25, 0.0]]))


@settings(max_examples=40)
@given(st.integers(1, 5), st.integers(1, 4), st.integers(1, 4), st.integers(0, 1000))
def test_the_first_output_neuron_to_fire_names_the_class(T: int, N: int, K: int, seed: int) -> None:
    V = torch.randn(T, N, K, generator=torch.Generator().manual_seed(seed))
    classes, at = decide(V, 1.0)
    for v in range(N):
        won, when = None, T + 1
        for t in range(T):
            if won is None and float(V[t, v].max()) >= 1.0:
                won, when = int(V[t, v].argmax()), t + 1
            assert int(classes[t, v]) == (int(V[t, v].argmax()) if won is None else won)
        assert int(at[v]) == when


def test_a_rank_order_network_hands_on_first_spikes_alone_and_learns_through_them() -> None:
    net = SpikingGNN(6, 3, (16, 16), T=4, reads="rank-order")
    seen: list[Tensor] = []
    net.layers[1].register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    x, graph = (torch.rand(5, 6) < 0.5).float(), neighbourhoods(PATH, 5)
    logits = net(x, graph)
    assert bool(((seen[0] != 0).sum(0) <= 1).all())
    assert bool((seen[0] > 0).any())
    logits.square().sum().backward()
    assert float(net.layers[0].aggregate.W.grad.abs().sum()) > 0


# What the paper states, and what it leaves to a suite


def test_rates_decay_and_dropout_are_the_papers() -> None:
    stated = {GCN: 0.01, GCSNN: 0.01, GAT: 0.005, GASNN: 0.005}
    for method, lr in stated.items():
        assert (method().lr, method().weight_decay, method().epochs) == (lr, 5e-4, 200)
    assert (GCSNN().dropout, GASNN().dropout) == (0.1, 0.6)


def test_of_equally_good_epochs_the_first_is_kept() -> None:
    _, log = GCSNN(epochs=4, lr=1e-12, hidden=8, T=2, dropout=0.0).fit(planted(), {}, seed=0, device="cpu")
    assert log["best_epoch"] == 1


@pytest.mark.parametrize("window", [0.5, 1.0, 2.0])
def test_the_surrogate_is_a_rectangle_of_area_one_around_the_threshold(window: float) -> None:
    dynamics = Dynamics(window=window, threshold=0.5)
    S = torch.tensor([[0.5 - 0.49 * window, 0.5 + 0.49 * window, 0.5 - 0.51 * window, 0.5 + 0.51 * window]])
    S.requires_grad_()
    neuron(dynamics)(S).sum().backward()
    assert S.grad is not None
    assert S.grad.flatten().tolist() == pytest.approx([1 / window, 1 / window, 0, 0])


def test_a_spike_resets_to_zero_and_the_rest_decays() -> None:
    S = torch.tensor([0.4, 0.4, 0.0, 0.49, 0.4])[:, None]
    # 0.4; 0.4 k + 0.4 = 0.5 fires (k = 0.25); then from 0: 0, 0.49, 0.49 k + 0.4 fires
    assert neuron(Dynamics(decay=0.25, threshold=0.5))(S).flatten().tolist() == [0, 1, 0, 0, 1]


def test_words_are_spikes_or_shares_of_their_node_and_a_node_without_any_has_none() -> None:
    data = planted()
    data.features = np.array([[0.2, 0.0, 0.6], [0.0, 0.0, 0.0], [3.0, 1.0, 0.0]], np.float32)
    data.edges = np.array([[0], [1]])
    found = {kind: GraphClassifier(GNN(3, 2), features=kind).prepare(data, "cpu")[0] for kind in ("binary", "unit")}  # type: ignore[arg-type]
    assert found["binary"].tolist() == [[1, 0, 1], [0, 0, 0], [1, 1, 0]]
    assert found["unit"].flatten().tolist() == pytest.approx([0.25, 0, 0.75, 0, 0, 0, 0.75, 0.25, 0])
