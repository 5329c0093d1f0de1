"""Graphs of spiking networks, the sparse product over their edges, and features of few words."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from retable.models.stfn.features import SparseFeatures, dropped, sparse
from retable.models.stfn.graph import _neighbour_sum, neighbour_sum, neighbourhoods
from tests.models.test_stfn import PATH, dense, graphs


@settings(max_examples=40)
@given(graphs(), st.booleans(), st.randoms())
def test_edges_one_way_twice_and_with_loops_make_the_same_graph(
    drawn: tuple[int, Tensor], loops: bool, random: object
) -> None:
    nodes, edges = drawn
    graph = neighbourhoods(edges, nodes, loops)
    ways = torch.tensor([[random.random() < 0.5 for _ in range(edges.shape[1])]]).bool()  # type: ignore[attr-defined]
    turned = torch.where(ways, edges, edges.flip(0))
    messy = torch.cat([turned, turned, turned.flip(0), torch.arange(nodes).expand(2, nodes)], 1)
    again = neighbourhoods(messy, nodes, loops)
    assert torch.equal(graph.i_E, again.i_E)
    assert torch.equal(graph.j_E, again.j_E)
    A = dense(graph, torch.ones(graph.edges))
    assert torch.equal(A, A.T)
    assert torch.equal(A.diagonal(), torch.full((nodes,), float(loops)))
    assert torch.equal(graph.i_E[graph.reverse_E], graph.j_E)
    assert torch.equal(graph.j_E[graph.reverse_E], graph.i_E)
    weights = graph.symmetric_weights()
    assert bool(weights.isfinite().all())
    degree = A.sum(1)
    assert torch.allclose(dense(graph, weights), A / (degree[:, None] * degree).clamp(min=1).sqrt())


@settings(max_examples=40)
@given(graphs(), st.integers(1, 3), st.integers(0, 3), st.booleans(), st.integers(0, 100))
def test_the_product_is_that_of_the_dense_matrix_of_every_step(
    drawn: tuple[int, Tensor], T: int, C: int, shared: bool, seed: int
) -> None:
    graph = neighbourhoods(drawn[1], drawn[0], seed % 2 == 0)
    generator = torch.Generator().manual_seed(seed)
    w = torch.randn(1 if shared else T, graph.edges, generator=generator, dtype=torch.float64, requires_grad=True)
    x = torch.randn(T, graph.nodes, C, generator=generator, dtype=torch.float64, requires_grad=True)
    out = neighbour_sum(graph, w, x)
    wanted = torch.stack([dense(graph, w[t % len(w)]) @ x[t] for t in range(T)])
    assert torch.allclose(out, wanted)
    c = torch.randn(out.shape, generator=generator, dtype=torch.float64)
    for mine, theirs in zip(
        torch.autograd.grad((out * c).sum(), (w, x)), torch.autograd.grad((wanted * c).sum(), (w, x)), strict=True
    ):
        assert torch.allclose(mine, theirs)


def test_the_product_is_an_operator_that_torch_can_check() -> None:
    graph = neighbourhoods(PATH, 4)
    w, x = torch.randn(2, graph.edges, requires_grad=True), torch.randn(2, 4, 3, requires_grad=True)
    arguments = (w, x, graph.start_N1, graph.i_E, graph.j_E, graph.reverse_E)
    torch.library.opcheck(torch.ops.retable.neighbour_sum.default, arguments)
    assert _neighbour_sum.name == "retable::neighbour_sum"


def test_a_gradient_of_many_edges_is_gathered_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = neighbourhoods(torch.combinations(torch.arange(6)).T, 6)
    w, x = torch.randn(2, graph.edges, requires_grad=True), torch.randn(2, 6, 3)
    (whole,) = torch.autograd.grad(neighbour_sum(graph, w, x).square().sum(), w)
    monkeypatch.setattr("retable.models.stfn.graph.EDGES_AT_ONCE", 5)
    (parts,) = torch.autograd.grad(neighbour_sum(graph, w, x).square().sum(), w)
    assert torch.equal(whole, parts)


@pytest.mark.parametrize(
    ("edges", "members", "sentence"),
    [
        (torch.tensor([[0, 3], [1, 1]]), None, "edges must join nodes from 0 to 2"),
        (torch.tensor([[-1], [1]]), None, "edges must join nodes from 0 to 2"),
        (torch.tensor([0, 1]), None, "edges must be integers of the shape"),
        (torch.tensor([[0.0], [1.0]]), None, "edges must be integers of the shape"),
        (torch.tensor([[0], [1]]), torch.tensor([0, 1, 1]), "no edge may join two graphs"),
        (torch.tensor([[0], [1]]), torch.tensor([0, 0]), "member_N must name one graph for each"),
    ],
)
def test_edges_that_are_none_are_refused(edges: Tensor, members: Tensor | None, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        neighbourhoods(edges, 3, member_N=members)


def test_arguments_of_the_product_that_do_not_fit_are_named() -> None:
    graph = neighbourhoods(PATH, 3)
    with pytest.raises(ValueError, match="x_TNC has 4 nodes, the graph 3"):
        neighbour_sum(graph, torch.ones(1, graph.edges), torch.ones(2, 4, 1))
    with pytest.raises(ValueError, match=r"w_TE must have the shape \(1 or 2, 7\)"):
        neighbour_sum(graph, torch.ones(3, graph.edges), torch.ones(2, 3, 1))


@settings(max_examples=40)
@given(st.integers(1, 6), st.integers(1, 30), st.integers(0, 1000))
def test_features_by_their_entries_give_the_same_product_and_gradient(N: int, C: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(N, C, generator=generator) * (torch.rand(N, C, generator=generator) < 0.08)
    W = torch.randn(C, 3, generator=generator, requires_grad=True)
    rows = sparse(x)
    mine, wanted = (rows if isinstance(rows, SparseFeatures) else x[None]) @ W, (x @ W)[None]
    assert torch.allclose(mine, wanted, atol=1e-6)
    for one, other in zip(
        torch.autograd.grad(mine.square().sum(), W), torch.autograd.grad(wanted.square().sum(), W), strict=True
    ):
        assert torch.allclose(one, other, atol=1e-5)


def test_dropout_keeps_the_mean_of_sparse_features_and_few_entries_make_them_sparse() -> None:
    x = torch.zeros(50, 400)
    x[:, :20] = 1.0
    rows = sparse(x)
    assert isinstance(rows, SparseFeatures)
    assert dropped(rows, 0.5, training=False).values_M is rows.values_M
    values = dropped(rows, 0.5, training=True).values_M
    assert set(values.unique().tolist()) == {0.0, 2.0}
    assert float(values.mean()) == pytest.approx(1.0, abs=0.2)
    assert isinstance(sparse(torch.ones(3, 4)), Tensor)
