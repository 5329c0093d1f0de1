"""Wall times of the operators. They compare on one machine only; `figures.py` tracks what compares between machines.

The work is made once a process, in the warm-up: asv would call a `setup` before every timed call.
"""

from __future__ import annotations

from functools import cache

import kernels
from measure import Call


@cache
def _call(name: str, way: str, *shape: int) -> Call:
    call: Call = getattr(getattr(kernels, name)(*shape), way)()
    return call


class Timed:
    number, repeat, rounds, warmup_time = 1, (5, 30, 0.25), 1, 0.05


class SelectiveScan(Timed):
    params = ([64, 256, 1024],)
    param_names = ("L",)

    def time_forward(self, length: int) -> None:
        _call("scan", "forward", 2, 384, length, 16)()

    def time_both(self, length: int) -> None:
        _call("scan", "both", 2, 384, length, 16)()


class Neurons(Timed):
    params = (["lif", "ilif", "elastic"], [4, 16, 64])
    param_names = ("neuron", "T")

    def time_forward(self, neuron: str, steps: int) -> None:
        _call(neuron, "forward", steps, 1 << 14)()

    def time_both(self, neuron: str, steps: int) -> None:
        _call(neuron, "both", steps, 1 << 14)()


class Mamba2(Timed):
    def time_ssd_scan_forward(self) -> None:
        _call("ssd_scan", "forward", 4, 256, 8, 64, 128)()

    def time_ssd_scan_both(self) -> None:
        _call("ssd_scan", "both", 4, 256, 8, 64, 128)()

    def time_ssd_step(self) -> None:
        _call("ssd_step", "forward", 8, 24, 64, 128)()

    def time_convolution_forward(self) -> None:
        _call("convolution", "forward", 4, 256, 1536)()

    def time_convolution_step(self) -> None:
        _call("convolution_step", "forward", 8, 1792)()


class Memory:
    """Peak of the process. Storing all states, or all potentials, adds 201 MB and 268 MB to what is measured now."""

    def peakmem_selective_scan(self) -> None:
        kernels.scan(8, 384, 1024, 16).both()()

    def peakmem_lif(self) -> None:
        kernels.lif(64, 1 << 20).both()()
