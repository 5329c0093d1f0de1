"""Intel's Loihi by its events: M. Davies et al., IEEE Micro 2018, table 2.

E = 23.6 SynOps + sum_t (81 active_t + 52 inactive_t) + spikes (1.7 + 3 h_x + 4 h_y)   [pJ]
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from retable.bench.accountant.census import Census, Neurons, Synapses
from retable.bench.accountant.rules.model import Bill, Model


@dataclass(frozen=True)
class Loihi(Model):
    """`hops_x`, `hops_y` are the mean hops of a spike between tiles; 0 leaves them out, since they need a placement.

    A neuron that fires in a step counts as active there; the table does not define the word, and all neurons active is at
    most 81 / 52 of their part. Layers that real values enter have no spikes to send: their products are left out.
    """

    NAME: ClassVar[str] = "loihi"
    TABLE: ClassVar[str] = "loihi-2018"

    hops_x: float = 0.0
    hops_y: float = 0.0

    def bill(self, census: Census) -> Bill:
        bill, table = Bill(), self.table
        way = table["spike_in_tile"] + self.hops_x * table["hop_east_west"] + self.hops_y * table["hop_north_south"]
        for layer in census.layers:
            if isinstance(layer, Synapses):
                if layer.spiking and layer.other is None:
                    bill.count(layer.layer, synops=layer.met, spikes=layer.input.spikes)
                    bill.charge(
                        layer.layer, synapses=table["synaptic_operation"] * layer.met, traffic=way * layer.input.spikes
                    )
                else:
                    bill.leave_out(layer)
            elif isinstance(layer, Neurons):
                idle = layer.updates - layer.events
                updates = table["neuron_active"] * layer.events + table["neuron_inactive"] * idle
                bill.charge(layer.layer, neurons=updates)
        return bill
