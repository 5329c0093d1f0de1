"""NeuroMC: a dense accelerator for training and running spiking networks (Nat. Commun. 2026; dayanhn/NeuroMC 712c66f4).

Energy follows from loops alone, spikes play no part. A product of B T rows, C channels in, K out, OY OX outputs, FY FX taps:
m MACs, O outputs, W weights, c = ceil(C / 16) FY FX partial sums,

    m core + m (2 R_in + 3 R) - O R + 2 W R + O (c - 1) R + w W + O c s_in + o O (2 c - 1)

with R a 16-bit register, R_in one of the input's width, and s_in, w, o a word of the input's, weights' and outputs' SRAM.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from retable.bench.accountant.census import Beside, Census, Neurons, Synapses
from retable.bench.accountant.costs import CostTable
from retable.bench.accountant.rules.model import Bill, Model

LANES = 16
"""Input channels that a core sums at once."""


@dataclass(frozen=True)
class Prices:
    """pJ of a MAC with a spike and with a number, of a register, and of a word of each SRAM."""

    table: CostTable

    @property
    def spike_mac(self) -> float:
        return self.table["add"] + self.table["mux"]

    @property
    def mac(self) -> float:
        return self.table["add"] + self.table["mul"]

    def register(self, bits: Literal[1, 16, 32]) -> float:
        """The source scales a register by 2 / 7.1; one of 32 bits is two of 16."""
        return self.table["register_1" if bits == 1 else "register_16"] * max(1, bits // 16) / 7.1 * 2

    def wide(self, memory: str) -> float:
        """A 16-bit word of a memory 256 bits wide, or a bit of one 16 bits wide."""
        return self.table[memory] / 16


@dataclass(frozen=True)
class Product:
    """Loops of a convolution or a matrix product: `sites` are B T OY OX; `outputs` and `weights` are numbers of values."""

    sites: float
    c: int
    k: int
    taps: int
    outputs: float
    weights: float
    spikes: bool

    @property
    def macs(self) -> float:
        return self.sites * self.c * self.k * self.taps


def forward(p: Product, price: Prices) -> dict[str, float]:
    """FE: `mac` and `base_memory`."""
    table, R = price.table, price.register(16)
    R_in, s_in = (price.register(1), table["spikes"]) if p.spikes else (R, table["weights"])
    return _product(p, p.c, price, (price.spike_mac if p.spikes else price.mac, R_in, s_in))


def backward(p: Product, price: Prices) -> dict[str, float]:
    """BE, the gradient of the input: p.outputs are its elements, p.sites those of the layer's output."""
    return _product(p, p.k, price, (price.mac, price.register(16), price.table["outputs"]))


def _product(p: Product, summed: int, price: Prices, core: tuple[float, float, float]) -> dict[str, float]:
    table, R = price.table, price.register(16)
    mac, R_in, s_in = core
    m, out, W, c = p.macs, p.outputs, p.weights, math.ceil(summed / LANES) * p.taps
    registers = m * (2 * R_in + 3 * R) - out * R + 2 * W * R + out * (c - 1) * R
    sram = table["weights"] * W + out * c * s_in + table["outputs"] * out * (2 * c - 1)
    return {"mac": m * mac, "base_memory": registers + sram}


