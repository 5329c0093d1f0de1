"""Event digits at 18x18: the recordings of `event-digits` with the counts of 2x2 pixels added up, for networks that fit in seconds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from retable.bench.datasets.event_digits import EventDigits, recorded
from retable.bench.datasets.events import SENSOR, framed, to_frames
from retable.bench.datasets.frames_by_count import to_frames_by_count

if TYPE_CHECKING:
    import numpy as np

    from retable.bench.datasets.images import ArraySplit, ImageData

SIDE = (SENSOR + 2) // 2


@dataclass(frozen=True, kw_only=True)
class SmallEventDigits:
    """`train` and `held_out` recordings as `steps` frames of 18x18 counts; a border of one pixel without events makes 36 of 34.

    Held-out frames are of equal `time`, as training frames are, or of equal `counts`.
    """

    NAME: ClassVar[str] = "small-event-digits"

    steps: int = 10
    train: int = 1000
    held_out: int = 500
    held_out_by: Literal["time", "counts"] = "time"

    def __post_init__(self) -> None:
        self._whole()

    def digest(self) -> str:
        """As of `event-digits`. Raises MissingDataError."""
        return self._whole().digest()

    def load(self) -> ImageData:
        """Raises MissingDataError, BenchError when there are fewer digits than asked for or other ones."""
        from retable.bench.datasets.images import ImageData

        return ImageData(
            name="small-event-digits",
            train=self._split("train", self.train),
            held_out=self._split("held_out", self.held_out),
            num_classes=10,
            image_shape=(self.steps, 2, SIDE, SIDE),
        )

    def _whole(self) -> EventDigits:
        """Raises BenchError for numbers that cannot be made."""
        return EventDigits(steps=self.steps, train=self.train, held_out=self.held_out)

    def _split(self, part: str, count: int) -> ArraySplit:
        import numpy as np

        from retable.bench.datasets.images import ArraySplit

        recordings, labels = recorded(part, count)
        cut = to_frames_by_count if part == "held_out" and self.held_out_by == "counts" else to_frames
        frames = [binned(framed(cut(events, self.steps), 2 * SIDE)) for events in recordings]
        return ArraySplit(pixels=np.stack(frames), labels=labels)


def binned(frames: np.ndarray) -> np.ndarray:
    """uint8 counts (..., H / 2, W / 2) over 2x2 pixels; above 255 they stay 255."""
    import numpy as np

    *rest, height, width = frames.shape
    counts = frames.reshape(*rest, height // 2, 2, width // 2, 2).sum((-3, -1), dtype=np.int64)
    return counts.clip(max=255).astype(np.uint8)
