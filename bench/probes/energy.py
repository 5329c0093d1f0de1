"""Energy: joules during a block, from the counters of the processor packages (RAPL, Linux) or of an NVIDIA GPU (NVML)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")


class Energy:
    """`with Energy(device) as energy: ...`; then `energy.joules` by counter, or None and `energy.reason`.

    The counters see the whole package or GPU, other processes too. On a CUDA device both are read: the host works as well.
    A RAPL counter wraps at its own range; a block is taken to be short enough (minutes) for one wrap at most. Reading a
    GPU has never been tried on one.
    """

    def __init__(self, device: str = "cpu", folder: Path = POWERCAP) -> None:
        zones = sorted(folder.glob("intel-rapl:[0-9]*"))
        self._zones = [zone for zone in zones if zone.name.count(":") == 1]  # two colons: a part of a package
        self._gpu, self._why_not = _gpu_counter(device) if device.startswith("cuda") else (None, "")
        self.joules: dict[str, float] | None = None
        self.reason: str | None = "the block has not ended"

    def __enter__(self) -> Energy:
        self._before = self._read()
        return self

    def __exit__(self, *exception: object) -> None:
        after = self._read()
        if self._why_not:
            self.reason = self._why_not
        elif not self._zones and self._gpu is None:
            self.reason = "no RAPL energy counter on this machine"
        elif self._before is None or after is None:
            self.reason = "the RAPL energy counters cannot be read (they are for root on most systems)"
        else:
            pairs = zip(self._zones, self._before, after, strict=False)
            self.joules, self.reason = {zone.name: _difference(zone, old, new) for zone, old, new in pairs}, None
            if self._gpu is not None:
                self.joules["gpu"] = (after[-1] - self._before[-1]) * 1e-3

    def _read(self) -> list[int] | None:
        """Microjoules of the packages, then millijoules of the GPU."""
        try:
            values = [int((zone / "energy_uj").read_text()) for zone in self._zones]
        except (OSError, ValueError):
            return None
        return values if self._gpu is None else [*values, self._gpu()]


def _gpu_counter(device: str) -> tuple[Callable[[], int] | None, str]:
    """What reads a GPU's total millijoules, or the reason why nothing does."""
    try:
        import pynvml
    except ModuleNotFoundError:
        return None, "GPU energy needs the package nvidia-ml-py"
    try:
        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByIndex(int(device.partition(":")[2] or 0))
        pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except pynvml.NVMLError as error:
        return None, f"NVML gives no energy of {device}: {error}"
    return lambda: int(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)), ""


def _difference(zone: Path, old: int, new: int) -> float:
    if new < old:
        new += int((zone / "max_energy_range_uj").read_text())
    return (new - old) * 1e-6
