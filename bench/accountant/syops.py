"""What syops-counter 0.0.5 reports, its peculiarities included.

A module call whose input has at most two distinct values, both within 0 ... 1, counts as spiking at the rate sum / numel (a
tensor of 0 and 0.5 too), any other at rate 1 as MACs. Padding and biases count, a linear layer's bias once a call; pooling,
normalisation and neurons count an operation an element; products outside of modules are not seen. A ReLU is judged by the
first entry of its output. Modules go by their exact class, so a subclass is not seen; one that two parents share counts
with all its calls in each. Neurons, there the classes of one framework, are here the modules that ran a neuron operator.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from retable.bench.accountant import costs
from retable.bench.accountant.marks import Book
from retable.bench.accountant.report import other_figures
from retable.bench.accountant.rules import Figure, Rule
from retable.bench.accountant.rules.figure import ENERGY, OPERATIONS
from retable.bench.accountant.tally import glances, tally

Counts = tuple[int, Tensor | None]
"""(operations of the call, the tensor whose rate decides; None where the package only adds to the total)."""


class SyopsCounter:
    """Adds up (total, AC, MAC, rate in percent) by module."""

    def __init__(self, model: nn.Module, book: Book) -> None:
        self._model, self._book, self._samples = model, book, 0
        self._sums: dict[nn.Module, list[float]] = {}

    def finished(self, module: nn.Module, inputs: tuple[Any, ...], output: Any, fired: bool, met: int) -> None:
        if module is self._model:
            self._samples += len(inputs[0]) if inputs else 1
        counter = COUNTERS.get(type(module))
        if counter is None and not fired:
            return
        sums = self._sums.setdefault(module, [0.0, 0.0, 0.0, 0.0])
        if counter is None:
            elements = inputs[0].numel()
            _enter(sums, elements, elements, 0, self._rate_of_first(output))
            return
        total, judged = counter(module, inputs, output)
        if judged is None:
            sums[0] += total
            return
        spiking, rate = spike_rate(judged, self._book)
        _enter(sums, total, total * rate if spiking else 0, 0 if spiking else total, rate)

    def _rate_of_first(self, output: Tensor) -> float:
        """The rate of the first entry of a neuron's output, which its tally by step knows already."""
        mark = self._book.of(output)
        if mark is None or (mark.low, mark.high, mark.scale) != (0, 1, 1) or mark.steps != len(output):
            return spike_rate(output[0], self._book)[1]
        return (tally(output, self._book).accumulates[0].float() / output[0].numel()).item()

    def figures(self, rule: Rule, samples: int) -> dict[str, Figure]:
        """The package divides by the samples that it saw itself: the first axis of the model's input."""
        seen = self._samples or samples
        total, ac, mac = (value / seen for value in self._under(self._model)[:3])
        energy, _ = costs.table(costs.DEFAULT).price({"ac": ac, "mac": mac})
        counts = {"total": (total, OPERATIONS), "ac": (ac, OPERATIONS), "mac": (mac, OPERATIONS)}
        params = sum(p.numel() for p in self._model.parameters() if p.requires_grad)
        named = {**counts, "params": (float(params), "parameters"), "energy": (energy, ENERGY)}
        return other_figures(rule, named, costs.DEFAULT)

    def details(self, samples: int) -> dict[str, Any]:
        """Sums over batch and calls by module."""
        names = {module: name for name, module in self._model.named_modules()}
        modules = {names[module]: sums for module, sums in self._sums.items()}
        return {"columns": ["total", "ac", "mac", "rate_percent_sum_over_calls"], "modules": modules}

    def _under(self, module: nn.Module) -> list[float]:
        """Of a module that is counted itself, else of its children."""
        if module in self._sums or type(module) in COUNTERS:
            return self._sums.get(module, [0.0] * 4)
        parts = [self._under(child) for child in module.children()]
        return [sum(part[i] for part in parts) for i in range(4)]


def _enter(sums: list[float], total: float, ac: float, mac: float, rate: float) -> None:
    for i, value in enumerate((total, ac, mac, rate * 100)):
        sums[i] += value


