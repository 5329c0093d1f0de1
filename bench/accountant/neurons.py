"""Spike statistics of a layer of neurons: rates, sparsity, silent and saturated neurons.

Spikes are (T, B, *neurons), with two axes or fewer (T, *neurons): a neuron is an element behind time and batch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from retable.bench.accountant.marks import Book, Mark
from retable.bench.accountant.tally import EXACT, indicator, tally


@dataclass(frozen=True)
class NeuronRow:
    """One layer over all evaluated samples. Rates and fractions are per neuron and time step.

    `rate` is sum / numel of the |integers| (above 1 is usual for integer spikes), `nonzero` the fraction that is not zero,
    `sparsity` the rest. `silent` is the fraction of the neurons that never fired, `saturated` of those that fired their
    largest value at every step of every sample.
    """

    layer: str
    low: int
    high: int
    steps: int
    neurons: int
    spikes: int
    rate: float
    nonzero: float
    sparsity: float
    silent: float
    saturated: float
    rate_by_step: tuple[float, ...]


class NeuronLedger:
    """Running counts of one layer."""

    def __init__(self, layer: str, mark: Mark) -> None:
        self.layer, self.mark = layer, mark
        self._by_step: dict[int, list[Any]] = {}
        self._neurons: dict[tuple[int, ...], tuple[Tensor, int]] = {}
        self._events = self._accumulates = self._elements = 0

    def add(self, spikes: Tensor, book: Book) -> None:
        if spikes.numel() == 0 or spikes.is_meta:
            return
        others = (0, 1) if spikes.dim() > 2 else (0,)
        sizes = spikes if self.mark.low >= 0 and self.mark.scale is not None else indicator(spikes)
        counts = sizes.sum(others, dtype=torch.promote_types(spikes.dtype, torch.float32))
        times = math.prod(spikes.shape[axis] for axis in others)
        before, seen = self._neurons.get(tuple(counts.shape), (None, 0))
        if (seen + times) * self.mark.bound >= EXACT:  # below, single precision is exact and half as wide
            counts = counts.double()
        self._neurons[tuple(counts.shape)] = counts if before is None else counts.add_(before), seen + times
        found = tally(spikes, book)
        sums = found.accumulates.cpu()
        self._events += round(float(found.events.sum()))
        self._accumulates += round(float(sums.sum()))
        self._elements += spikes.numel()
        by_step = self._by_step.setdefault(len(spikes), [torch.zeros(len(sums), dtype=torch.float64), 0])
        by_step[0] += sums
        by_step[1] += spikes.numel()

    def row(self) -> NeuronRow | None:
        """None where nothing was seen."""
        if not self._elements:
            return None
        silent = sum(counts.numel() - int(counts.count_nonzero()) for counts, _ in self._neurons.values())
        full = sum(int((counts == self.mark.bound * times).count_nonzero()) for counts, times in self._neurons.values())
        neurons = sum(counts.numel() for counts, _ in self._neurons.values())
        steps, (sums, elements) = next(iter(self._by_step.items()))
        several = len(self._by_step) > 1 or steps == 1
        nonzero = self._events / self._elements
        return NeuronRow(
            layer=self.layer,
            low=self.mark.low,
            high=self.mark.high,
            steps=steps,
            neurons=neurons,
            spikes=self._accumulates,
            rate=self._accumulates / self._elements,
            nonzero=nonzero,
            sparsity=1 - nonzero,
            silent=silent / neurons,
            saturated=full / neurons,
            rate_by_step=() if several else tuple((sums * steps / elements).tolist()),
        )