def weight_gradient(p: Product, price: Prices) -> dict[str, float]:
    """WE: p.outputs are the weights."""
    table, R = price.table, price.register(16)
    mac, R_in, s_in = (
        (price.spike_mac, price.register(1), table["spikes"]) if p.spikes else (price.mac, R, table["outputs"])
    )
    m, out = p.macs, p.outputs
    shared = lambda lanes: -(-m // min(lanes, LANES))  # noqa: E731 - reads that a row or column of cores shares
    registers = m * (2 * R_in + 2 * R) + out * R + (m - out) * R + m * R
    sram = shared(p.k) * s_in + shared(p.c) * table["outputs"] + out * table["weights"]
    return {"mac": m * mac, "base_memory": registers + sram}


def neuron(updates: float, price: Prices, author: bool = True) -> dict[str, float]:
    """A neuron forward: mux, addition, multiplication and three comparisons; current, potential, spike, mask."""
    t, R, R1 = price.table, price.register(16), price.register(1)
    compute = t["mux"] + t["add"] + t["mul"] + 3 * t["comp"]
    memory = 2 * (t["outputs"] + price.wide("potentials") + price.wide("masks") + 2 * R + R1) + price.wide("masks") + R1
    round_more = 4 * R + 3 * R1 if author else 0.0
    return {"extra_compute": updates * compute, "extra_memory": updates * (memory + round_more)}


def neuron_backward(inputs: float, price: Prices, author: bool = True) -> dict[str, float]:
    t, R, R1 = price.table, price.register(16), price.register(1)
    compute = t["mux"] + 2 * t["add"] + 4 * t["mul"]
    reads = t["outputs"] + 2 * price.wide("potentials") + 2 * price.wide("masks") + 3 * R + 2 * R1
    writes = price.wide("potentials") + R
    less = t["spikes"] - 4 * R if author else 0.0
    return {"extra_compute": inputs * compute, "extra_memory": inputs * (reads + writes - less)}


def batch_norm(elements: float, channel_steps: float, price: Prices) -> dict[str, float]:
    """`elements` k, `channel_steps` t = C T."""
    table, k, t = price.table, elements, channel_steps
    compute = table["add"] * (3 * k + 2 * t) + table["mul"] * (3 * k + 4 * t) + table["sqrt"] * t
    read, write = (price.wide(name) + price.register(16) for name in ("norm_read", "norm_write"))
    return {"extra_compute": compute, "extra_memory": (6 * t + 2 * k) * read + (3 * t + 2 * k) * write}


def batch_norm_backward(elements: float, channel_steps: float, price: Prices) -> dict[str, float]:
    table, k, t = price.table, elements, channel_steps
    compute = table["add"] * 7 * k + table["mul"] * (3 * k + 22 * t)
    read, write = (price.wide(name) + price.register(16) for name in ("norm_read", "norm_write"))
    return {"extra_compute": compute, "extra_memory": (8 * k + 8 * t) * read + (2 * k + 5 * t) * write}


def adam(vectors: float, matrices: float, price: Prices) -> dict[str, float]:
    """A step over parameters of one axis (two tensors of `vectors` in all: scale and shift) and of several."""
    table, R = price.table, price.register(32)
    compute = (
        table["add"] * (8 * vectors + 4 * matrices)
        + table["mul"] * (22 * vectors + 11 * matrices)
        + table["sqrt"] * (2 * vectors + matrices)
    )
    numbers = 2 * vectors + matrices
    read, write = (2 * price.wide(name) + R for name in ("optimizer_read", "optimizer_write"))
    return {"extra_compute": compute, "extra_memory": numbers * (6 * read + 5 * write)}


def sgd(
    parameters: float, price: Prices, momentum: bool = False, weight_decay: bool = False, first: bool = False
) -> dict[str, float]:
    """A step; `first` has no momentum to read yet."""
    table, kept = price.table, momentum and not first
    rounds = 1 + weight_decay + kept
    read, write = (2 * price.wide(name) for name in ("optimizer_read", "optimizer_write"))
    compute = rounds * parameters * (table["add"] + table["mul"])
    return {"extra_compute": compute, "extra_memory": parameters * ((2 + kept) * read + (1 + momentum) * write)}


@dataclass(frozen=True)
class NeuroMC(Model):
    """`phase` training adds the gradients of all layers (of the inputs of all but the first), but no optimizer's step.

    Weights and the statistics of batch norm are read once a sample (`as_run`: once a call). ReLU, pooling, biases and
    residual additions cost nothing.
    """

    NAME: ClassVar[str] = "neuromc"
    TABLE: ClassVar[str] = "neuromc"

    phase: Literal["inference", "training"] = "inference"

    @property
    def prices(self) -> Prices:
        return Prices(self.table)

    def bill(self, census: Census) -> Bill:
        bill, price, first = Bill(), self.prices, True
        for layer in census.layers:
            terms: list[dict[str, float]] = []
            if isinstance(layer, Synapses):
                terms = [forward(p, price) for p in self.products(layer, census)]
                if self.phase == "training":
                    terms += self._gradients(layer, census, first)
                first = False
            elif isinstance(layer, Neurons):
                terms = [neuron(layer.updates, price, self._author)]
                if self.phase == "training":
                    terms.append(neuron_backward(layer.updates, price, self._author))
            elif isinstance(layer, Beside) and layer.kind == "batch norm":
                t = layer.channels * self._norm_steps(layer, census)
                terms = [batch_norm(layer.elements, t, price)]
                if self.phase == "training":
                    terms.append(batch_norm_backward(layer.elements, t, price))
            for term in terms:
                bill.charge(layer.layer, **term)
        return bill

    @property
    def _author(self) -> bool:
        return True

    def products(self, layer: Synapses, census: Census) -> list[Product]:
        """The loops of a layer; groups are loops of their own."""
        g = layer.geometry
        sites = layer.outputs / g.channels_out
        read = g.weights * self._reads(layer, census) if layer.other is None else layer.other.elements
        spikes = layer.input.form == "binary"
        return [Product(sites, g.channels_in // g.groups, g.channels_out, max(1, g.taps), layer.outputs, read, spikes)]

    def _reads(self, layer: Synapses, census: Census) -> float:
        """How often all weights are read."""
        return layer.calls if self.as_run else census.samples

    def _norm_steps(self, layer: Beside, census: Census) -> float:
        """Steps of batch norm's statistics, summed over calls or samples."""
        rows = layer.rows
        return rows / census.batch if self.as_run else rows

    def _gradients(self, layer: Synapses, census: Census, first: bool) -> list[dict[str, float]]:
        found = []
        for p in self.products(layer, census):
            if not first:
                found.append(backward(replace(p, outputs=layer.input.elements), self.prices))
            found.append(weight_gradient(replace(p, outputs=p.weights, weights=p.outputs), self.prices))
        return found


@dataclass(frozen=True)
class NeuroMCSpikingJelly(NeuroMC):
    """SpikingJelly 2.0.0's reading: weights are read once a call, groups are ignored, a linear layer on tokens counts twice,
    once without them, and a neuron lacks one round of registers.
    """

    NAME: ClassVar[str] = "neuromc-spikingjelly"

    as_run: bool = True

    @property
    def _author(self) -> bool:
        return False

    def products(self, layer: Synapses, census: Census) -> list[Product]:
        g = layer.geometry
        (p,) = super().products(layer, census)
        whole = replace(p, c=g.channels_in)
        rows = layer.steps * layer.calls * census.batch  # steps and samples, without tokens
        return [whole] if g.kind != "linear" or p.sites == rows else [whole, replace(whole, sites=rows)]
