"""Energy: joules during a block, from the counters of the processor packages (RAPL, Linux) or of an NVIDIA GPU (NVML).

Counters are polled while the block runs. A reading below the one before is a wrap where the power that this implies is
possible, else the counter was reset, and then there is no total at all. A GPU tells its power too: its integral has to agree
with the counter. What the machine draws when it has nothing to do is measured before the block.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")
POLL_S, IDLE_S = 0.25, 0.5
MOST_WATTS, SHORTEST_S = 5000.0, 0.01
"""No package draws more; shorter times than the second tell nothing of power."""
AGREEMENT, LONG_ENOUGH_S = 0.2, 2.0
"""The largest relative difference of two ways to measure, over blocks that last."""


class CounterError(Exception):
    """A counter that cannot be trusted; the text says why."""


@dataclass(frozen=True)
class Counter:
    """An energy counter: `read` gives units of `joule` joules, and starts anew at `range` units where that is known.

    `watts` is the power that the device states beside it.
    """

    name: str
    read: Callable[[], int]
    joule: float
    range: Callable[[], int] | None = None
    watts: Callable[[], float] | None = None


@dataclass(frozen=True)
class Reading:
    """When (seconds), the counter, and the power where the device tells it."""

    at: float
    count: int
    watts: float | None = None

    @classmethod
    def of(cls, counter: Counter) -> Reading:
        """Raises OSError or ValueError where there is nothing to read."""
        watts = None if counter.watts is None else counter.watts()
        return cls(time.monotonic(), counter.read(), watts)


def joules_of(counter: Counter, readings: Sequence[Reading]) -> float:
    """Joules from the first to the last reading. Raises CounterError after a reset and where two ways disagree."""
    total = sum(_between(counter, a, b) for a, b in pairwise(readings))
    polled = [(b.at - a.at) * (a.watts + b.watts) / 2 for a, b in pairwise(readings) if a.watts and b.watts]
    if len(polled) == len(readings) - 1 and readings[-1].at - readings[0].at >= LONG_ENOUGH_S:
        stated = sum(polled)
        if abs(stated - total) > AGREEMENT * max(stated, total):
            raise CounterError(f"{counter.name} counted {total:.3g} J, but its power adds up to {stated:.3g} J")
    return total


def _between(counter: Counter, before: Reading, after: Reading) -> float:
    units = after.count - before.count
    if units < 0 and counter.range is not None:
        units += counter.range()
        seconds = max(SHORTEST_S, after.at - before.at)
        if units < 0 or units * counter.joule > MOST_WATTS * seconds:
            units = -1
    if units < 0:
        raise CounterError(f"{counter.name} was reset while it was read")
    return units * counter.joule


class Energy:
    """`with Energy(device) as energy: ...`; then `energy.joules` by counter, or None and `energy.reason`.

    The counters see the whole package or GPU, other processes too. On a CUDA device both are read: the host works as well.
    `energy.idle_watts` is the power by counter over `idle_s` seconds before the block (none with 0): what to take off, for
    who wants the block alone. Reading a GPU has never been tried on one.
    """

    def __init__(
        self, device: str = "cpu", folder: Path = POWERCAP, poll_s: float = POLL_S, idle_s: float = IDLE_S
    ) -> None:
        self._counters, self._why_not = _packages(folder), ""
        if device.startswith("cuda"):
            gpu, self._why_not = _gpu(device)
            self._counters += [] if gpu is None else [gpu]
        self._poll_s, self._idle_s = poll_s, idle_s
        self._readings: dict[str, list[Reading]] = {counter.name: [] for counter in self._counters}
        self._failed = ""
        self.joules: dict[str, float] | None = None
        self.idle_watts: dict[str, float] = {}
        self.seconds = 0.0
        self.reason: str | None = "the block has not ended"

    def __enter__(self) -> Energy:
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        if self._counters and not self._why_not:
            self._idle()
            self._read()
            self._thread = threading.Thread(target=self._poll, name="energy", daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._read()
        self.reason = (
            self._why_not or ("" if self._counters else "no RAPL energy counter on this machine") or self._failed
        )
        if self.reason:
            return
        try:
            self.joules = {counter.name: joules_of(counter, self._readings[counter.name]) for counter in self._counters}
            self.reason = None
        except (CounterError, OSError, ValueError) as error:
            self.reason = str(error)
        first, *_, last = next(iter(self._readings.values()))
        self.seconds = last.at - first.at

    def _poll(self) -> None:
        while not self._stop.wait(self._poll_s):
            self._read()

    def _read(self) -> None:
        """One reading of every counter; none at all from the first that fails on."""
        try:
            for counter in self._counters if not self._failed else []:
                self._readings[counter.name].append(Reading.of(counter))
        except (OSError, ValueError):
            self._failed = "the energy counters cannot be read (RAPL's are for root on most systems)"

    def _idle(self) -> None:
        if not self._idle_s:
            return
        try:
            before = [Reading.of(counter) for counter in self._counters]
            time.sleep(self._idle_s)
            after = [Reading.of(counter) for counter in self._counters]
            self.idle_watts = {
                counter.name: _between(counter, a, b) / (b.at - a.at)
                for counter, a, b in zip(self._counters, before, after, strict=True)
            }
        except (CounterError, OSError, ValueError):
            self.idle_watts = {}


def _packages(folder: Path) -> list[Counter]:
    """A RAPL counter a processor package; zones with two colons are parts of one."""
    zones = [zone for zone in sorted(folder.glob("intel-rapl:[0-9]*")) if zone.name.count(":") == 1]
    return [
        Counter(zone.name, _number(zone / "energy_uj"), 1e-6, _number(zone / "max_energy_range_uj")) for zone in zones
    ]


def _number(path: Path) -> Callable[[], int]:
    return lambda: int(path.read_text())


def _gpu(device: str) -> tuple[Counter | None, str]:
    """A GPU's total energy and its power, or the reason why nothing tells them."""
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

    def asked(question: Callable[[object], int]) -> int:
        try:
            return int(question(handle))
        except pynvml.NVMLError as error:
            raise OSError(str(error)) from error

    return Counter(
        "gpu",
        lambda: asked(pynvml.nvmlDeviceGetTotalEnergyConsumption),
        1e-3,
        watts=lambda: asked(pynvml.nvmlDeviceGetPowerUsage) * 1e-3,
    ), ""
