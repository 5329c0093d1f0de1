"""The table of keras-spiking 0.3.0: a price a synaptic operation and a neuron update, by device.

A spiking device: E = C e_synop rate dt steps + M e_neuron steps; another: every connection and every neuron once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from retable.bench.accountant.census import Census, Neurons, Synapses
from retable.bench.accountant.rules.model import Bill, Model

Device = Literal["cpu", "gpu", "arm", "loihi", "spinnaker", "spinnaker2"]
SPIKING: frozenset[Device] = frozenset(("loihi", "spinnaker", "spinnaker2"))


@dataclass(frozen=True)
class KerasSpiking(Model):
    """Connections count padding; the rate of an input is its mean |value|, so real values count as spikes too."""

    NAME: ClassVar[str] = "keras-spiking"
    TABLE: ClassVar[str] = "keras-spiking"

    device: Device = "loihi"

    def bill(self, census: Census) -> Bill:
        bill = Bill()
        for layer in census.layers:
            if isinstance(layer, Synapses):
                if layer.other is not None:
                    bill.leave_out(layer)
                    continue
                x, steps = layer.input, census.steps(layer)
                events = (x.spikes if x.form in ("binary", "integers") else x.magnitude) / max(1, x.elements)
                connections = layer.whole / steps  # of all samples
                pJ = self.synapses(connections, events, steps)
                bill.charge(layer.layer, synapses=pJ)
            elif isinstance(layer, Neurons):
                steps = census.steps(layer)
                bill.charge(layer.layer, neurons=self.neurons(layer.updates / steps, steps))
        return bill

    def synapses(self, connections: float, events: float, steps: float) -> float:
        """pJ of `connections` over `steps`, with `events` the mean |input| of a step (its rate in Hz times dt)."""
        price = self.table[f"{self.device}_synop"] * connections
        return price * events * steps if self.device in SPIKING else price

    def neurons(self, neurons: float, steps: float) -> float:
        """pJ of their updates."""
        price = self.table[f"{self.device}_neuron"] * neurons
        return price * steps if self.device in SPIKING else price


@dataclass(frozen=True)
class KerasSpikingCPU(KerasSpiking):
    NAME: ClassVar[str] = "keras-spiking-cpu"

    device: Device = "cpu"


@dataclass(frozen=True)
class KerasSpikingGPU(KerasSpiking):
    NAME: ClassVar[str] = "keras-spiking-gpu"

    device: Device = "gpu"


@dataclass(frozen=True)
class KerasSpikingARM(KerasSpiking):
    NAME: ClassVar[str] = "keras-spiking-arm"

    device: Device = "arm"


@dataclass(frozen=True)
class KerasSpikingLoihi(KerasSpiking):
    NAME: ClassVar[str] = "keras-spiking-loihi"

    device: Device = "loihi"


@dataclass(frozen=True)
class KerasSpikingSpiNNaker(KerasSpiking):
    NAME: ClassVar[str] = "keras-spiking-spinnaker"

    device: Device = "spinnaker"


@dataclass(frozen=True)
class KerasSpikingSpiNNaker2(KerasSpiking):
    NAME: ClassVar[str] = "keras-spiking-spinnaker2"

    device: Device = "spinnaker2"


ON_DEVICE: tuple[type[KerasSpiking], ...] = (
    KerasSpikingCPU,
    KerasSpikingGPU,
    KerasSpikingARM,
    KerasSpikingLoihi,
    KerasSpikingSpiNNaker,
    KerasSpikingSpiNNaker2,
)
