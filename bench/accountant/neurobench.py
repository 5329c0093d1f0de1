"""What NeuroBench 2.3.0 reports (arXiv 2304.04640), its peculiarities included.

A synaptic operation is a non-zero input that meets a non-zero weight of a Linear or Conv layer; biases are none, padding is
none. A call whose inputs are all in {-1, 0, 1} counts as ACs, any other as MACs. `dense` takes all inputs and weights as
non-zero. Products outside of such layers are not seen. Activation sparsity is averaged over batches, over the outputs of
ReLU, Sigmoid and the registered neurons, here the modules that ran a neuron operator. The package adds up in float32; these
sums are exact, so counts above 2^24 can differ in their last digits. Recurrent layers and cells are named as not counted.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch import Tensor, nn

from retable.bench.accountant.marks import Book
from retable.bench.accountant.report import other_figures
from retable.bench.accountant.rules import Figure, Rule
from retable.bench.accountant.rules.figure import BYTES, OPERATIONS
from retable.bench.accountant.synapses import taps
from retable.bench.accountant.tally import EXACT, glances, tally

STATELESS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
RECURRENT = (nn.RNNBase, nn.RNNCellBase)
ACTIVATIONS = (nn.ReLU, nn.Sigmoid)


class NeuroBenchCounter:
    """Adds up effective and dense synaptic operations, and activations batch by batch."""

    def __init__(self, model: nn.Module, book: Book) -> None:
        self._model, self._book = model, book
        self._known: dict[tuple[nn.Module, str], tuple[Tensor, int, int]] = {}
        self._layers, self._others = _found(model, (*STATELESS, *RECURRENT)), _found(model, ACTIVATIONS)
        self._macs = self._acs = self._dense = 0
        self._skipped: Counter[str] = Counter()
        self._zeros = self._activations = 0
        self._sparsity, self._batches = 0.0, 0

    def finished(self, module: nn.Module, inputs: tuple[Any, ...], output: Any, fired: bool, met: int) -> None:
        """`met` are the products of the call whose input is not zero."""
        times = self._layers[module] if isinstance(module, (*STATELESS, *RECURRENT)) else 0
        if times and isinstance(module, RECURRENT):
            self._skipped[type(module).__name__] += 1
        elif times:
            x = inputs[0]
            size: int = module.weight.numel()  # type: ignore[operator]
            effective = times * (met if self._used(module, "weight") == size else effective_operations(module, x))
            if not self._ternary(x):
                self._macs += effective
            else:
                self._acs += effective
            self._dense += times * dense_operations(module, x, output)
        if (fired or isinstance(module, ACTIVATIONS)) and self._others[module]:
            first = output[0] if isinstance(output, tuple) else output
            self._activations += self._others[module] * first.numel()
            self._zeros += self._others[module] * (first.numel() - self._nonzero(first))
        if module is self._model:
            batch = len(inputs[0]) if inputs else 1
            self._sparsity += batch * (self._zeros / self._activations if self._activations else 0.0)
            self._batches += batch
            self._zeros = self._activations = 0

    def _used(self, layer: nn.Module, name: str) -> int:
        """Elements of a weight that are not zero, counted once for each change of it."""
        weight: Tensor = getattr(layer, name)
        known = self._known.get((layer, name))
        version = -1 if weight.is_inference() else weight._version  # tensors of inference mode change unseen
        if known is None or known[0] is not weight or known[1] != version or version < 0:
            known = self._known[layer, name] = weight, version, int(weight.detach().count_nonzero())
        return known[2]

    def _ternary(self, x: Tensor) -> bool:
        """Whether all values are -1, 0 or 1."""
        mark = self._book.of(x)
        if mark is not None and mark.scale == 1 and mark.bound <= 1:
            return True
        return all(not bool(((part != 0) & (part != 1) & (part != -1)).any()) for part in glances(x))

    def _nonzero(self, x: Tensor) -> int:
        if self._book.of(x) is None:
            return int(torch.count_nonzero(x))
        return round(float(tally(x, self._book).events.sum()))

    def figures(self, rule: Rule, samples: int) -> dict[str, Figure]:
        """Its names in lower case; a sparsity of nothing is left out."""
        counts = {
            "effective_macs": (self._macs / samples, OPERATIONS),
            "effective_acs": (self._acs / samples, OPERATIONS),
            "dense": (self._dense / samples, OPERATIONS),
            "footprint": (float(_footprint(self._model)), BYTES.removesuffix("/sample")),
            "parameter_count": (float(sum(p.numel() for p in self._model.parameters())), "parameters"),
        }
        if self._batches:
            counts["activation_sparsity"] = (self._sparsity / self._batches, "fraction")
        zeros, weights = self._zero_weights(self._model)
        if weights:
            # the package rounds a float32 quotient
            counts["connection_sparsity"] = (round((torch.tensor(zeros) / weights).item(), 4), "fraction")
        return other_figures(rule, counts)

    def _zero_weights(self, model: nn.Module) -> tuple[int, int]:
        """(zeros, weights) of layers without children, once for each parent."""
        zeros = weights = 0
        for module in model.children():
            if list(module.children()):
                inner = self._zero_weights(module)
                zeros, weights = zeros + inner[0], weights + inner[1]
                continue
            recurrent = isinstance(module, RECURRENT)
            names = [name for name, _ in module.named_parameters()] if recurrent else ["weight"]
            for name in names if recurrent or isinstance(module, STATELESS) else ():
                size = getattr(module, name).numel()
                zeros, weights = zeros + size - self._used(module, name), weights + size
        return zeros, weights

    def details(self, samples: int) -> dict[str, Any]:
        why = "potentials are not kept by a neuron operator that returns its spikes alone"
        return {"not_counted": dict(self._skipped), "membrane_updates": {"absent": why}}


def _found(model: nn.Module, kinds: tuple[type[nn.Module], ...]) -> Counter[nn.Module]:
    """How often the package comes across each module: once for each parent, not the model itself, not inside `kinds`."""
    found: Counter[nn.Module] = Counter()
    for child in model.children():
        found[child] += 1
        if not isinstance(child, kinds):
            found += _found(child, kinds)
    return found


def effective_operations(layer: Any, x: Tensor) -> int:
    """Pairs of a non-zero input and a non-zero weight: one output channel a group, whose weights count the non-zero ones."""
    used = layer.weight.detach() != 0
    fan = used.unflatten(0, (getattr(layer, "groups", 1), -1)).sum(1)
    largest = layer.weight.numel()
    work = torch.float32 if largest < EXACT else torch.float64
    ones = (x.detach() != 0).to(work)
    if isinstance(layer, nn.Linear):
        return int((ones.flatten(0, -2).sum(0, dtype=torch.float64) * fan[0]).sum())
    return int(layer._conv_forward(ones, fan.to(work), None).sum(dtype=torch.float64))


def dense_operations(layer: Any, x: Tensor, out: Tensor) -> int:
    if isinstance(layer, nn.Linear):
        return x.numel() * layer.out_features
    axes = len(layer.kernel_size)
    if layer.padding_mode != "zeros" or isinstance(layer.padding, str):
        return int(
            layer._conv_forward(torch.ones_like(x), torch.ones_like(layer.weight), None).sum(dtype=torch.float64)
        )
    seen = 1
    for i, (n, o) in enumerate(zip(x.shape[-axes:], out.shape[-axes:], strict=True)):
        seen *= sum(taps(n, o, layer.kernel_size[i], layer.stride[i], layer.padding[i], layer.dilation[i]))
    batch = x.shape[0] if x.dim() == axes + 2 else 1
    return batch * layer.in_channels * (layer.out_channels // layer.groups) * seen


def _footprint(model: nn.Module) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in (*model.parameters(), *model.buffers()))
