"""Spiking networks in the Neuromorphic Intermediate Representation (NIR, Nat. Commun. 15, 8122, 2024), out and back.

A network is a chain of layers: `Conv2d`, `Linear`, `Flatten`, `AvgPool2d`, and the neurons IF, LIF, PLIF, integrator. NIR's
equations are of continuous time; a step of ours is one of Euler's with dt = 1:

    tau dv/dt = (v_leak - v) + r x        LIF: r = 1 where the input decays, r = tau where it does not; v_leak = v_reset
    dv/dt = r x                           IF: r = 1

Its neurons fire above the threshold, ours at it, unless they are strict: the threshold is then written as the largest float32
below. Spikes come back bit by bit. What NIR cannot say is named and refused: soft resets, integer and ternary spikes,
normalisation (fold it), attention, sums of two branches, max pooling.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from retable.models.spiking.neurons import IF, LIF, Integrator, Neuron


class NotInNIRError(ValueError):
    """A layer or an option that the representation, or this reader of it, has no words for."""


class Chain(nn.Sequential):
    """Layers in a row over (T, B, ...): those of images see time and batch as one axis."""

    def forward(self, x: Tensor) -> Tensor:
        for layer in self:
            over = isinstance(layer, nn.Conv2d | nn.AvgPool2d | nn.Flatten)
            x = layer(x.flatten(0, 1)).unflatten(0, x.shape[:2]) if over else layer(x)
        return x


def to_nir(network: nn.Sequential, shape: tuple[int, ...]) -> Any:
    """The `nir.NIRGraph` of a chain of layers for inputs of that shape (C, H, W) or (N,), without time and batch.

    Raises NotInNIRError naming the layer, ModuleNotFoundError without the package `nir` (extra `nir`).
    """
    import nir

    nodes: dict[str, Any] = {"input": nir.Input(input_type=np.array(shape))}
    x = torch.zeros(1, 1, *shape)
    for name, layer in network.named_children():
        before, x = x.shape[2:], Chain(layer)(x)
        nodes[name] = _node(name, layer, tuple(before), tuple(x.shape[2:]))
    nodes["output"] = nir.Output(output_type=np.array(x.shape[2:]))
    names = list(nodes)
    return nir.NIRGraph(nodes=nodes, edges=list(pairwise(names)), type_check=False)


def from_nir(graph: Any) -> Chain:
    """The chain that a graph describes. Raises NotInNIRError for a graph that branches, and for a node it has no layer for."""
    import nir

    following: dict[str, str] = {}
    for before, after in graph.edges:
        if before in following or after in following.values():
            raise NotInNIRError(f"the graph branches at {before!r} or {after!r}: only chains of layers are read")
        following[before] = after
    name = next(name for name, node in graph.nodes.items() if isinstance(node, nir.Input))
    network = Chain()
    while (name := following.get(name, "")) and not isinstance(graph.nodes[name], nir.Output):
        network.add_module(name, _layer(name, graph.nodes[name]))
    return network


def _node(name: str, layer: nn.Module, before: tuple[int, ...], after: tuple[int, ...]) -> Any:
    import nir

    if isinstance(layer, nn.Conv2d) and layer.padding_mode == "zeros" and not isinstance(layer.padding, str):
        bias = np.zeros(layer.out_channels, np.float32) if layer.bias is None else _array(layer.bias)
        return nir.Conv2d(
            before[1:], _array(layer.weight), layer.stride, layer.padding, layer.dilation, layer.groups, bias
        )
    if isinstance(layer, nn.Linear):
        weight = _array(layer.weight)
        return nir.Linear(weight) if layer.bias is None else nir.Affine(weight, _array(layer.bias))
    if isinstance(layer, nn.Flatten) and (layer.start_dim, layer.end_dim) == (1, -1):
        return nir.Flatten(input_type={"input": np.array(before)}, start_dim=0, end_dim=-1)
    if isinstance(layer, nn.AvgPool2d) and layer.count_include_pad and not layer.ceil_mode:
        sizes = (np.array(_pair(value)) for value in (layer.kernel_size, layer.stride, layer.padding))
        return nir.AvgPool2d(*sizes)
    if isinstance(layer, Neuron):
        return _neuron(name, layer, after)
    raise NotInNIRError(f"layer {name}: NIR has no word for {type(layer).__name__}{_hint(layer)}")


def _hint(layer: nn.Module) -> str:
    normed = isinstance(layer, nn.modules.batchnorm._BatchNorm)
    return "; fold it into the layer before" if normed else " with these options" if list(layer.parameters()) else ""


def _neuron(name: str, neuron: Neuron, shape: tuple[int, ...]) -> Any:
    import nir

    options, k = neuron.options, float(neuron.k)
    full: Callable[[float], np.ndarray] = lambda value: np.full(shape, value)  # noqa: E731
    if isinstance(neuron, Integrator):
        tau = 1 / k if k else 1.0
        return nir.LI(full(tau), full(1.0), full(0.0)) if k else nir.I(full(1.0))
    if not isinstance(neuron, IF | LIF) or options["v_reset"] is None:
        what = "a soft reset" if isinstance(neuron, IF | LIF) else type(neuron).__name__
        raise NotInNIRError(f"layer {name}: NIR has no word for {what}; its neurons reset to a potential and fire once")
    threshold, reset = _strict(options), float(options["v_reset"])  # type: ignore[arg-type]
    if not k:
        return nir.IF(full(1.0), full(threshold), full(reset))
    tau = 1 / k
    return nir.LIF(full(tau), full(1.0 if options["decay_input"] else tau), full(reset), full(threshold), full(reset))


def _strict(options: dict[str, Any]) -> float:
    """The threshold that a neuron firing above it needs: v >= a is v > the float32 before a."""
    threshold = np.float32(options["threshold"])
    return float(threshold if options["strict"] else np.nextafter(threshold, np.float32(-np.inf)))


def _layer(name: str, node: Any) -> nn.Module:
    import nir

    if isinstance(node, nir.Conv2d):
        out, into, *kernel = node.weight.shape
        sizes = tuple(kernel), _pair(node.stride), _pair(node.padding), _pair(node.dilation), int(node.groups)
        return _filled(nn.Conv2d(into * int(node.groups), out, *sizes), weight=node.weight, bias=node.bias)
    if isinstance(node, nir.Affine):
        return _filled(nn.Linear(node.weight.shape[1], node.weight.shape[0]), weight=node.weight, bias=node.bias)
    if isinstance(node, nir.Linear):
        return _filled(nn.Linear(node.weight.shape[1], node.weight.shape[0], bias=False), weight=node.weight)
    if isinstance(node, nir.Flatten):
        return nn.Flatten()
    if isinstance(node, nir.AvgPool2d):
        return nn.AvgPool2d(_pair(node.kernel_size), _pair(node.stride), _pair(node.padding))
    if isinstance(node, nir.I) and _one(name, node.r) == 1:
        return Integrator(None)
    if isinstance(node, nir.LI) and (_one(name, node.r), _one(name, node.v_leak)) == (1, 0):
        return Integrator(_one(name, node.tau))
    if isinstance(node, nir.IF) and _one(name, node.r) == 1:
        neuron = IF(_one(name, node.v_threshold), _one(name, node.v_reset))
        neuron.options["strict"] = True
        return neuron
    if isinstance(node, nir.LIF):
        return _leaky(name, node)
    raise NotInNIRError(f"node {name}: no layer here for {type(node).__name__} with these parameters")


def _leaky(name: str, node: Any) -> LIF:
    tau, r, leak, reset = (_one(name, getattr(node, key)) for key in ("tau", "r", "v_leak", "v_reset"))
    if leak != reset or r not in (1.0, tau):
        raise NotInNIRError(f"node {name}: neurons here leak to where they reset, with a resistance of 1 or of tau")
    return LIF(tau, _one(name, node.v_threshold), reset, decay_input=r == 1, strict=True)


def _one(name: str, values: Any) -> float:
    """The value that all neurons of a layer share."""
    found = np.unique(np.asarray(values))
    if len(found) != 1:
        raise NotInNIRError(f"node {name}: its neurons differ from each other; here a layer shares its parameters")
    return float(found[0])


def _pair(value: Any) -> tuple[int, int]:
    values = np.atleast_1d(np.asarray(value)).tolist()
    return (int(values[0]), int(values[-1]))


def _array(tensor: Tensor) -> np.ndarray:
    array: np.ndarray = tensor.detach().cpu().float().numpy()
    return array


def _filled(layer: nn.Module, **values: Any) -> nn.Module:
    with torch.no_grad():
        for name, value in values.items():
            getattr(layer, name).copy_(torch.from_numpy(np.asarray(value, np.float32)))
    return layer


@dataclass(frozen=True)
class FixedPoint:
    """What a layer's weights and the thresholds behind it lose as integers of `bits` times 2^shift.

    Errors are the largest absolute ones; `threshold_error` is None where no neuron follows.
    """

    layer: str
    bits: int
    shift: int
    weight_error: float
    threshold_error: float | None


def fixed_point(graph: Any, bits: int = 8) -> list[FixedPoint]:
    """For each node with weights the finest power of two at which signed integers hold them, and what rounding costs."""
    after = dict(graph.edges)
    found = []
    for name, node in graph.nodes.items():
        weight = getattr(node, "weight", None)
        if weight is None:
            continue
        largest = float(np.abs(weight).max(initial=0.0))
        shift = math.ceil(math.log2(largest / (2 ** (bits - 1) - 1))) if largest else 0
        step = 2.0**shift
        threshold = getattr(graph.nodes.get(after.get(name, ""), None), "v_threshold", None)
        lost = None if threshold is None else float(np.abs(np.round(threshold / step) * step - threshold).max())
        error = float(np.abs(np.round(weight / step) * step - weight).max(initial=0.0))
        found.append(FixedPoint(name, bits, shift, error, lost))
    return found
