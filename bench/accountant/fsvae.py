"""What the code of the fully spiking VAE counts (arXiv 2110.00375), which PRIME's inpainting half took over: additions and products.

    convolution             adds  sum(input) k^2 C_out / s^2 + outputs
    transposed convolution  adds  sum(input) k^2 C_out s^2 + outputs
    linear                  adds  sum(input) C_out + outputs
    neuron                  adds  inputs,  muls  outputs that are no spike

Its peculiarities stay in: a real-valued input counts by its sum, which may be negative, and not as products; masked synapses
count like the others; borders, normalisation, pooling and readout are not counted. It names no energy.
Modules go by the name of their class; neurons are the modules that ran a neuron operator.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch import Tensor, nn

from retable.bench.accountant.carry import expand
from retable.bench.accountant.marks import Book
from retable.bench.accountant.report import other_figures
from retable.bench.accountant.rules.figure import OPERATIONS, Figure, Rule
from retable.bench.accountant.tally import tally

CONVOLUTIONS = ("Conv1d", "Conv2d", "Conv3d")
TRANSPOSED = ("ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d")


class FsvaeCounter:
    """Adds up over calls."""

    def __init__(self, model: nn.Module, book: Book) -> None:
        self._book = book
        self._counts: Counter[str] = Counter()

    def finished(self, module: nn.Module, inputs: tuple[Any, ...], output: Any, fired: bool, met: int) -> None:
        """One call of a module."""
        if fired:
            spikes = output[0] if isinstance(output, tuple) else output
            self._counts["adds"] += inputs[0].numel()
            self._counts["muls"] += spikes.numel() - round(float(tally(spikes, self._book).events.sum()))
            return
        weight = getattr(module, "weight", None)
        if not isinstance(weight, Tensor) or not inputs or not isinstance(output, Tensor):
            return
        fan = fan_out(type(module).__name__, module, weight)
        if fan is not None:
            self._counts["adds"] += self._sum(inputs[0]) * fan + output.numel()  # type: ignore[assignment]

    def _sum(self, x: Tensor) -> float:
        """Of spikes what is tallied already."""
        mark = self._book.of(x)
        if mark is not None and mark.low >= 0 and mark.scale == 1:
            return float(tally(x, self._book).accumulates.sum())
        return float(x.sum(dtype=torch.float64))

    def figures(self, rule: Rule, samples: int) -> dict[str, Figure]:
        return other_figures(rule, {name: (self._counts[name] / samples, OPERATIONS) for name in ("adds", "muls")})

    def details(self, samples: int) -> dict[str, Any]:
        return {"energy": {"absent": "the count of FSVAE's code is operations alone, without their energy"}}


def fan_out(kind: str, module: Any, weight: Tensor) -> float | None:
    """Additions that a unit of the input's sum costs; None of a module that is not counted."""
    if kind == "Linear":
        return float(len(weight))
    if kind not in CONVOLUTIONS + TRANSPOSED:
        return None
    area = 1
    for stride in expand(module.stride, weight.dim() - 2):
        area *= stride
    taps = weight[0, 0].numel()
    return taps * len(weight) / area if kind in CONVOLUTIONS else float(taps * weight.shape[1] * area)
