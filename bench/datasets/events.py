"""Recordings of event cameras: what one is, its frames, and N-MNIST's files and folders (arXiv 1507.07629).

An event says that the log intensity at a pixel rose (polarity 1) or fell (0) by a threshold. Frames count the events of T
equal shares of the recording, channel 0 the falling and channel 1 the rising ones.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from retable import contents
from retable.bench.datasets.event_times import in_order
from retable.bench.datasets.files import listed
from retable.bench.errors import BenchError, MissingDataError

if TYPE_CHECKING:
    import numpy as np

    from retable.bench.datasets.images import ImageData

EVENT_TYPES = {"t": "int64", "x": "int16", "y": "int16", "p": "int8"}

SENSOR = 34
"""Pixels a side that N-MNIST's recordings cover."""

EVENT_BYTES = 5
LAST_TIME = 2**23 - 1
"""Microseconds that an N-MNIST event can hold."""
OVERFLOW_ROW, OVERFLOW_TIME = 240, 2**13
"""An event in this row is no event: it adds this many microseconds to all that follow."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Events:
    """A recording in the order of time: t int64 microseconds, x and y int16 pixels, p int8 polarity, each (N,)."""

    t: np.ndarray
    x: np.ndarray
    y: np.ndarray
    p: np.ndarray

    def __post_init__(self) -> None:
        for name, kind in EVENT_TYPES.items():
            array = getattr(self, name)
            if array.dtype != kind or array.shape != (len(self.t),):
                raise ValueError(f"{name} of the events is {array.dtype} {array.shape}, not {kind} ({len(self.t)},)")
        if len(self) and (min(self.t[0], self.x.min(), self.y.min(), self.p.min()) < 0 or self.p.max() > 1):
            raise ValueError("events need times and places of at least 0 and polarities of 0 or 1")
        if (self.t[1:] < self.t[:-1]).any():
            raise ValueError("events must be in the order of their time")

    def __len__(self) -> int:
        return len(self.t)


def to_frames(events: Events, steps: int, height: int = SENSOR, width: int = SENSOR) -> np.ndarray:
    """uint8 (T, 2, H, W) counts; the time from the first event to the last is cut into T equal shares.

    Every event lies in exactly one share; a count above 255 stays 255. Raises ValueError for an event off the sensor.
    """
    import numpy as np

    shape = (steps, 2, height, width)
    if not len(events):
        return np.zeros(shape, np.uint8)
    if events.x.max() >= width or events.y.max() >= height:
        raise ValueError(f"an event at ({events.x.max()}, {events.y.max()}) is off a sensor of {width}x{height} pixels")
    step = (events.t - events.t[0]) * steps // (events.t[-1] - events.t[0] + 1)
    place = ((step * 2 + events.p) * height + events.y) * width + events.x  # int64, as the times are
    counts = np.bincount(place, minlength=steps * 2 * height * width)
    return counts.clip(max=255).astype(np.uint8).reshape(shape)


def framed(frames: np.ndarray, size: int) -> np.ndarray:
    """The centred `size` x `size` pixels of frames (..., H, W): cut off, or framed with pixels without events."""
    import numpy as np

    cut = [max(0, (side - size) // 2) for side in frames.shape[-2:]]
    frames = frames[..., cut[0] : cut[0] + size, cut[1] : cut[1] + size]
    lack = [size - side for side in frames.shape[-2:]]
    before = [(0, 0)] * (frames.ndim - 2)
    return np.pad(frames, [*before, *((n // 2, n - n // 2) for n in lack)])


def encode_nmnist(events: Events) -> bytes:
    """Five bytes an event: x, y, then polarity in the highest bit and 23 bits of time, most significant first.

    Raises ValueError for what these cannot hold: times above 8.4 s, places above 255 or in row 240.
    """
    import numpy as np

    if len(events) and (events.t[-1] > LAST_TIME or max(events.x.max(), events.y.max()) > 255):
        raise ValueError(f"N-MNIST's format holds times up to {LAST_TIME} us and places up to 255")
    if (events.y == OVERFLOW_ROW).any():
        raise ValueError(f"N-MNIST's format has no row {OVERFLOW_ROW}: it marks an overflow of the time")
    t = events.t
    columns = (events.x, events.y, (events.p.astype(np.int64) << 7) | t >> 16, t >> 8 & 255, t & 255)
    return np.stack(columns, axis=1).astype(np.uint8).tobytes()


def decode_nmnist(content: bytes, source: str = "an N-MNIST recording") -> Events:
    """The events of a `.bin` file, a few late ones at the latest time before them. Raises BenchError, naming `source`."""
    import numpy as np

    if len(content) % EVENT_BYTES:
        raise BenchError(f"{source} has {len(content)} bytes, which is no whole number of {EVENT_BYTES}-byte events")
    x, y, high, middle, low = np.frombuffer(content, np.uint8).reshape(-1, EVENT_BYTES).T.astype(np.int64)
    overflow = y == OVERFLOW_ROW
    t = ((high & 127) << 16 | middle << 8 | low) + OVERFLOW_TIME * np.cumsum(overflow)
    real = ~overflow
    values = {"t": t, "x": x, "y": y, "p": high >> 7}
    found = {name: values[name][real].astype(kind) for name, kind in EVENT_TYPES.items()}
    return Events(**{**found, "t": in_order(found["t"], source, wrap=1 << 62)})  # overflows are counted: no wrap


@dataclass(frozen=True, kw_only=True, eq=False)
class RecordingSplit:
    """Labelled `.bin` files as frames (T, 2, size, size), read when they are asked for."""

    folder: Path
    files: tuple[str, ...]
    labels: np.ndarray
    steps: int
    size: int

    augments: ClassVar[bool] = False

    def __len__(self) -> int:
        return len(self.files)

    def images(self, indices: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
        """uint8 (N, T, 2, size, size). Raises BenchError, naming the file, for one that is no recording."""
        import numpy as np

        frames = np.empty((len(indices), self.steps, 2, self.size, self.size), np.uint8)
        for row, index in enumerate(indices):
            frames[row] = self._frames(self.folder / self.files[index])
        return frames

    def check(self) -> None:
        """Every recording, remembered. Raises BenchError naming the first file that is none."""
        paths = [self.folder / file for file in self.files]

        def check() -> None:
            for path in paths:
                on_sensor(decode_nmnist(path.read_bytes(), str(path)), path)

        contents.once("n-mnist 1", paths, check)

    def _frames(self, path: Path) -> np.ndarray:
        events = on_sensor(decode_nmnist(path.read_bytes(), str(path)), path)
        return framed(to_frames(events, self.steps), self.size)


def on_sensor(events: Events, path: Path) -> Events:
    """These events. Raises BenchError, naming the file, for one off N-MNIST's sensor."""
    if len(events) and (events.x.max() >= SENSOR or events.y.max() >= SENSOR):
        raise BenchError(
            f"{path} is no recording of N-MNIST: an event at ({events.x.max()}, {events.y.max()}) is off a sensor of"
            f" {SENSOR}x{SENSOR} pixels"
        )
    return events


