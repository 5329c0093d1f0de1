"""Gen1: cars and pedestrians before an event camera on a windscreen (Prophesee, arXiv 2001.08499), as SpikeYOLO reads it.

A sample is one time stamp that has boxes, and the events of the quarter second before it in T frames. Two protocols:

`official` is that of SpikeYOLO's code (arXiv 2407.20708): all labelled stamps; a window that would begin before the recording
begins with it and runs past the stamp; a box that sticks out above or to the left is moved inside and never cut; labels lie
half a pixel off where the margin is odd; the margin is lighter or darker than the ground; frames are in reversed order.

`perot` is that of the benchmark (arXiv 2009.13436) and of nearly all later work: no boxes of the first half second, with a
diagonal below 30 pixels or a side below 10; what sticks out is cut; frames in the order of time, margins without events.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from retable import contents
from retable.bench.datasets.files import listed
from retable.bench.datasets.letterbox import GREY, Letterbox
from retable.bench.datasets.prophesee import Source, check_recordings, open_recording, read_boxes
from retable.bench.errors import BenchError, MissingDataError

if TYPE_CHECKING:
    import numpy as np

    from retable.bench.datasets.detection import DetectionData, Objects
    from retable.bench.datasets.events import Events

Protocol = Literal["official", "perot"]
Frames = Literal["drawn", "counts"]
Judged = Literal["labels", "tool"]
"""Detections as they come against the labels, or both as the protocol's own tool changes them first."""

CLASSES = ("car", "pedestrian")
WIDTH, HEIGHT = 304, 240
WINDOW = 250_000
"""Microseconds of events before a stamp."""
GROUND, FELL, ROSE = 127, 0, 255
"""Grey levels of drawn frames: no event, the last one a falling one, a rising one."""
SETTLED = 500_000
"""Microseconds from which on the benchmark counts boxes."""
LEAST_DIAGONAL, LEAST_SIDE = 30.0, 10.0
"""Pixels of Gen1's sensor below which the benchmark leaves a box out."""
EVENTS_SUFFIX, BOXES_SUFFIX = "_td.dat", "_bbox.npy"


