"""Operations and bytes: the "simple" model of SpikingJelly 2.0.0.

E = e_mac MAC + e_ac AC + 24.96 pJ for each byte of weights, biases and neurons' states.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from retable.bench.accountant import costs
from retable.bench.accountant.census import Beside, Census, Neurons, Synapses
from retable.bench.accountant.rules.model import Bill, Model

STATE_BYTES = 4


@dataclass(frozen=True)
class SimpleMemory(Model):
    """A layer that binary spikes enter costs an AC and one weight for each (spike, tap) pair; any other its dense MACs.

    A bias is read for each output and step (its addition is free), a neuron's state is read and written once a step.
    Inputs, outputs, currents, pooling and products of two activations move no bytes. Integer spikes are real values here.
    `precision` changes the prices of operations alone; bytes stay those of the tensors.
    """

    NAME: ClassVar[str] = "simple-memory"
    TABLE: ClassVar[str] = "memory-byte"

    precision: Literal["fp32", "fp16", "int8"] = "fp32"

    @property
    def label(self) -> str:
        return f"45nm-{self.precision} + {self.TABLE}"

    def bill(self, census: Census) -> Bill:
        bill = Bill()
        for layer in census.layers:
            if isinstance(layer, Synapses):
                _synapses(layer, bill)
            elif isinstance(layer, Neurons):
                bill.count(layer.layer, ac=_additions(layer) * layer.updates)
                bill.count(layer.layer, state_read=STATE_BYTES * layer.updates, state_write=STATE_BYTES * layer.updates)
            else:
                _beside(layer, self.uses(layer, census), bill)
        prices, byte = costs.table(f"45nm-{self.precision}"), self.table["byte"]
        for name, counts in bill.counts.items():
            got = lambda *kinds, counts=counts: sum(counts.get(kind, 0) for kind in kinds)  # noqa: E731
            bill.charge(name, mac=prices["mac"] * got("mac"), ac=prices["ac"] * got("ac"))
            bill.charge(name, parameters=byte * got("weight_read", "bias_read"))
            bill.charge(name, states=byte * got("state_read", "state_write"))
        return bill


def _synapses(layer: Synapses, bill: Bill) -> None:
    g, binary = layer.geometry, layer.input.form == "binary"
    if layer.other is not None:
        _product(layer, layer.other.form == "binary", bill)
        return
    synops = layer.met_events if binary else 0
    uses = synops if binary else layer.whole
    bill.count(layer.layer, synop=synops, ac=synops, mac=0 if binary else layer.whole)
    bill.count(layer.layer, weight_read=uses * g.word, bias_read=layer.outputs * g.word if g.bias else 0)


def _product(layer: Synapses, other_binary: bool, bill: Bill) -> None:
    """Two binary operands: the sum of the product. One: an AC for each element that its spikes meet, zero or not."""
    assert layer.other is not None
    if layer.input.form == "binary":
        synops = layer.met if other_binary else layer.input.events * layer.sides[0]
    else:
        synops = layer.other.events * layer.sides[1] if other_binary else 0
    real = layer.input.form != "binary" and not other_binary
    bill.count(layer.layer, synop=synops, ac=synops, mac=layer.dense if real else 0)


def _additions(neurons: Neurons) -> int:
    """Additions and subtractions of an update as tensor operations: charge, threshold, reset."""
    return (3 if neurons.leaky else 1) + neurons.fires + (2 if neurons.hard else 1) * neurons.fires


def _beside(layer: Beside, uses: float, bill: Bill) -> None:
    if layer.kind == "average pool":
        bill.count(layer.layer, ac=layer.outputs * (layer.window - 1))
    elif layer.kind == "batch norm":
        bill.count(layer.layer, mac=layer.elements if layer.affine else 0, ac=layer.elements + layer.channels * uses)
    elif layer.kind == "add":
        bill.count(layer.layer, ac=layer.outputs if layer.spikes is None else layer.spikes)
    elif layer.kind == "reduce":
        bill.count(layer.layer, ac=layer.elements - layer.outputs)
