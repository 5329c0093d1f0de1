"""Energy: joules of the processor packages during a block, from the RAPL counters of Linux."""

from __future__ import annotations

from pathlib import Path

POWERCAP = Path("/sys/class/powercap")


class Energy:
    """`with Energy() as energy: ...`; then `energy.joules` by package, or None and `energy.reason`.

    The counters see the whole package, other processes too. A counter wraps at its own range; a block is taken to be
    short enough (minutes) for one wrap at most.
    """

    def __init__(self, folder: Path = POWERCAP) -> None:
        zones = sorted(folder.glob("intel-rapl:[0-9]*"))
        self._zones = [zone for zone in zones if zone.name.count(":") == 1]  # two colons: a part of a package
        self.joules: dict[str, float] | None = None
        self.reason: str | None = "the block has not ended"

    def __enter__(self) -> Energy:
        self._before = self._read()
        return self

    def __exit__(self, *exception: object) -> None:
        after = self._read()
        if not self._zones:
            self.reason = "no RAPL energy counter on this machine"
        elif self._before is None or after is None:
            self.reason = "the RAPL energy counters cannot be read (they are for root on most systems)"
        else:
            pairs = zip(self._zones, self._before, after, strict=True)
            self.joules, self.reason = {zone.name: _difference(zone, old, new) for zone, old, new in pairs}, None

    def _read(self) -> list[int] | None:
        try:
            return [int((zone / "energy_uj").read_text()) for zone in self._zones]
        except (OSError, ValueError):
            return None


def _difference(zone: Path, old: int, new: int) -> float:
    if new < old:
        new += int((zone / "max_energy_range_uj").read_text())
    return (new - old) * 1e-6
