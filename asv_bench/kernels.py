"""The work that is timed: every operator at a given shape, the plain loops they replace, and the floors below them.

Data are random but fixed; shapes have the letters of the operators' own documentation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from measure import Call
from torch import Tensor

from retable.models.spiking import operators as spiking
from retable.models.ssm import conv, selective_scan, ssd, state_update
from retable.models.stfn.graph import Graph, neighbourhoods
from retable.models.stfn.layers import GraphAttention, GraphConvolution


@dataclass(frozen=True)
class Work:
    """One call of an operator, and the tensors it can be differentiated by."""

    run: Callable[[], Tensor]
    inputs: Sequence[Tensor] = ()

    def forward(self) -> Call:
        call: Call = torch.no_grad()(self.run)
        return call

    def backward(self) -> Call:
        """The backward pass alone: its graph is built once."""
        out = self._recorded()
        weight = torch.ones_like(out)
        return lambda: torch.autograd.grad(out, self.inputs, weight, retain_graph=True)

    def both(self) -> Call:
        """Forward and backward pass."""
        weight = torch.ones_like(self._recorded())
        return lambda: torch.autograd.grad(self.run(), self.inputs, weight)

    def _recorded(self) -> Tensor:
        for value in self.inputs:
            value.requires_grad_()
        return self.run()


def scan_inputs(B: int, D: int, L: int, N: int) -> tuple[Tensor, ...]:
    """u, delta, A, B, C as a Mamba layer has them: delta small and positive, A negative."""
    random = _generator()
    u, B_, C = (torch.randn(shape, generator=random) for shape in ((B, D, L), (B, N, L), (B, N, L)))
    delta, A = 0.1 * torch.rand((B, D, L), generator=random), -0.5 - torch.rand((D, N), generator=random)
    return u, delta, A, B_, C


def scan(B: int, D: int, L: int, N: int, backend: Any = None) -> Work:
    inputs = scan_inputs(B, D, L, N)
    return Work(lambda: selective_scan.selective_scan(*inputs, backend=backend), inputs)


def mamba_scan(B: int, D: int, L: int, N: int, backend: Any = None) -> Work:
    """The scan with everything that a Mamba layer gives it: D, gate, bias, softplus."""
    inputs = (*scan_inputs(B, D, L, N), torch.ones(D), torch.randn(B, D, L, generator=_generator()), torch.zeros(D))
    return Work(lambda: selective_scan.selective_scan(*inputs, delta_softplus=True, backend=backend), inputs)


def loop(B: int, D: int, L: int, N: int, backend: Any = None) -> Work:
    inputs = scan_inputs(B, D, L, N)
    return Work(lambda: plain_scan(*inputs), inputs)


def unbound_loop(B: int, D: int, L: int, N: int, backend: Any = None) -> Work:
    inputs = scan_inputs(B, D, L, N)
    return Work(lambda: plain_scan(*inputs, unbind=True), inputs)


def plain_scan(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, unbind: bool = False) -> Tensor:
    """The semantics of the published reference in plain torch: discretise everything, then step through time.

    It takes step l as `x[:, :, l]`, whose gradient is a zero tensor of full size for every step; `unbind` avoids that.
    """
    a = torch.exp(torch.einsum("bdl,dn->bdln", delta, A))
    b = torch.einsum("bdl,bnl,bdl->bdln", delta, B, u)
    steps: Iterable[tuple[Tensor, ...]] = ((a[:, :, i], b[:, :, i], C[:, :, i]) for i in range(u.shape[2]))
    if unbind:
        steps = zip(a.unbind(2), b.unbind(2), C.unbind(2), strict=True)
    x, y = torch.zeros_like(a[:, :, 0]), []
    for a_l, b_l, C_l in steps:
        x = a_l * x + b_l
        y.append(torch.einsum("bdn,bn->bd", x, C_l))
    return torch.stack(y, dim=2)


def update(B: int, D: int, N: int, backend: Any = None) -> Work:
    """One step of the selective scan with a Mamba layer's options."""
    u, delta, A, B_, C = (value.squeeze(2) if value.dim() == 3 else value for value in scan_inputs(B, D, 1, N))
    state, rest = torch.zeros(B, D, N), (torch.ones(D), torch.randn(B, D, generator=_generator()), torch.zeros(D))
    step = state_update.selective_state_update
    return Work(lambda: step(state, u, delta, A, B_, C, *rest, dt_softplus=True, backend=backend))


def ssd_inputs(B: int, L: int, H: int, P: int, N: int) -> tuple[Tensor, ...]:
    """x, dt, A, B, C with one group."""
    random = _generator()
    x, B_, C = (torch.randn(shape, generator=random) for shape in ((B, L, H, P), (B, L, 1, N), (B, L, 1, N)))
    return x, 0.1 * torch.rand((B, L, H), generator=random), -0.5 - torch.rand(H, generator=random), B_, C


def ssd_scan(B: int, L: int, H: int, P: int, N: int, backend: Any = None) -> Work:
    inputs = ssd_inputs(B, L, H, P, N)
    return Work(lambda: ssd.ssd_scan(*inputs, chunk_size=64, backend=backend), inputs)


