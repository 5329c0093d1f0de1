"""Prophesee's formats: events as `.dat` files, boxes as structured `.npy` files. Both are read and written here.

A `.dat` file is a text header of lines that start with `%`, one byte each for the kind and the size of an event, then
eight bytes an event: its time in microseconds and a word of x, y and polarity: bits 0-13, 14-27 and 28, or in files of
version 1 bits 0-8, 9-16 and 17. Files of an hour are gigabytes, so that events are looked up by time in the mapped file and
only those asked for are read.
"""

from __future__ import annotations

import io
import zipfile
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from retable import contents
from retable.bench.datasets.event_times import in_order
from retable.bench.datasets.events import Events
from retable.bench.errors import BenchError

if TYPE_CHECKING:
    import numpy as np

EVENT_BYTES = 8
EVENT_KINDS = (0, 12)
"""Numbers that mark events of brightness; others are triggers and the like."""
X_BITS = Y_BITS = 14
BITS = {1: (9, 8), 2: (X_BITS, Y_BITS)}
"""Of x and y in a word, by the version that the header names; without one it is 2, as Prophesee's own reader takes it."""
LONGEST_LINE = 1 << 20
BLOCK = 1 << 22
"""Events that a check looks at together."""
LAST_TIME = 2**32 - 1
RECORD = [("t", "<u4"), ("word", "<u4")]
BOX_FIELDS = [("t", "i8"), ("x", "f4"), ("y", "f4"), ("w", "f4"), ("h", "f4"), ("class_id", "i8"), ("track_id", "i8")]
"""What boxes are read as: microseconds, the upper left corner and the sides in pixels, class and track."""
GEN1_BOXES = {
    "names": ["ts", "x", "y", "w", "h", "class_id", "confidence", "track_id"],
    "formats": ["<u8", "<f4", "<f4", "<f4", "<f4", "u1", "<f4", "<u4"],
    "offsets": [0, 8, 12, 16, 20, 24, 28, 32],
    "itemsize": 40,
}
"""The structure of the published `_bbox.npy` files."""

