"""SpikeSim: convolutions on in-memory crossbars (Yale, ela_spikesim.py).

E = ceil(C_in / X) ceil(C_out / X) sites E_PE a step, with E_PE = control + 5.096 + q k^2 x, q = X / 8 rows of a tile,
control = 157.12 + 4.64 + 397 + q^2 (2.03084 + 0.094245) + 16 q 1.15e-6 + 0.2 q.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from retable.bench.accountant.census import Census, Synapses
from retable.bench.accountant.rules.model import Bill, Model

ROWS_OF_A_TILE = 8


@dataclass(frozen=True)
class SpikeSim(Model):
    """The published model: rate-free. Anything but a two-dimensional convolution without groups is left out.

    `crossbar` is X. The price of `sram` equals an area in the source: use it to reproduce, not to judge.
    """

    NAME: ClassVar[str] = "spikesim"
    TABLE: ClassVar[str] = "spikesim"

    crossbar: int = 64
    device: Literal["rram", "sram"] = "rram"

    @property
    def control(self) -> float:
        """pJ of a patch beside its rows and its neuron."""
        table, q = self.table, self.crossbar / ROWS_OF_A_TILE
        once = table["htree"] + table["fetch"] + table["tile_buffer"]
        return once + q**2 * (table["adc"] + table["mux"]) + q * (16 * table["subtract"] + table["temporary_buffer"])

    def cycle(self, taps: int) -> float:
        """E_PE for a kernel of so many taps."""
        rows = self.crossbar / ROWS_OF_A_TILE * taps
        return self.control + self.table["neuron"] + rows * self.table[f"{self.device}_crossbar"]

    def tiles(self, channels: int) -> int:
        return -(-channels // self.crossbar)

    def bill(self, census: Census) -> Bill:
        bill = Bill()
        for layer in census.synapses():
            g = layer.geometry
            if g.kind != "convolution" or len(g.kernel) != 2 or g.groups != 1:
                bill.leave_out(layer)
                continue
            cycles = self.tiles(g.channels_in) * self.tiles(g.channels_out) * (layer.outputs // g.channels_out)
            bill.count(layer.layer, cycles=cycles)
            self._charge(layer, cycles, bill)
        return bill

    def _charge(self, layer: Synapses, cycles: float, bill: Bill) -> None:
        bill.charge(layer.layer, cycles=cycles * self.cycle(layer.geometry.taps))


@dataclass(frozen=True)
class SpikeSimEvent(SpikeSim):
    """SpikingJelly 2.0.0's own extension by events: ceil(C_out / X) (A control + rows x / 8 X / tile) + tiles Z 5.096.

    A patches of an input tile with a spike, rows with one, Z sites with one in any tile. Real inputs cost the dense model.
    """

    NAME: ClassVar[str] = "spikesim-event"

    def _charge(self, layer: Synapses, cycles: float, bill: Bill) -> None:
        g = layer.geometry
        sites, into, out = layer.outputs // g.channels_out, self.tiles(g.channels_in), self.tiles(g.channels_out)
        widths = [min(self.crossbar, g.channels_in - i * self.crossbar) for i in range(into)]
        seen = layer.patches if layer.input.form == "binary" else None
        patches = seen.active if seen else sites * into
        rows = seen.rows if seen else tuple(sites * width * g.taps for width in widths)
        met = seen.sites if seen else sites
        row = self.table[f"{self.device}_crossbar"] / ROWS_OF_A_TILE
        padded = sum(n * row * self.crossbar / width for n, width in zip(rows, widths, strict=True))
        bill.count(layer.layer, patches=patches, rows=sum(rows), sites=out * met)
        bill.charge(layer.layer, control=out * patches * self.control, crossbar=out * padded)
        bill.charge(layer.layer, neurons=into * out * met * self.table["neuron"])


@dataclass(frozen=True)
class PrimeMacro(SpikeSim):
    """The same parts at the prices of PRIME's macro, which were not found: it has no energy and says why."""

    NAME: ClassVar[str] = "prime-macro"
    TABLE: ClassVar[str] = "prime-40nm"
