"""Time, memory and disk of a forecast in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from retable.bench.run.forecast import Forecast

UNITS = ((86400, "d"), (3600, "h"), (60, "min"))


def amounts(forecast: Forecast) -> str:
    """`about 25 s, 0.6 GB, 12 MB on disk (3 earlier runs of the same)`."""
    at_most, at_least = ("at most", "at least ") if forecast.bound else ("about", "")
    memory = "memory unknown" if forecast.memory is None else f"{at_least}{size(forecast.memory)}"
    disk = "" if not forecast.disk else f", {size(forecast.disk)} on disk"
    return f"{at_most} {duration(forecast.seconds or 0.0)}, {memory}{disk} ({forecast.source})"


def summed(forecasts: Sequence[Forecast]) -> str:
    """The line below all stages."""
    from retable.bench.run.forecast import total

    found, bounded = total(forecasts), sum(forecast.bound for forecast in forecasts)
    parts = [f"about {duration(found.seconds or 0.0)} one after the other"] if bounded < len(forecasts) else []
    parts += [f"{bounded} stage{'s' * (bounded > 1)} of unknown time, up to their limits"] if bounded else []
    parts += [f"{size(found.memory or 0)} at a time", f"{size(found.disk or 0)} on disk"]
    return f"in all: {', '.join(parts)}"


def duration(seconds: float) -> str:
    for least, unit in UNITS:
        if seconds >= 1.5 * least:
            return f"{seconds / least:.3g} {unit}"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"


def size(count: int) -> str:
    for power, unit in ((12, "TB"), (9, "GB"), (6, "MB")):
        if count >= 10**power:
            return f"{count / 10**power:.3g} {unit}"
    return f"{count / 1000:.3g} kB"
