"""E. Lemaire et al., An analytical estimation of spiking neural networks energy efficiency (arXiv 2210.13107).

Terms of a layer, over T steps; N inputs and M outputs a step, D products a step, theta spikes in, theta_o out, k kernel,
s stride, F = C_out k^2 weights an input has. A word of a memory costs e(its size), and an event is kept in a FIFO.

| term | spiking | formal |
| --- | --- | --- |
| inputs | theta e(FIFO) | D e(N), linear N e(N) |
| weights, bias | theta F e(W), T M e(bias) | D e(W), M e(bias) |
| potentials | 2 (theta F + T M) e(M) | none |
| outputs | theta_o e(FIFO) | M e(M) |
| operations | theta C_out ceil(k / s)^2 + T M + theta_o additions, T M MACs of a leak | D MACs, M additions |
| addressing | 2 theta MACs and theta F additions, linear theta N_out | N + M + C_out k^2, linear N + M additions |
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Literal

from retable.bench.accountant.census import Census, Neurons, Synapses
from retable.bench.accountant.rules.model import Bill, Model

Width = Literal["as published", "saturation", "linear", "quadratic"]
WORD, KIB = 4, 1024


@dataclass(frozen=True)
class Lemaire(Model):
    """The table above, with the SRAM's line e = 1.09e-5 words bits + 13.2.

    `bits` are those of a word, `fifo` the events that one holds. `sram` packed: a 64-bit access of 10 pJ holds 64 // bits
    words, whatever the size. `add`, `mul` choose how operations cost that are neither 8 nor 32 bits wide: by default as
    those of 32 bits. Real values that enter a layer of a spiking network are charged once, not T times, as in the authors'
    code; sums of spikes count as that many. Products of two activations are left out.
    """

    NAME: ClassVar[str] = "lemaire"
    TABLE: ClassVar[str] = "lemaire-45nm"

    bits: int = 32
    fifo: int = 1000
    sram: Literal["line", "packed"] = "line"
    add: Width | None = None
    mul: Width | None = None

    def word(self, words: float) -> float:
        """e: pJ of an access to a memory of that many words."""
        if self.sram == "packed":
            return self.table["sram_packed"] / (64 // self.bits)
        return self.table["sram_bit"] * words * self.bits + self.table["sram_any"]

    @property
    def prices(self) -> tuple[float, float]:
        """(addition, multiplication)."""
        return self._operation("add", self.add), self._operation("mul", self.mul)

    def _operation(self, kind: str, width: Width | None) -> float:
        at_8, at_32 = self.table[f"{kind}_8"], self.table[kind]
        if width is None:
            return at_8 if self.bits == 8 else at_32
        if width == "saturation":
            return at_8 if self.bits <= 8 else at_32
        if width == "linear":
            return at_8 + (at_32 - at_8) / 24 * (self.bits - 8)
        if width == "quadratic":  # through nothing at 0 bits
            a = (at_32 / 32 - at_8 / 8) / 24
            return (a * self.bits + at_8 / 8 - 8 * a) * self.bits
        return at_32

    def bill(self, census: Census) -> Bill:
        bill = Bill()
        for layer in census.synapses():
            if layer.other is not None:
                bill.leave_out(layer)
            else:
                terms = self._spiking(layer, census) if census.spiking else self._formal(layer, census)
                bill.charge(layer.layer, **{name: pJ * census.samples for name, pJ in terms.items()})
        return bill

    def _formal(self, layer: Synapses, census: Census) -> dict[str, float]:
        g, e, (add, mul) = layer.geometry, self.word, self.prices
        n, m, d = census.inputs(layer), census.outputs(layer), layer.whole / (census.samples * census.steps(layer))
        times = census.steps(layer)
        terms = {
            "inputs": (d if g.kind == "convolution" else n) * e(n),
            "outputs": m * e(m),
            "weights": d * e(g.weights),
            "bias": m * e(g.bias) if g.bias else 0.0,
            "operations": d * (add + mul) + m * add,
            "addressing": self._formal_addressing(layer, n, m) * add,
        }
        return {name: times * pJ for name, pJ in terms.items()}

    def _formal_addressing(self, layer: Synapses, n: float, m: float) -> float:
        g = layer.geometry
        return n + m + (g.channels_out * g.taps if g.kind == "convolution" else 0)

    def _spiking(self, layer: Synapses, census: Census) -> dict[str, float]:
        """Of one sample."""
        g, e, (add, mul) = layer.geometry, self.word, self.prices
        steps, m, samples = census.steps(layer), census.outputs(layer), census.samples
        x, neurons = layer.input, self._neurons(layer)
        real = not layer.spiking
        theta = x.events / samples / steps if real else x.spikes / samples
        fired = neurons.spikes / samples if neurons is not None else 0.0
        leak = neurons is not None and neurons.leaky
        fan = self._fan_out(layer)
        updates = theta * fan * (steps if real else 1) + steps * m
        if real:
            d = layer.whole / (samples * steps)
            share = x.events / max(1, x.elements)
            operations = d * share * (add + mul) + (m + fired) * add + (m * mul if leak else 0.0)
        else:
            operations = (theta * self._reach(layer) + steps * m + fired) * add + (
                steps * m * (add + mul) if leak else 0
            )
        return {
            "inputs": theta * e(self.fifo),
            "outputs": fired * e(self.fifo),
            "weights": theta * fan * e(g.weights),
            "bias": steps * m * e(g.bias) if g.bias else 0.0,
            "potentials": 2 * updates * e(m),
            "operations": operations,
            "addressing": self._addressing(layer, theta, census),
        }

    def _neurons(self, layer: Synapses) -> Neurons | None:
        """Those that are part of the layer; batch norm in between is taken as folded."""
        return layer.neurons

    def _fan_out(self, layer: Synapses) -> int:
        return layer.geometry.fan_out

    def _reach(self, layer: Synapses) -> int:
        return layer.geometry.reach

    def _addressing(self, layer: Synapses, theta: float, census: Census) -> float:
        g, (add, mul) = layer.geometry, self.prices
        if g.kind == "linear":
            return theta * g.channels_out * add
        return theta * (2 * (add + mul) + self._fan_out(layer) * add)


@dataclass(frozen=True)
class LemaireAuthors(Lemaire):
    """The authors' code to the letter (qualia-plugin-snn 2.6.0), where it differs from the equations.

    Convolution addressing without C_out; linear addressing by the spike rate, theta / N N_out; the formal one N N_out;
    groups ignored; neurons behind a batch norm or a sum cost nothing.
    """

    NAME: ClassVar[str] = "lemaire-authors"

    def _neurons(self, layer: Synapses) -> Neurons | None:
        return layer.neurons if layer.neurons is not None and layer.neurons.direct else None

    def _fan_out(self, layer: Synapses) -> int:
        return layer.geometry.channels_out * layer.geometry.taps

    def _reach(self, layer: Synapses) -> int:
        return layer.geometry.reach * layer.geometry.groups

    def _formal_addressing(self, layer: Synapses, n: float, m: float) -> float:
        g = layer.geometry
        return n * m if g.kind == "linear" else n + m + g.channels_out * g.taps

    def _addressing(self, layer: Synapses, theta: float, census: Census) -> float:
        g, (add, mul) = layer.geometry, self.prices
        if g.kind == "linear":
            return theta / census.inputs(layer) * g.channels_out * add
        return theta * (2 * (add + mul) + g.taps * add)


@dataclass(frozen=True)
class LemairePiecewise(Model):
    """SpikingJelly 2.0.0's reading: e is piecewise linear through nothing at size 0, and flat beyond 1 MiB.

    Weights and bias share a memory; real inputs cost dense MACs and reads at every step; no bias, no additions of one.
    """

    NAME: ClassVar[str] = "lemaire-piecewise"
    TABLE: ClassVar[str] = "lemaire-45nm"

    fifo: int = 1000

    def word(self, capacity: float) -> float:
        """pJ of an access of 32 bits to a memory of so many bytes."""
        table = self.table
        points = [
            (0, 0.0),
            (8 * KIB, table["sram_8_KiB"]),
            (32 * KIB, table["sram_32_KiB"]),
            (KIB * KIB, table["sram_1_MiB"]),
        ]
        for (x0, y0), (x1, y1) in pairwise(points):
            if capacity <= x1:
                return y0 + (y1 - y0) * (capacity - x0) / (x1 - x0)
        return points[-1][1]

    def bill(self, census: Census) -> Bill:
        bill = Bill()
        for layer in census.layers:
            if isinstance(layer, Neurons):
                self._neurons(layer, census, bill)
            elif isinstance(layer, Synapses) and layer.other is not None:
                bill.leave_out(layer)
            elif isinstance(layer, Synapses):
                spiking = layer.input.form == "binary"
                (self._spiking if spiking else self._real)(layer, census, bill)
        add, mul = self.table["add"], self.table["mul"]
        for name, counts in bill.counts.items():
            got = lambda kind, counts=counts: counts.get(kind, 0)  # noqa: E731
            bill.charge(name, operations=add * got("ac") + (add + mul) * got("mac"))
            bill.charge(name, addressing=add * got("acc_addr") + (add + mul) * got("mac_addr"))
        return bill

    def _read(self, layer: Synapses, term: str, words: float, capacity: float, bill: Bill) -> None:
        bill.charge(layer.layer, **{term: words * self.word(capacity)})

    def _spiking(self, layer: Synapses, census: Census, bill: Bill) -> None:
        g, spikes = layer.geometry, layer.input.events
        met, bias = spikes * g.fan_out, layer.outputs if g.bias else 0
        conv = g.kind == "convolution"
        bill.count(layer.layer, synop=spikes * g.reach, ac=spikes * g.reach + bias)
        bill.count(layer.layer, acc_addr=met, mac_addr=2 * spikes if conv else 0)
        held = layer.outputs / (layer.calls * census.batch * layer.steps) * self.rows(census) * WORD
        self._read(layer, "inputs", spikes, self.fifo * WORD, bill)
        self._read(layer, "parameters", met + bias, (g.weights + g.bias) * WORD, bill)
        self._read(layer, "potentials", 2 * met, held, bill)

    def _real(self, layer: Synapses, census: Census, bill: Bill) -> None:
        g, conv = layer.geometry, layer.geometry.kind == "convolution"
        bias, once = (layer.outputs if g.bias else 0), g.channels_out * g.taps if conv else 0
        bill.count(layer.layer, mac=layer.whole, ac=bias)
        bill.count(layer.layer, acc_addr=layer.input.elements + layer.outputs + once * self.uses(layer, census))
        part = self.rows(census) / (layer.calls * census.batch) * WORD
        reads = layer.whole if conv else layer.input.elements
        self._read(layer, "inputs", reads, layer.input.elements * part, bill)
        self._read(layer, "parameters", layer.whole + bias, (g.weights + g.bias) * WORD, bill)
        if not census.spiking:
            self._read(layer, "outputs", layer.outputs, layer.outputs * part, bill)

    def _neurons(self, layer: Neurons, census: Census, bill: Bill) -> None:
        held = layer.updates / (layer.calls * census.batch * layer.steps) * self.rows(census) * WORD
        bill.count(layer.layer, ac=layer.events, mac=layer.updates if layer.leaky else 0)
        bill.charge(layer.layer, potentials=2 * layer.updates * self.word(held))
        bill.charge(layer.layer, outputs=layer.events * self.word(self.fifo * WORD))