@dataclass(frozen=True, kw_only=True)
class NMnist:
    """N-MNIST as it is published: `Train/<digit>/*.bin` and `Test/<digit>/*.bin` below `$BENCH_DATA/<root>`.

    `steps` frames a recording, the sensor's 34 pixels a side cut or framed to `size`.
    """

    NAME: ClassVar[str] = "n-mnist"

    steps: int = 10
    size: int = SENSOR
    root: str = "n-mnist"

    NUM_CLASSES: ClassVar[int] = 10

    def __post_init__(self) -> None:
        check_frames(self.steps, self.size)

    def digest(self) -> str:
        """SHA-256 over the names and contents of all files. Raises MissingDataError."""
        total = sha256()
        for part in ("Train", "Test"):
            for digit in range(self.NUM_CLASSES):
                files = [file for file in self._list(part) if file.startswith(f"{digit}/")]
                total.update(contents.files_digest(self._folder() / part, files).encode())
        return total.hexdigest()

    def load(self) -> ImageData:
        """Lists the files and looks once at each. Raises MissingDataError, BenchError for a file that is no recording."""
        from retable.bench.datasets.images import ImageData

        return ImageData(
            name="n-mnist",
            train=self._split("Train"),
            held_out=self._split("Test"),
            num_classes=self.NUM_CLASSES,
            image_shape=(self.steps, 2, self.size, self.size),
        )

    def _split(self, part: str) -> RecordingSplit:
        import numpy as np

        files = tuple(self._list(part))
        labels = np.array([int(file.partition("/")[0]) for file in files], dtype=np.int64)
        split = RecordingSplit(
            folder=self._folder() / part, files=files, labels=labels, steps=self.steps, size=self.size
        )
        split.check()
        return split

    def _list(self, part: str) -> Sequence[str]:
        """`<digit>/<name>` of each file of a part."""
        folder = self._folder() / part
        layout = f"put its recordings at {folder.parent}/Train/<digit>/*.bin and {folder.parent}/Test/<digit>/*.bin"
        classes = [folder / str(digit) for digit in range(self.NUM_CLASSES)]
        for place in (folder, *classes):
            if not place.is_dir():
                raise MissingDataError(f"N-MNIST is missing, {place} does not exist: {layout}")
        # a folder's time changes whenever a file in it comes, goes or is renamed
        return _list_recordings(tuple((str(path), path.stat().st_mtime_ns) for path in classes), layout)

    def _folder(self) -> Path:
        return Path(os.environ.get("BENCH_DATA", "data")) / self.root


@lru_cache(maxsize=8)
def _list_recordings(classes: tuple[tuple[str, int], ...], layout: str) -> tuple[str, ...]:
    lines: list[str] = []
    for folder, _ in classes:
        found = listed(Path(folder), lambda name: name.endswith(".bin"))
        if not found:
            raise MissingDataError(f"N-MNIST is incomplete, {folder} holds no *.bin: {layout}")
        lines += [f"{os.path.basename(folder)}/{name}" for name in found]
    return tuple(lines)


def check_frames(steps: int, size: int) -> None:
    """Raises BenchError for frames that cannot be made."""
    if steps < 1:
        raise BenchError(f"event frames need `steps` of at least 1, not {steps}")
    if not 2 <= size <= 255 or size % 2:
        raise BenchError(f"event frames need an even `size` of at most 254 pixels, not {size}")
