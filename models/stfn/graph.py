"""Neighbourhoods and the sparse product over them, `retable::neighbour_sum`: y_t^i = sum over j in N(i) of w_ij,t x_t^j.

The product is that of a matrix in compressed rows, step by step. Against gathering and scattering the messages of the edges it
is ten times faster at a million edges and needs no memory for them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from warnings import catch_warnings, simplefilter

import torch
from torch import Tensor

from retable.models.common.operators import operator
from retable.models.common.shapes import check_dims

EDGES_AT_ONCE = 1 << 16
"""The gradient of the weights gathers the features of so many edges at a time."""


@dataclass(frozen=True, eq=False)
class Graph:
    """N(i) of every node i in rows: edge e joins the receiving node `i_E` to its neighbour `j_E`, sorted by (i, j).

    Row i is the edges `start_N1[i]` to `start_N1[i + 1]`; `reverse_E` says which edge joins j to i. `member_N` is the graph
    of each node where there are several, `graphs` how many. Made by `neighbourhoods`.
    """

    nodes: int
    start_N1: Tensor
    i_E: Tensor
    j_E: Tensor
    reverse_E: Tensor
    member_N: Tensor
    graphs: int = 1

    @property
    def edges(self) -> int:
        """Directed edges, loops included."""
        return len(self.i_E)

    def degrees(self) -> Tensor:
        """abs(N(i)), int64 (N,)."""
        return self.start_N1.diff()

    def symmetric_weights(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """1 / c_ij of eq. 15, (E,), c_ij = sqrt(abs(N(i))) sqrt(abs(N(j))). Every edge has two ends, so none is infinite."""
        degree_N = self.degrees().double()
        return (degree_N[self.i_E] * degree_N[self.j_E]).rsqrt().to(dtype)

    def to(self, device: str | torch.device) -> Graph:
        names = ("start_N1", "i_E", "j_E", "reverse_E", "member_N")
        return replace(self, **{name: getattr(self, name).to(device) for name in names})


def neighbourhoods(edges_2E: Tensor, nodes: int, self_loops: bool = True, member_N: Tensor | None = None) -> Graph:
    """The graph of undirected edges, each given one way, both ways or many times: A_ij is 0 or 1 and A_ji = A_ij.

    Loops that are given are dropped; with `self_loops` every node has one, else an isolated node has no neighbour at all.
    `member_N` numbers the graph of each node from 0. Raises ValueError for edges that are no whole numbers of nodes, or that
    join two graphs.
    """
    if edges_2E.dim() != 2 or len(edges_2E) != 2 or edges_2E.is_floating_point() or edges_2E.dtype == torch.bool:
        raise ValueError(f"edges must be integers of the shape (2, E), not {edges_2E.dtype} of {tuple(edges_2E.shape)}")
    if edges_2E.numel() and (int(edges_2E.min()) < 0 or int(edges_2E.max()) >= nodes):
        raise ValueError(f"edges must join nodes from 0 to {nodes - 1}")
    edges_2E = edges_2E.long()
    if member_N is None:
        member_N = edges_2E.new_zeros(nodes)
    elif len(member_N) != nodes or bool((member_N[edges_2E[0]] != member_N[edges_2E[1]]).any()):
        raise ValueError(f"member_N must name one graph for each of the {nodes} nodes, and no edge may join two graphs")
    u_E, v_E = edges_2E[:, edges_2E[0] != edges_2E[1]]
    both = [u_E * nodes + v_E, v_E * nodes + u_E]
    if self_loops:
        both.append(torch.arange(nodes, device=edges_2E.device) * (nodes + 1))
    key_E = torch.cat(both).unique()
    i_E, j_E = key_E // max(1, nodes), key_E % max(1, nodes)
    start_N1 = torch.cat([key_E.new_zeros(1), torch.bincount(i_E, minlength=nodes).cumsum(0)])
    graphs = int(member_N.max()) + 1 if nodes else 0
    return Graph(nodes, start_N1, i_E, j_E, (j_E * nodes + i_E).argsort(), member_N, graphs)


def neighbour_sum(graph: Graph, w_TE: Tensor, x_TNC: Tensor) -> Tensor:
    """(T, N, C): for every step the sum over j in N(i) of w_ij x^j; zero where a node has no neighbour.

    Weights of one step (1, E) hold for all T. Differentiable in both. Raises ValueError naming the argument.
    """
    check_dims("x_TNC", x_TNC, "TNC")
    if x_TNC.shape[1] != graph.nodes:
        raise ValueError(f"x_TNC has {x_TNC.shape[1]} nodes, the graph {graph.nodes}")
    if w_TE.dim() != 2 or len(w_TE) not in (1, len(x_TNC)) or w_TE.shape[1] != graph.edges:
        raise ValueError(
            f"w_TE must have the shape (1 or {len(x_TNC)}, {graph.edges}) of the steps and edges, not {tuple(w_TE.shape)}"
        )
    out: Tensor = _neighbour_sum(w_TE, x_TNC, graph.start_N1, graph.i_E, graph.j_E, graph.reverse_E)
    return out


@operator("neighbour_sum")
def _neighbour_sum(weights: Tensor, x: Tensor, start: Tensor, i: Tensor, j: Tensor, reverse: Tensor) -> Tensor:
    out = x.new_empty(x.shape)
    rows = [_rows(step, start, j, x) for step in weights]
    for t in range(len(x)):
        torch.mm(rows[t % len(rows)], x[t], out=out[t])
    return out


def _rows(weights_E: Tensor, start: Tensor, j: Tensor, x: Tensor) -> Tensor:
    _hear_warning()
    size = (x.shape[1], x.shape[1])
    return torch.sparse_csr_tensor(start, j, weights_E.to(x.dtype), size, check_invariants=False)


@cache
def _hear_warning() -> None:
    """Torch says once a process that compressed rows are "in beta"; nobody who calls us can do anything about it."""
    with catch_warnings():
        simplefilter("ignore", UserWarning)
        torch.sparse_csr_tensor([0], [], [], (0, 0), check_invariants=False)


@_neighbour_sum.register_fake
def _(weights: Tensor, x: Tensor, start: Tensor, i: Tensor, j: Tensor, reverse: Tensor) -> Tensor:
    return x.new_empty(x.shape)


@operator("neighbour_products", differentiable=False)
def _neighbour_products(grad: Tensor, x: Tensor, i: Tensor, j: Tensor) -> Tensor:
    """(T, E): grad^i x^j of every edge, the gradient of its weight."""
    out = x.new_empty((len(x), len(i)))
    for t in range(len(x)):
        for first in range(0, len(i), EDGES_AT_ONCE):
            part = slice(first, first + EDGES_AT_ONCE)
            out[t, part] = torch.einsum("ec,ec->e", grad[t, i[part]], x[t, j[part]])
    return out


@_neighbour_products.register_fake
def _(grad: Tensor, x: Tensor, i: Tensor, j: Tensor) -> Tensor:
    return x.new_empty((len(x), len(i)))


def _setup(ctx: object, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    weights, x, start, i, j, reverse = inputs
    keep = x if ctx.needs_input_grad[0] else x.new_empty(0)  # type: ignore[attr-defined]
    ctx.save_for_backward(weights, keep, start, i, j, reverse)  # type: ignore[attr-defined]


def _backward(ctx: object, grad: Tensor) -> tuple[Tensor | None, ...]:
    weights, x, start, i, j, reverse = ctx.saved_tensors  # type: ignore[attr-defined]
    grad_w = grad_x = None
    if ctx.needs_input_grad[0]:  # type: ignore[attr-defined]
        grad_TE = _neighbour_products(grad.contiguous(), x, i, j)
        grad_w = grad_TE if len(weights) == len(grad_TE) else grad_TE.sum(0, keepdim=True)
    if ctx.needs_input_grad[1]:  # type: ignore[attr-defined]
        # The transposed matrix has the same rows and columns; its weight of (i, j) is that of (j, i).
        grad_x = _neighbour_sum(weights[:, reverse], grad.contiguous(), start, i, j, reverse)
    return grad_w, grad_x, None, None, None, None


_neighbour_sum.register_autograd(_backward, _setup)