@dataclass(frozen=True, kw_only=True)
class View:
    """How recordings become samples, whatever the sensor.

    `drawn` frames have three equal channels, grey levels letterboxed to `size` pixels a side; `counts` have falling and
    rising events as two channels, which are framed and never resized.
    """

    size: int
    steps: int
    protocol: Protocol
    frames: Frames
    width: int = WIDTH
    height: int = HEIGHT
    window: int = WINDOW
    judged: Judged = "labels"

    def __post_init__(self) -> None:
        longest = max(self.width, self.height)
        if self.window < 1:
            raise BenchError(f"event frames need a `window` of at least 1 microsecond, not {self.window}")
        if not 1 <= self.steps <= self.window:
            raise BenchError(f"event frames need `steps` to be from 1 to {self.window}, not {self.steps}")
        if self.size < (longest if self.frames == "counts" else 32):
            least = f"{longest}, the sensor's longer side, for counts" if self.frames == "counts" else "32"
            raise BenchError(f"event frames need `size` to be at least {least}; it is {self.size}")

    @property
    def box(self) -> Letterbox:
        size = max(self.width, self.height) if self.frames == "counts" else self.size
        return Letterbox(self.width, self.height, size, (self.size, self.size), halves=self.protocol == "official")

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return (self.steps, 3 if self.frames == "drawn" else 2, self.size, self.size)

    def sample(self, source: Source, stamp: int, name: str) -> np.ndarray:
        """uint8 (T, C, size, size) of the events before a stamp. Raises BenchError, naming the recording."""
        import numpy as np

        recording = open_recording(source, name)
        if (recording.width or self.width, recording.height or self.height) != (self.width, self.height):
            raise BenchError(
                f"{recording.name} is of a sensor of {recording.width}x{recording.height} pixels,"
                f" not {self.width}x{self.height}"
            )
        start = max(0, stamp - self.window) if self.protocol == "official" else stamp - self.window
        events = recording.between(start, start + self.window // self.steps * self.steps)
        if len(events) and (events.x.max() >= self.width or events.y.max() >= self.height):
            raise BenchError(
                f"{recording.name} has an event at ({events.x.max()}, {events.y.max()}), off its sensor of"
                f" {self.width}x{self.height} pixels"
            )
        if self.frames == "counts":
            frames = self.box.place(counted(events, start, self.steps, self.height, self.width, self.window), fill=0)
        else:
            grey = GREY if self.protocol == "official" else GROUND
            drawn_THW = self.box.place(
                drawn(events, start, self.steps, self.height, self.width, self.window), fill=grey
            )
            frames = np.broadcast_to(drawn_THW[:, None], self.shape)
        return frames[::-1] if self.protocol == "official" else frames

    def labels(self, boxes: np.ndarray) -> np.ndarray:
        """float64 (n, 5) class, x, y, width, height in the sensor's pixels, of the raw boxes of one stamp."""
        return (
            moved(boxes, self.width, self.height)
            if self.protocol == "official"
            else cut(boxes, self.width, self.height, after=SETTLED + (self.judged == "tool"))
        )


def drawn(events: Events, start: int, steps: int, height: int, width: int, window: int = WINDOW) -> np.ndarray:
    """uint8 (T, H, W): what the last event at a pixel was, in each of T bins of window // T microseconds."""
    import numpy as np

    frames = np.full((steps, height, width), GROUND, np.uint8)
    frames[(events.t - start) // (window // steps), events.y, events.x] = np.where(events.p > 0, ROSE, FELL)
    return frames


def counted(events: Events, start: int, steps: int, height: int, width: int, window: int = WINDOW) -> np.ndarray:
    """uint8 (T, 2, H, W): how many events fell and rose in each of T bins; a count above 255 stays 255."""
    import numpy as np

    step = (events.t - start) // (window // steps)
    place = ((step * 2 + events.p) * height + events.y) * width + events.x
    counts = np.bincount(place, minlength=steps * 2 * height * width)
    return counts.clip(max=255).astype(np.uint8).reshape(steps, 2, height, width)


def moved(boxes: np.ndarray, width: int, height: int) -> np.ndarray:
    """The official labels (n, 5): the last box of each track, the later tracks first."""
    import numpy as np

    _, last = np.unique(boxes["track_id"][::-1], return_index=True)
    rows = boxes[::-1][last][::-1]
    w, h = rows["w"], rows["h"]
    x, y = rows["x"].clip(0, width) + w / 2, rows["y"].clip(0, height) + h / 2
    x, y = x.clip(0, width) - w / 2, y.clip(0, height) - h / 2
    found = np.stack([rows["class_id"], x, y, w, h], axis=1).astype(np.float64)
    return found[(w > 0) & (h > 0)]


def large(w: np.ndarray, h: np.ndarray, width: int) -> np.ndarray:
    """Which boxes the benchmark counts, its limits in proportion to the sensor's width."""
    import numpy as np

    scale = width / WIDTH
    found: np.ndarray = (np.hypot(w, h) >= LEAST_DIAGONAL * scale) & (np.minimum(w, h) >= LEAST_SIDE * scale)
    return found


def cut(boxes: np.ndarray, width: int, height: int, after: int = SETTLED) -> np.ndarray:
    """The benchmark's labels (n, 5) from the stamp `after` on; its tool leaves out 500,000 us itself."""
    import numpy as np

    w, h = boxes["w"].astype(np.float64), boxes["h"].astype(np.float64)
    rows = boxes[large(w, h, width) & (boxes["t"] >= after)]
    x0, y0 = (rows[axis].astype(np.float64).clip(0, side) for axis, side in (("x", width), ("y", height)))
    x1 = (rows["x"].astype(np.float64) + rows["w"]).clip(0, width)
    y1 = (rows["y"].astype(np.float64) + rows["h"]).clip(0, height)
    found = np.stack([rows["class_id"], x0, y0, x1 - x0, y1 - y0], axis=1).astype(np.float64)
    return found[(x1 > x0) & (y1 > y0)]


@dataclass(frozen=True, kw_only=True, eq=False)
class StampSplit:
    """Samples of recordings: which recording (N,) and which stamp (N,), both int64; events are read when asked for."""

    recordings: Sequence[Source]
    names: Sequence[str]
    which: np.ndarray
    stamps: np.ndarray
    objects: Objects
    view: View

    def __len__(self) -> int:
        return len(self.stamps)

    @cached_property
    def image_ids(self) -> np.ndarray:
        import numpy as np

        return np.arange(1, len(self) + 1)

    @cached_property
    def ground_truth(self) -> dict[str, Any]:
        import numpy as np

        from retable.bench.datasets.detection import ground_truth

        sizes = np.full((len(self), 2), (self.view.width, self.view.height))
        objects = inside(self.objects, self.view.width, self.view.height) if self._cuts else self.objects
        return ground_truth(objects, self.image_ids, sizes, dict(enumerate(CLASSES)))

    @property
    def _cuts(self) -> bool:
        """Whether boxes and detections are cut to the sensor before they are compared, as in the released loop."""
        return self.view.judged == "tool" and self.view.protocol == "official"

    def images(self, indices: np.ndarray) -> np.ndarray:
        """uint8 (B, T, C, size, size). Raises BenchError, naming the file, for one that is no recording."""
        import numpy as np

        frames = np.empty((len(indices), *self.view.shape), np.uint8)
        for row, index in enumerate(indices):
            recording = int(self.which[index])
            frames[row] = self.view.sample(self.recordings[recording], int(self.stamps[index]), self.names[recording])
        return frames

    def boxes(self, indices: np.ndarray) -> list[np.ndarray]:
        """float32 (n, 5) for each sample; boxes of the official protocol stick out of the sensor where theirs do."""
        from retable.bench.datasets.detection import corners, labelled

        parts = [self.objects.of(int(index)) for index in indices]
        box = self.view.box
        return [labelled(self.objects.classes[p], box.boxes(corners(self.objects.boxes[p])), None) for p in parts]

    def restore(self, index: int, boxes_n4: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
        boxes = self.view.box.restored(boxes_n4.astype("float64"))
        return boxes.clip(0, [self.view.width, self.view.height] * 2) if self._cuts else boxes

    def counts(self, boxes_n4: np.ndarray) -> np.ndarray:
        """bool (n,): which detections, as restored, are judged; the benchmark's tool leaves out small ones as it does labels."""
        import numpy as np

        if self.view.judged == "labels" or self.view.protocol == "official":
            return np.ones(len(boxes_n4), bool)
        x0, y0, x1, y1 = boxes_n4.T
        return large(x1 - x0, y1 - y0, self.view.width)


def inside(objects: Objects, width: int, height: int) -> Objects:
    """The objects with their boxes cut to the sensor."""
    from dataclasses import replace

    import numpy as np

    from retable.bench.datasets.detection import corners

    x0, y0, x1, y1 = corners(objects.boxes).clip(0, [width, height] * 2).T
    return replace(objects, boxes=np.stack([x0, y0, x1 - x0, y1 - y0], 1), areas=(x1 - x0) * (y1 - y0))


def split_of(recordings: Sequence[tuple[Source, Source, str]], view: View) -> StampSplit:
    """The samples of recordings, given as events, boxes and a name. Raises BenchError, naming what is wrong."""
    import numpy as np

    from retable.bench.datasets.detection import gather

    which: list[int] = []
    stamps: list[int] = []
    rows: list[tuple[int, Sequence[float], int, bool, float]] = []
    for number, (_, box_source, name) in enumerate(recordings):
        boxes = read_boxes(box_source, name)
        known = (boxes["class_id"] >= 0) & (boxes["class_id"] < len(CLASSES))
        if not known.all():
            raise BenchError(
                f"{box_source if isinstance(box_source, Path) else name} has a box of class"
                f" {boxes['class_id'][~known][0]}; Gen1 has 0 (car) and 1 (pedestrian)"
            )
        for stamp, start, count in zip(*np.unique(boxes["t"], return_index=True, return_counts=True), strict=True):
            labels = view.labels(boxes[start : start + count])
            if view.protocol == "perot" and not len(labels):
                continue
            rows += [(len(stamps), label[1:], int(label[0]), False, label[3] * label[4]) for label in labels.tolist()]
            which.append(number)
            stamps.append(int(stamp))
    return StampSplit(
        recordings=[events for events, _, _ in recordings],
        names=[name for _, _, name in recordings],
        which=np.array(which, np.int64),
        stamps=np.array(stamps, np.int64),
        objects=gather(rows, len(stamps)),
        view=view,
    )


@dataclass(frozen=True, kw_only=True)
class Gen1:
    """Gen1 as it is published: `train/*_td.dat` with `train/*_bbox.npy` below `$BENCH_DATA/<root>`, the same in `test`.

    A sample holds the `window` microseconds before its stamp. Detections are judged as the protocol's own tool does: the
    official loop cuts labels and detections to the sensor, the benchmark's tool leaves out small detections as it does small
    labels, and the stamp at half a second; `judged: labels` compares what comes with the labels.

    Held out is the test part, on which the official recipe also chooses its checkpoint; the part `val` is not used.
    """

    NAME: ClassVar[str] = "gen1"

    size: int = 320
    steps: int = 4
    protocol: Protocol = "official"
    frames: Frames = "drawn"
    root: str = "gen1"
    window: int = WINDOW
    judged: Judged = "tool"

    PARTS: ClassVar[tuple[str, str]] = ("train", "test")

    def __post_init__(self) -> None:
        self._view()

    def digest(self) -> str:
        """SHA-256 over the names and contents of all files. Raises MissingDataError."""
        found = (contents.files_digest(self._folder() / part, self._list(part)) for part in self.PARTS)
        return sha256("".join(found).encode()).hexdigest()

    def load(self) -> DetectionData:
        """Reads the boxes and looks once at all events, which are read when they are asked for. Raises MissingDataError, BenchError for bad files."""
        from retable.bench.datasets.detection import DetectionData

        train, held_out = (self._split(part) for part in self.PARTS)
        return DetectionData(
            name="gen1",
            train=train,
            held_out=held_out,
            num_classes=len(CLASSES),
            class_names=CLASSES,
            category_ids=tuple(range(len(CLASSES))),
            image_shape=self._view().shape,
        )

    def _view(self) -> View:
        return View(
            size=self.size,
            steps=self.steps,
            protocol=self.protocol,
            frames=self.frames,
            window=self.window,
            judged=self.judged,
        )

    def _split(self, part: str) -> StampSplit:
        folder = self._folder() / part
        events = [name for name in self._list(part) if name.endswith(EVENTS_SUFFIX)]
        check_recordings([folder / name for name in events], WIDTH, HEIGHT)
        return split_of(
            [(folder / name, folder / (name.removesuffix(EVENTS_SUFFIX) + BOXES_SUFFIX), name) for name in events],
            self._view(),
        )

    def _list(self, part: str) -> tuple[str, ...]:
        """The files of a part."""
        folder = self._folder() / part
        layout = f"put its recordings at {folder.parent}/{{train,test}}/*{EVENTS_SUFFIX} with their *{BOXES_SUFFIX}"
        if not folder.is_dir():
            raise MissingDataError(f"Gen1 is missing, {folder} does not exist: {layout}")
        return _list_files(str(folder), folder.stat().st_mtime_ns, layout)  # it changes when a file comes or goes

    def _folder(self) -> Path:
        return Path(os.environ.get("BENCH_DATA", "data")) / self.root


@lru_cache(maxsize=8)
def _list_files(folder: str, changed: int, layout: str) -> tuple[str, ...]:
    suffixes = (EVENTS_SUFFIX, BOXES_SUFFIX)
    names = listed(Path(folder), lambda name: name.endswith(suffixes))
    stems = {name.removesuffix(EVENTS_SUFFIX).removesuffix(BOXES_SUFFIX) for name in names}
    if not stems:
        raise MissingDataError(f"Gen1 is incomplete, {folder} holds no *{EVENTS_SUFFIX}: {layout}")
    for name in sorted(stem + suffix for stem in stems for suffix in suffixes):
        if name not in names:
            raise MissingDataError(f"Gen1 is incomplete, {folder}/{name} is missing: {layout}")
    return tuple(names)