def ssd_step(B: int, H: int, P: int, N: int, backend: Any = None) -> Work:
    x, dt, A, B_, C = ssd_inputs(B, 1, H, P, N)
    state, now = torch.zeros(B, H, P, N), [value.squeeze(1) for value in (x, dt, B_, C)]
    options: dict[str, Any] = {"D": torch.ones(H), "dt_bias": torch.zeros(H), "dt_softplus": True, "backend": backend}
    return Work(lambda: ssd.ssd_step(state, now[0], now[1], A, now[2], now[3], **options))


def convolution(B: int, L: int, C: int, backend: Any = None) -> Work:
    x, weight, bias = (torch.randn(shape, generator=_generator()) for shape in ((B, L, C), (C, 4), (C,)))
    return Work(lambda: conv.causal_conv1d(x, weight, bias, backend=backend), (x, weight, bias))


def convolution_step(B: int, C: int, backend: Any = None) -> Work:
    x, weight, bias = (torch.randn(shape, generator=_generator()) for shape in ((B, C), (C, 4), (C,)))
    state = conv.conv_state(B, C, 4)
    return Work(lambda: conv.causal_conv1d_step(x, state, weight, bias, backend=backend))


def lif(T: int, M: int, backend: Any = None) -> Work:
    x = current(T, M)
    return Work(lambda: spiking.integrate_and_fire(x, k=0.5, backend=backend)[0], (x,))


def plif(T: int, M: int, backend: Any = None) -> Work:
    """LIF whose 1 / tau is learned, so that its gradient is computed too."""
    x, k = current(T, M), torch.tensor(0.5)
    return Work(lambda: spiking.integrate_and_fire(x, k=k, backend=backend)[0], (x, k))


def ilif(T: int, M: int, backend: Any = None) -> Work:
    x, options = current(T, M), {"k": 0.75, "v_reset": None, "levels": 4, "decay_input": False, "detach_reset": True}
    return Work(lambda: spiking.integrate_and_fire(x, **options, backend=backend)[0], (x,))  # type: ignore[arg-type]


def elastic(T: int, M: int, backend: Any = None) -> Work:
    x, alpha = current(T, M), torch.ones(T)
    return Work(lambda: spiking.elastic(x, alpha, backend=backend), (x, alpha))


def random_graph(N: int, E: int) -> Graph:
    """E drawn edges between N nodes, both ways, and a loop at every node."""
    return neighbourhoods(torch.randint(N, (2, E), generator=_generator()), N)


def graph_convolution(N: int, E: int, C: int) -> Work:
    """One layer, C features to C, with the loops and weights of a GCN."""
    graph, layer, x = random_graph(N, E), GraphConvolution(C, C), torch.randn((1, N, C), generator=_generator())
    return Work(lambda: layer(x, graph), (x, layer.W, layer.b))


def graph_attention(N: int, E: int, C: int) -> Work:
    """The same with one head of attention."""
    graph, layer, x = random_graph(N, E), GraphAttention(C, C), torch.randn((1, N, C), generator=_generator())
    return Work(lambda: layer(x, graph), (x, layer.W, layer.a))


def rows_floor(N: int, E: int, C: int) -> Call:
    """torch's product of a sparse matrix in compressed rows with (N, C), the matrix made beforehand."""
    graph, x = random_graph(N, E), torch.randn((N, C), generator=_generator())
    rows = torch.sparse_csr_tensor(graph.start_N1, graph.j_E, graph.symmetric_weights(), (N, N), check_invariants=False)
    return lambda: rows @ x


def current(T: int, M: int) -> Tensor:
    """Input of T steps to M neurons."""
    return torch.randn((T, M), generator=_generator())


def copy_floor(*shape: int) -> Call:
    """Copy a tensor into one that exists: its input read once, its output written once."""
    x = torch.ones(shape)
    y = torch.empty_like(x)
    return lambda: y.copy_(x)


def exp_floor(*shape: int) -> Call:
    """One torch.exp an element, into a tensor that exists."""
    x = torch.randn(shape, generator=_generator())
    y = torch.empty_like(x)
    return lambda: torch.exp(x, out=y)


def stream_floor(*shape: int) -> Call:
    """Read and write a state once."""
    state = torch.ones(shape)
    return lambda: state.mul_(1.0)


def product_floor(rows: int, P: int, N: int) -> Call:
    """The two products with the state that an SSD scan needs, `rows` P N multiply-adds each, as plain matrix products."""
    x, y, z = torch.randn(rows, P), torch.empty(rows, N), torch.empty(rows, P)
    B, C = torch.randn(P, N), torch.randn(N, P)

    def products() -> None:
        torch.mm(x, B, out=y)
        torch.mm(y, C, out=z)

    return products


def additions() -> Call:
    """A hundred additions of two numbers: what calling torch costs."""
    one, out = torch.ones(1), torch.ones(1)

    def calls() -> None:
        for _ in range(100):
            torch.add(one, one, out=out)

    return calls


def _generator() -> torch.Generator:
    return torch.Generator(torch.get_default_device()).manual_seed(0)
