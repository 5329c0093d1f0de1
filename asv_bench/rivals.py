"""The libraries that `compare_rivals.py` times beside this project: each builds one call on given data, in its own idiom.

None of them is needed by anything else; `pip install "retable[rivals]"` installs all. Their neurons discretise and reset each
in its own way: what is compared is what a layer of them costs, not what it computes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import kernels
import torch
from kernels import Work
from torch import Tensor


@dataclass(frozen=True)
class Rival:
    """`make(*shape)` raises ImportError where the package is not installed."""

    name: str
    package: str
    make: Callable[..., Work]


def spikingjelly_multi_step(T: int, M: int) -> Work:
    return _spikingjelly(T, M, "m")


def spikingjelly_single_step(T: int, M: int) -> Work:
    return _spikingjelly(T, M, "s")


def _spikingjelly(T: int, M: int, mode: str) -> Work:
    from spikingjelly.activation_based import neuron

    node, x = neuron.LIFNode(tau=2.0, step_mode=mode), kernels.current(T, M)

    def run() -> Tensor:
        node.reset()
        spikes: Tensor = node(x) if mode == "m" else torch.stack([node(x_t) for x_t in x])
        return spikes

    return Work(run, (x,))


def snntorch_leaky(T: int, M: int) -> Work:
    import snntorch

    node, x = snntorch.Leaky(beta=0.5), kernels.current(T, M)

    def run() -> Tensor:
        spikes, v = [], torch.zeros(M)
        for x_t in x:
            spike, v = node(x_t, v)
            spikes.append(spike)
        return torch.stack(spikes)

    return Work(run, (x,))


def norse_lif_box(T: int, M: int) -> Work:
    import norse.torch

    layer, x = norse.torch.Lift(norse.torch.LIFBoxCell()), kernels.current(T, M)
    return Work(lambda: layer(x)[0], (x,))


def sinabs_lif(T: int, M: int) -> Work:
    from sinabs import layers
    from sinabs.activation import SingleSpike

    layer, x = layers.LIF(tau_mem=2.0, spike_fn=SingleSpike), kernels.current(T, M)

    def run() -> Tensor:
        layer.reset_states()
        spikes: Tensor = layer(x.unsqueeze(0))  # batch, then time
        return spikes

    return Work(run, (x,))


def mambapy_pscan(B: int, D: int, L: int, N: int) -> Work:
    from mambapy.pscan import pscan

    u, delta, A, B_, C = kernels.scan_inputs(B, D, L, N)
    inputs = [value.mT.contiguous() for value in (u, delta)] + [A] + [value.mT.contiguous() for value in (B_, C)]

    def run() -> Tensor:
        u, delta, A, B_, C = inputs
        a = torch.exp(delta.unsqueeze(-1) * A)
        b = delta.unsqueeze(-1) * B_.unsqueeze(2) * u.unsqueeze(-1)
        y: Tensor = (pscan(a, b) @ C.unsqueeze(-1)).squeeze(3)
        return y

    return Work(run, inputs)


def geometric_convolution(N: int, E: int, C: int) -> Work:
    return _geometric("GCNConv", N, E, C)


def geometric_attention(N: int, E: int, C: int) -> Work:
    return _geometric("GATConv", N, E, C)


def _geometric(name: str, N: int, E: int, C: int) -> Work:
    """A layer on the edges without their loops, which it adds itself."""
    from torch_geometric import nn

    graph, layer = kernels.random_graph(N, E), getattr(nn, name)(C, C)
    edges = torch.stack([graph.j_E, graph.i_E])[:, graph.i_E != graph.j_E]
    x = torch.randn((N, C), generator=torch.Generator().manual_seed(0))
    return Work(lambda: layer(x, edges), (x, *layer.parameters()))


NEURONS = (
    Rival("SpikingJelly, multi-step", "spikingjelly", spikingjelly_multi_step),
    Rival("SpikingJelly, single-step", "spikingjelly", spikingjelly_single_step),
    Rival("snnTorch Leaky", "snntorch", snntorch_leaky),
    Rival("Norse LIFBox", "norse", norse_lif_box),
    Rival("Sinabs LIF", "sinabs", sinabs_lif),
)
SCANS = (
    Rival("mambapy pscan", "mambapy", mambapy_pscan),
    Rival("published loop", "", kernels.loop),
    Rival("published loop over unbind", "", kernels.unbound_loop),
)
GRAPH_CONVOLUTIONS = (Rival("PyTorch Geometric GCNConv", "torch_geometric", geometric_convolution),)
GRAPH_ATTENTIONS = (Rival("PyTorch Geometric GATConv", "torch_geometric", geometric_attention),)
