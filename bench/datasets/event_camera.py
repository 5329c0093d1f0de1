"""An event camera in whole numbers, so that its events are the same on every machine.

A pixel emits an event when its log intensity has moved by its threshold away from what it was at its last event. It is then
blind until one picture's time has passed and starts from the intensity at that moment. Between two pictures the log
intensity is a straight line.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

THRESHOLD, LEAST_THRESHOLD = 0.2, 0.05
"""Contrast threshold in units of log intensity: mean and least value."""
AMBIENT = 0.3
"""Light of a black pixel as a share of the light that white adds."""
PLACES = 1 << 8
"""Positions a pixel for interpolation."""
GREYS = 255 << 4
"""Largest interpolated grey level: sixteen steps a level."""
UNIT = 1 << 14
"""Integer steps of one unit of log intensity."""
TICKS = 1000
"""Microseconds between two pictures, unless said."""


def watch(
    pictures: Iterable[np.ndarray], falling: np.ndarray, rising: np.ndarray, ticks: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pixel, time in microseconds from the first picture on, and whether it rose, of each event; pictures in turn.

    A picture is int32 (P,) log intensities in units of 1/UNIT, `ticks` microseconds after the one before. `falling` and
    `rising` are the pixels' thresholds (P,), both positive. Within a picture's time events are ordered by pixel.
    """
    import numpy as np

    frames = iter(pictures)
    before = next(frames)
    falling, start = -falling, before.copy()  # what each pixel compares with
    blind = np.empty(0, np.intp)  # pixels whose refractory time ends before the next picture ...
    rest = np.empty(0, np.int32)  # ... and the share of the interval by then, in ticks
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for number, now in enumerate(frames):
        start[blind] = before[blind] + (now[blind] - before[blind]) * rest // ticks
        moved = now - start
        fired = np.flatnonzero((moved >= rising) | (moved <= falling))
        up = moved[fired] > 0
        goal = start[fired] + np.where(up, rising[fired], falling[fired])
        # For a pixel just awake the line is the one from its waking.
        awake = np.zeros(len(moved), np.int32)
        awake[blind] = rest
        from_, origin = awake[fired], np.where(awake[fired] > 0, start[fired], before[fired])
        passed = from_ + (ticks - from_) * (goal - origin) // (now[fired] - origin)
        found.append((fired, number * ticks + passed, up))
        before, blind, rest = now, fired, passed.astype(np.int32)
    pixel, time, rose = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return pixel, time, rose


@lru_cache(maxsize=1)
def log_table() -> np.ndarray:
    """Log intensity of each grey level, int32 (GREYS + 1,), in units of 1/UNIT."""
    import numpy as np

    return np.array([round(UNIT * math.log(AMBIENT + grey / GREYS)) for grey in range(GREYS + 1)], dtype=np.int32)


def thresholds_of(key: tuple[int, ...], shape: tuple[int, ...], mismatch: float) -> np.ndarray:
    """Thresholds of pixels, int32 of a shape, in units of 1/UNIT; `mismatch` is their standard deviation."""
    import numpy as np

    spread = np.random.default_rng(key).normal(THRESHOLD, mismatch, shape)
    return np.rint(spread.clip(LEAST_THRESHOLD) * UNIT).astype(np.int32)
