"""The quantised twin of a spiking network, and bounds (Yan, Bai, Tang, Wong, arXiv 2409.08290).

A rate-coded network of T steps and an ANN of ceil(log2(T + 1))-bit activations hold the same values; mapping and weights
are the same. No total is offered: the paper's prices of a multiply-accumulate and of SRAM were not read.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from retable.bench.accountant.census import Census
from retable.bench.accountant.rules.figure import Figure
from retable.bench.accountant.rules.model import Bill, Model


def twin_bits(steps: int) -> int:
    """ceil(log2(T + 1)): bits of an activation that T binary steps can say."""
    return math.ceil(math.log2(steps + 1))


def rate_bounds(ann_sparsity: float, steps: int) -> tuple[float, float]:
    """(1 - g) / T <= r <= 1 - g: the spike rate of the network whose ANN has the sparsity g."""
    return (1 - ann_sparsity) / steps, 1 - ann_sparsity


@dataclass(frozen=True)
class Yan(Model):
    """Figures `twin_bits`, `rate` and `movement_crossover`, the rate above which the spikes cost more to move than the twin."""

    NAME: ClassVar[str] = "yan"
    TABLE: ClassVar[str] = "yan-22nm"

    def bill(self, census: Census) -> Bill:
        """Movement alone, over one hop: a spike is a sparse bit."""
        bill = Bill()
        for layer in census.synapses():
            if layer.spiking and layer.other is None:
                bill.charge(layer.layer, movement=self.table["sparse_bit_hop"] * layer.input.spikes)
            else:
                bill.leave_out(layer)
        return bill

    def movement_crossover(self, steps: int) -> float:
        """e_dense ceil(log2(T + 1)) / (e_sparse T)."""
        return self.table["dense_bit_hop"] * twin_bits(steps) / (self.table["sparse_bit_hop"] * steps)

    def figures(self, census: Census) -> dict[str, Figure]:
        spiking = [layer for layer in census.synapses() if layer.spiking and layer.other is None]
        elements = sum(layer.input.elements for layer in spiking)
        if not elements:
            return {}
        steps = round(max(census.steps(layer) for layer in spiking))
        rate = sum(layer.input.spikes for layer in spiking) / elements
        found = {
            "twin_bits": (float(twin_bits(steps)), "bits"),
            "rate": (rate, "spikes/input/step"),
            "movement_crossover": (self.movement_crossover(steps), "spikes/input/step"),
        }
        return {name: Figure(value, unit, self, self.label) for name, (value, unit) in found.items()}
