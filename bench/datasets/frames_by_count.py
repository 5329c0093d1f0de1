"""Frames of equally many events, as PRIME's released code cuts the recordings that it stops early on (arXiv 2407.18625).

It trains on frames of equal time. Frames of equal counts reach a recording's information at another pace, so that exits on
the two cannot be compared.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from retable.bench.datasets.events import SENSOR, Events, NMnist, RecordingSplit, decode_nmnist, framed, on_sensor

if TYPE_CHECKING:
    import numpy as np

    from retable.bench.datasets.images import ImageData


def to_frames_by_count(events: Events, steps: int, height: int = SENSOR, width: int = SENSOR) -> np.ndarray:
    """uint8 (T, 2, H, W) counts; the events in their order are cut into T shares whose sizes differ by one at most.

    A count above 255 stays 255. Raises ValueError for an event off the sensor.
    """
    import numpy as np

    if len(events) and (events.x.max() >= width or events.y.max() >= height):
        raise ValueError(f"an event at ({events.x.max()}, {events.y.max()}) is off a sensor of {width}x{height} pixels")
    step = np.arange(len(events)) * steps // max(1, len(events))
    place = ((step * 2 + events.p) * height + events.y) * width + events.x
    counts = np.bincount(place, minlength=steps * 2 * height * width)
    return counts.clip(max=255).astype(np.uint8).reshape(steps, 2, height, width)


@dataclass(frozen=True, kw_only=True, eq=False)
class CountedSplit(RecordingSplit):
    """The same files as frames of equally many events."""

    def _frames(self, path: Path) -> np.ndarray:
        events = on_sensor(decode_nmnist(path.read_bytes(), str(path)), path)
        return framed(to_frames_by_count(events, self.steps), self.size)


@dataclass(frozen=True, kw_only=True)
class NMnistByCount(NMnist):
    """N-MNIST with training frames of equal time and held-out frames of equal counts."""

    NAME: ClassVar[str] = "n-mnist-by-count"

    def load(self) -> ImageData:
        """Lists the files. Raises MissingDataError."""
        data = super().load()
        by_time = data.held_out
        assert isinstance(by_time, RecordingSplit)
        counted = CountedSplit(
            folder=by_time.folder, files=by_time.files, labels=by_time.labels, steps=by_time.steps, size=by_time.size
        )
        return replace(data, name=self.NAME, held_out=counted)
