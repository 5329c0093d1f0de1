"""Prophesee's formats: events as `.dat` files, boxes as structured `.npy` files. Both are read and written here.

A `.dat` file is a text header of lines that start with `%`, one byte each for the kind and the size of an event, then
eight bytes an event: its time in microseconds and a word of x (bits 0-13), y (14-27) and polarity (28). Files of an hour are
gigabytes, so that events are looked up by time in the mapped file and only those asked for are read.
"""

from __future__ import annotations

import io
from bisect import bisect_left
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from retable.bench.datasets.events import Events
from retable.bench.errors import BenchError

if TYPE_CHECKING:
    import numpy as np

EVENT_BYTES = 8
EVENT_KINDS = (0, 12)
"""Numbers that mark events of brightness; others are triggers and the like."""
X_BITS = Y_BITS = 14
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


@dataclass(frozen=True, kw_only=True, eq=False)
class Recording:
    """An opened `.dat` file: its records (N,) of RECORD in the order of time, and the sensor's sides if it names them."""

    records: np.ndarray
    width: int | None
    height: int | None
    name: str

    def between(self, start: int, end: int) -> Events:
        """Events from `start` to before `end`, microseconds. Raises BenchError where they are not in order."""
        import numpy as np

        first, last = (bisect_left(self.records, time, key=_time) for time in (start, end))
        part = np.array(self.records[first:last])  # a copy: only this much is read
        word = part["word"].astype(np.int64)
        try:
            return Events(
                t=part["t"].astype(np.int64),
                x=(word & (1 << X_BITS) - 1).astype(np.int16),
                y=(word >> X_BITS & (1 << Y_BITS) - 1).astype(np.int16),
                p=(word >> X_BITS + Y_BITS & 1).astype(np.int8),
            )
        except ValueError as error:
            raise BenchError(f"{self.name} is no recording: {error}") from error


def _time(record: np.void) -> int:
    return int(record["t"])


def open_recording(source: Source, name: str = "a .dat file") -> Recording:
    """Reads the header only. Raises BenchError, naming the file, for one that is no recording or ends within an event."""
    import numpy as np

    if isinstance(source, Path):
        name, size = str(source), source.stat().st_size
        with source.open("rb") as file:
            sides, start = _header(file, name)
    else:
        size = len(source)
        sides, start = _header(io.BytesIO(source), name)
    count, rest = divmod(size - start, EVENT_BYTES)
    if rest:
        raise BenchError(f"{name} is cut off: {rest} bytes follow its {count} events of {EVENT_BYTES} bytes")
    if not count:  # an empty file cannot be mapped
        records = np.empty(0, RECORD)
    elif isinstance(source, Path):
        records = np.memmap(source, RECORD, "r", start, (count,))
    else:
        records = np.frombuffer(source, RECORD, count, start)
    return Recording(records=records, width=sides.get("width"), height=sides.get("height"), name=name)


def _header(file: BinaryIO, name: str) -> tuple[dict[str, int], int]:
    """The sides that the header names, and where the events begin."""
    sides: dict[str, int] = {}
    start = 0
    line = file.readline(1000)
    while line.startswith(b"%"):
        start += len(line)
        words = line[1:].decode("latin-1").lower().split()
        if len(words) == 2 and words[0] in ("width", "height") and words[1].isdigit():
            sides[words[0]] = int(words[1])
        line = file.readline(1000)
    if not start:
        raise BenchError(f"{name} is no .dat file: it does not begin with header lines that start with %")
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
    return sides, start + 2


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
    except (OSError, ValueError, EOFError, SyntaxError) as error:
        raise BenchError(f"{name} cannot be read as an array of boxes: {' '.join(str(error).split())}") from error
    fields = getattr(raw, "dtype", np.dtype("f4")).names or ()
    boxes = np.empty(len(raw) if fields and raw.ndim == 1 else 0, BOX_FIELDS)
    for field, _ in BOX_FIELDS:
        found = "ts" if field == "t" and "t" not in fields else field
        if found not in fields or raw.ndim != 1:
            raise BenchError(
                f"{name} holds no boxes: their {field} is missing (it has {', '.join(fields) or 'no fields'})"
            )
        boxes[field] = raw[found]
    if not all(np.isfinite(boxes[field]).all() for field in "xywh"):
        raise BenchError(f"{name} has boxes whose places are not finite numbers")
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