def spike_rate(tensor: Tensor, book: Book) -> tuple[bool, float]:
    """(spiking, rate); what is marked as binary spikes is counted already."""
    entry = book.entry(tensor)
    if entry is not None and (entry.mark.low, entry.mark.high, entry.mark.scale) == (0, 1, 1):
        return True, (tally(tensor, book).accumulates.sum().float() / tensor.numel()).item()
    if not all(map(_two_values, glances(tensor))):
        return False, 1.0
    return True, (tensor.sum() / tensor.numel()).item()


def _two_values(tensor: Tensor) -> bool:
    """Whether there are two values at most, both within 0 ... 1."""
    low, high = tensor.aminmax()
    return bool(low >= 0 and high <= 1 and ((tensor == low) | (tensor == high)).all())


def _convolution(module: Any, inputs: tuple[Any, ...], output: Any) -> Counts:
    x = inputs[0]
    positions = x.shape[0] * math.prod(output.shape[2:])
    fan = math.prod(module.kernel_size) * module.in_channels * (module.out_channels // module.groups)
    bias = module.out_channels * positions if module.bias is not None else 0
    return fan * positions + bias, x


def _linear(module: Any, inputs: tuple[Any, ...], output: Any) -> Counts:
    width = output.shape[-1]
    return inputs[0].numel() * width + (width if module.bias is not None else 0), inputs[0]


def _pool(module: Any, inputs: tuple[Any, ...], output: Any) -> Counts:
    return inputs[0].numel(), inputs[0]


def _norm(module: Any, inputs: tuple[Any, ...], output: Any) -> Counts:
    return inputs[0].numel() * (2 if module.affine else 1), inputs[0]


def _activation(module: Any, inputs: tuple[Any, ...], output: Any) -> Counts:
    return output.numel(), output[0]


def _upsample(module: Any, inputs: tuple[Any, ...], output: Any) -> Counts:
    """The first entry alone."""
    return output[0].numel(), output[0]


def _cell_operations(module: Any, layer: str, bias: bool) -> int:
    total = sum(getattr(module, name + layer).numel() for name in ("weight_ih", "weight_hh"))
    gates = {nn.RNN: 1, nn.RNNCell: 1, nn.GRU: 7, nn.GRUCell: 7, nn.LSTM: 8, nn.LSTMCell: 8}[type(module)]
    biases = sum(len(getattr(module, name + layer)) for name in ("bias_ih", "bias_hh")) if bias else 0
    return int(total + gates * module.hidden_size + biases)


def _recurrent(module: Any, inputs: tuple[Any, ...], output: Any) -> Counts:
    """Batch is taken to be the first axis, time the second."""
    once = sum(_cell_operations(module, f"_l{i}", module.bias) for i in range(module.num_layers))
    return once * inputs[0].shape[0] * inputs[0].shape[1] * (2 if module.bidirectional else 1), None


def _cell(module: Any, inputs: tuple[Any, ...], output: Any) -> Counts:
    return _cell_operations(module, "", module.bias) * inputs[0].shape[0], None


def _attention(module: Any, inputs: tuple[Any, ...], output: Any) -> Counts:
    q, k, v = inputs
    batch, length = (0, 1) if module.batch_first else (1, 0)
    (nq, nk, nv), (dq, dk, dv) = ([x.shape[axis] for x in (q, k, v)] for axis in (length, 2))
    heads = module.num_heads
    total = nq * dq + nq * dq * dq + nk * dk * dk + nv * dv * dv
    if module.in_proj_bias is not None:
        total += (nq + nk + nv) * dq
    total += heads * (nq * nk * (dq // heads) + nq * nk + nq * nk * (dv // heads))
    return (total + nq * dv * (dv + 1)) * q.shape[batch], None


_CLASSES: dict[Callable[..., Counts], tuple[type[nn.Module], ...]] = {
    _convolution: (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d),
    _linear: (nn.Linear,),
    _pool: (
        *(nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d),
        *(nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d),
        *(nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d),
    ),
    _norm: (
        *(nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.GroupNorm),
        *(nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d),
    ),
    _activation: (nn.ReLU, nn.PReLU, nn.ELU, nn.LeakyReLU, nn.ReLU6, nn.GELU),
    _upsample: (nn.Upsample,),
    _recurrent: (nn.RNN, nn.GRU, nn.LSTM),
    _cell: (nn.RNNCell, nn.GRUCell, nn.LSTMCell),
    _attention: (nn.MultiheadAttention,),
}
COUNTERS = {kind: counter for counter, kinds in _CLASSES.items() for kind in kinds}