Source = Path | bytes
"""A file, or what is in one."""
Moved = tuple["np.ndarray", "np.ndarray"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Recording:
    """An opened `.dat` file: its records (N,) of RECORD as they lie, and the sensor's sides if it names them.

    `moved` are the events whose times are other than their records say, so that all are in order: places and times (M,).
    """

    records: np.ndarray
    width: int | None
    height: int | None
    name: str
    version: int = 2
    moved: Moved | None = None

    def between(self, start: int, end: int) -> Events:
        """Events from `start` to before `end`, microseconds."""
        import numpy as np

        first, last = (bisect_left(range(len(self.records)), time, key=self._time) for time in (start, end))
        part = np.array(self.records[first:last])  # a copy: only this much is read
        t = part["t"].astype(np.int64)
        if self.moved is not None:
            places, times = self.moved
            own = slice(*np.searchsorted(places, (first, last)))
            t[places[own] - first] = times[own]
        x, y, p = self._places(part["word"])
        return Events(t=t, x=x.astype(np.int16), y=y.astype(np.int16), p=p.astype(np.int8))

    def _time(self, event: int) -> int:
        if self.moved is not None:
            places, times = self.moved
            own = int(places.searchsorted(event))
            if own < len(places) and places[own] == event:
                return int(times[own])
        return int(self.records[event]["t"])

    def check(self, width: int, height: int) -> None:
        """Looks at every event. Raises BenchError for one off the sensor; the order of time was seen when it was opened."""
        if (self.width or width, self.height or height) != (width, height):
            raise BenchError(f"{self.name} is of a sensor of {self.width}x{self.height} pixels, not {width}x{height}")
        for start in range(0, len(self.records), BLOCK):
            x, y, _ = self._places(self.records["word"][start : start + BLOCK])
            off = (x >= width) | (y >= height)
            if off.any():
                place = int(off.argmax())
                raise BenchError(
                    f"{self.name} has event {start + place} at ({x[place]}, {y[place]}), off its sensor of"
                    f" {width}x{height} pixels"
                )

    def _places(self, word: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """x, y and polarity of words."""
        wide, high = BITS[self.version]
        return word & (1 << wide) - 1, word >> wide & (1 << high) - 1, word >> wide + high & 1


def check_recordings(paths: Sequence[Path], width: int, height: int) -> None:
    """Every event of every file, remembered. Raises BenchError naming the first file that is no recording of this sensor."""

    def check() -> None:
        for path in paths:
            open_recording(path).check(width, height)

    contents.once(f"recordings 1 {width}x{height}", paths, check)


def open_recording(source: Source, name: str = "a .dat file") -> Recording:
    """Reads the header, and of a file that nobody has opened before the times, to see whether they are in order.

    Raises BenchError, naming the file, for one that is no recording, ends within an event or has no order.
    """
    import numpy as np

    if isinstance(source, Path):
        name, size = str(source), source.stat().st_size
        with source.open("rb") as file:
            header, start = _header(file, name)
    else:
        size = len(source)
        header, start = _header(io.BytesIO(source), name)
    count, rest = divmod(size - start, EVENT_BYTES)
    if rest:
        raise BenchError(f"{name} is cut off: {rest} bytes follow its {count} events of {EVENT_BYTES} bytes")
    if not count:  # an empty file cannot be mapped
        records = np.empty(0, RECORD)
    elif isinstance(source, Path):
        records = np.memmap(source, RECORD, "r", start, (count,))
    else:
        records = np.frombuffer(source, RECORD, count, start)
    if isinstance(source, Path):
        moved = _moved_in_file(contents.stamp_of(source), start)
    else:
        moved = _moved(records, name)
    return Recording(
        records=records,
        width=header.get("width"),
        height=header.get("height"),
        name=name,
        version=header.get("version", 2),
        moved=moved,
    )


def _moved(records: np.ndarray, name: str) -> Moved | None:
    """Events that have to be moved, None where all are in order. Raises BenchError where they have no order."""
    import numpy as np

    own = records["t"]
    if (own[1:] >= own[:-1]).all():
        return None
    times = in_order(own, name)
    places = np.flatnonzero(times != own)
    return places, times[places]


@lru_cache(maxsize=4096)
def _moved_in_file(stamp: contents.Stamp, start: int) -> Moved | None:
    """The same of a file whose events begin at `start`; that it is in order is remembered."""
    import numpy as np

    path, size = stamp[0], stamp[1]
    if size == start:
        return None

    def check() -> None:
        if (found := _moved(np.memmap(path, RECORD, "r", start), path)) is not None:
            raise _OutOfOrderError(found)

    try:
        contents.once("order of time 1", [path], check)
    except _OutOfOrderError as error:
        return error.moved
    return None


class _OutOfOrderError(Exception):
    """Carries what has to be moved."""

    def __init__(self, moved: Moved) -> None:
        self.moved = moved


def _header(file: BinaryIO, name: str) -> tuple[dict[str, int], int]:
    """The sides and the version that the header names, and where the events begin."""
    found: dict[str, int] = {}
    start = 0
    line = file.readline(LONGEST_LINE)
    while line.startswith(b"%"):
        start += len(line)
        if not line.endswith(b"\n"):
            raise BenchError(f"{name} is no .dat file: its header has no end")
        words = line[1:].decode("latin-1").lower().split()
        if len(words) == 2 and words[0] in ("width", "height") and words[1].isdigit():
            found[words[0]] = int(words[1])
        if len(words) == 2 and words[0] == "version":
            found["version"] = _version(words[1], name)
        line = file.readline(LONGEST_LINE)
    if not start:
        raise BenchError(
            f"{name} is no .dat file: it does not begin with header lines that start with %"
            " (a file without them may be of version 1: write `% Version 1`, a new line and two bytes 0 and 8 before it)"
        )
    if len(line) < 2:
        file.seek(start)
        line = file.read(2)
    if len(line) < 2:
        raise BenchError(f"{name} is cut off: it ends within its header")
    if line[0] not in EVENT_KINDS or line[1] != EVENT_BYTES:
        raise BenchError(
            f"{name} holds events of kind {line[0]} and {line[1]} bytes, not brightness events"
            f" ({' or '.join(map(str, EVENT_KINDS))}) of {EVENT_BYTES} bytes"
        )
    return found, start + 2


def _version(text: str, name: str) -> int:
    try:
        version = int(float(text))
    except ValueError:
        version = 0
    if version not in BITS:
        raise BenchError(f"{name} is of version {text}, not {' or '.join(map(str, BITS))}")
    return version


def encode_dat(events: Events, width: int, height: int) -> bytes:
    """A `.dat` file. Raises ValueError for events off the sensor or beyond 71 minutes, which it cannot hold."""
    import numpy as np

    if len(events) and (events.t[-1] > LAST_TIME or events.x.max() >= width or events.y.max() >= height):
        raise ValueError(f"a .dat file holds events up to {LAST_TIME} us on its sensor of {width}x{height} pixels")
    records = np.empty(len(events), RECORD)
    x, y, p = (getattr(events, axis).astype(np.uint32) for axis in "xyp")
    records["t"], records["word"] = events.t, x | y << X_BITS | p << X_BITS + Y_BITS
    header = f"% Data file containing CD events.\n% Version 2\n% Height {height}\n% Width {width}\n"
    return header.encode() + bytes([0, EVENT_BYTES]) + records.tobytes()


def read_boxes(source: Source, name: str = "a box file") -> np.ndarray:
    """Boxes (N,) of BOX_FIELDS in the order of time, from the older files (`ts`) and the newer ones (`t`).

    Raises BenchError, naming the file, for one that holds no boxes.
    """
    import numpy as np

    name = str(source) if isinstance(source, Path) else name
    try:
        raw = np.load(source if isinstance(source, Path) else io.BytesIO(source), allow_pickle=False)
    except (OSError, ValueError, EOFError, SyntaxError, MemoryError, zipfile.BadZipFile) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise BenchError(f"{name} cannot be read as an array of boxes: {reason}") from error
    fields = getattr(raw, "dtype", np.dtype("f4")).names or ()
    boxes = np.empty(len(raw) if fields and raw.ndim == 1 else 0, BOX_FIELDS)
    for field, _ in BOX_FIELDS:
        found = "ts" if field == "t" and "t" not in fields else field
        if found not in fields or raw.ndim != 1:
            raise BenchError(
                f"{name} holds no boxes: their {field} is missing (it has {', '.join(fields) or 'no fields'})"
            )
        if raw[found].dtype.kind not in "iuf" or not np.isfinite(raw[found]).all():
            raise BenchError(f"{name} has boxes whose {found} is no finite number")
        boxes[field] = raw[found]
    return boxes[np.argsort(boxes["t"], kind="stable")]


def encode_boxes(boxes: np.ndarray) -> bytes:
    """A `_bbox.npy` file as Gen1 publishes them, of boxes (N,) of BOX_FIELDS."""
    import numpy as np

    published: np.ndarray = np.zeros(len(boxes), np.dtype(GEN1_BOXES))  # type: ignore[call-overload]
    published["confidence"] = 1
    for field, _ in BOX_FIELDS:
        published["ts" if field == "t" else field] = boxes[field]
    file = io.BytesIO()
    np.save(file, published)
    return file.getvalue()
