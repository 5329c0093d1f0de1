"""Times of events as files hold them: brought into order where a few came late, refused where they make no recording."""

from __future__ import annotations

from typing import TYPE_CHECKING

from retable.bench.errors import BenchError

if TYPE_CHECKING:
    import numpy as np

WRAP = 1 << 32
"""Where a 32-bit clock of microseconds begins again, after 71.6 minutes."""
LATE_SHARE = 0.01
"""Of the events; more that come after a later one are no stray events."""


def in_order(t: np.ndarray, name: str, wrap: int = WRAP) -> np.ndarray:
    """int64 times (N,) that never fall, of a clock of `wrap` ticks: it is followed over its wraps, and an event that comes
    late gets the latest time before it, as RVT's preparation of Gen1 does (arXiv 2212.05598).

    Raises BenchError, with the first place, where more than a hundredth would be moved.
    """
    import numpy as np

    times = t.astype(np.int64)
    if len(times) < 2:
        return times
    steps = np.diff(times)
    if not (steps < 0).any():
        return times
    turns = np.cumsum((steps < -(wrap // 2)).astype(np.int64) - (steps > wrap // 2))
    if turns.any() and times[0] > wrap // 2:
        raise BenchError(f"{name}: its times fall from {times[0]} us at once, and nothing tells where it begins")
    times[1:] += turns * wrap
    lifted = np.maximum.accumulate(times.clip(0))
    late = lifted != times
    if late.sum() > max(1, LATE_SHARE * len(times)):
        first = int(np.argmax(late))
        raise BenchError(
            f"{name} is not in the order of time: event {first} of {len(times)} is at {t[first]} us, after"
            f" {lifted[first]} us, and {int(late.sum())} events come late like it"
        )
    return lifted
