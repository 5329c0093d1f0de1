"""Streets before a simulated event camera, as recordings in Gen1's file formats: no recording ships anywhere. It is not Gen1.

Silhouettes of cars and pedestrians, filled with crops of real photographs, move over crops of others; in every other
recording the camera turns, so that the background has events too. Training recordings are of one half of each photograph
and held-out ones of the other half. Pictures every two milliseconds go through the camera of `event_camera`; each pixel adds
a noise event every four seconds. The events are written as `.dat` and the boxes as `_bbox.npy`, and read back by Gen1's own reader.
Boxes stick out of the sensor, and there is one stamp in the first half second, so that the two protocols differ.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from retable.bench.datasets.draws import Draws
from retable.bench.datasets.event_camera import log_table, thresholds_of, watch
from retable.bench.datasets.fixed import require_digest
from retable.bench.datasets.gen1 import BOXES_SUFFIX, CLASSES, EVENTS_SUFFIX, Frames, Protocol, View, split_of
from retable.bench.datasets.photo_patches import PHOTOGRAPHS, PhotoPatches, candidates, read
from retable.bench.errors import BenchError

if TYPE_CHECKING:
    import numpy as np

    from retable.bench.datasets.detection import DetectionData
    from retable.bench.datasets.events import Events

VERSION = "event-scenes-1"
"""Raised whenever the simulation gives other recordings; part of the digest."""

WIDTH, HEIGHT = 76, 60
"""The sensor: a quarter of Gen1's sides."""
TICKS = 2000
"""Microseconds between two pictures, and for which a pixel is blind after an event."""
STAMPS = (250_000, 500_000, 750_000, 1_000_000)
"""Microseconds at which boxes are known; the recording ends with the last."""
STEPS = 16
"""Positions a pixel at which things are drawn."""
MISMATCH = 0.03
"""Standard deviation of the contrast threshold over pixels, in units of log intensity."""
QUIET = 4
"""Seconds from one noise event of a pixel to its next, on average."""
TURN, MARGIN = 20, 12
"""Most pixels a second by which the background moves, and how far it reaches beyond the sensor."""
STREETS = ("astronaut", "chelsea", "china", "coffee", "flower", "immunohistochemistry", "rocket")
PATCH = 100
"""Sides of the crops of photographs."""
SEEN, HIDDEN = (1, 2), (3, 4)
"""Share of a box within the sensor from which on it is labelled, and share behind another one above which it is not."""
DARK = 12
"""Grey level of wheels and legs."""


class Kind(NamedTuple):
    """What a class looks like: heights in pixels; width in per cent of the height; pixels a second, least and most."""

    heights: tuple[int, int]
    widths: tuple[int, int]
    speeds: tuple[int, int]


KINDS = (Kind((10, 18), (190, 240), (15, 50)), Kind((16, 34), (36, 48), (8, 24)))
"""Of cars and of pedestrians."""


@dataclass(frozen=True, kw_only=True)
class EventScenes:
    """`train` and `held_out` recordings of one second with four stamps each, read as `Gen1` reads its own.

    `size`, `steps`, `protocol` and `frames` are those of `Gen1`; the least sizes of the protocol `perot` are in
    proportion to the sensor.
    """

    NAME: ClassVar[str] = "event-scenes"

    size: int = 96
    steps: int = 4
    protocol: Protocol = "official"
    frames: Frames = "drawn"
    train: int = 96
    held_out: int = 40

    def __post_init__(self) -> None:
        self._view()
        for name in ("train", "held_out"):
            if getattr(self, name) < 1:
                raise BenchError(f"event scenes need `{name}` to be at least 1, not {getattr(self, name)}")

    def digest(self) -> str:
        """SHA-256 over the simulation's version and the digest of the photographs. Raises MissingDataError."""
        return sha256(f"{VERSION} {PhotoPatches().digest()}".encode()).hexdigest()

    def load(self) -> DetectionData:
        """Raises MissingDataError, BenchError when a package holds other photographs."""
        from retable.bench.datasets.detection import DetectionData

        parts = (("train", self.train), ("held_out", self.held_out))
        train, held_out = (split_of(recorded(part, count), self._view()) for part, count in parts)
        return DetectionData(
            name="event-scenes",
            train=train,
            held_out=held_out,
            num_classes=len(CLASSES),
            class_names=CLASSES,
            category_ids=tuple(range(len(CLASSES))),
            image_shape=self._view().shape,
        )

    def _view(self) -> View:
        return View(
            size=self.size, steps=self.steps, protocol=self.protocol, frames=self.frames, width=WIDTH, height=HEIGHT
        )


def write(folder: Path, part: str, count: int) -> None:
    """The first recordings of a part as Gen1 lays its files out, `<name>_td.dat` and `<name>_bbox.npy`."""
    folder.mkdir(parents=True, exist_ok=True)
    for events, boxes, name in recorded(part, count):
        (folder / (name + EVENTS_SUFFIX)).write_bytes(events)
        (folder / (name + BOXES_SUFFIX)).write_bytes(boxes)


@lru_cache(maxsize=4)
def recorded(part: str, count: int) -> tuple[tuple[bytes, bytes, str], ...]:
    """Events file, boxes file and name of each recording; kept, because rows differ only in how they read them."""
    from retable.bench.datasets.prophesee import encode_boxes, encode_dat

    photographs = crops(part)
    found = []
    for number in range(count):
        scene = made(Draws(VERSION, part, number), photographs)
        events, boxes = film(scene, (0x73636E65, part == "train", number))
        name = f"{part}-{number:04d}"
        found.append((encode_dat(events, WIDTH, HEIGHT), encode_boxes(boxes), name))
    return tuple(found)


def crops(part: str) -> list[list[np.ndarray]]:
    """Grey crops int32 (PATCH, PATCH) of one half of each photograph, by photograph."""
    found = []
    for photograph in PHOTOGRAPHS:
        if photograph.name in STREETS:
            picture = read(photograph)
            require_digest(photograph.sha256, f"the photograph {photograph.name!r}", picture)
            found.append([luma(patch) for _, _, patch in candidates(picture, part, PATCH)])
    return found


def luma(patch: np.ndarray) -> np.ndarray:
    """int32 (H, W) in 0..255 of RGB (3, H, W), by the weights of ITU-R BT.601 in 256ths."""
    red, green, blue = patch.astype("int32")
    grey: np.ndarray = (77 * red + 150 * green + 29 * blue) >> 8
    return grey


@dataclass(frozen=True, kw_only=True, eq=False)
class Mover:
    """A silhouette: alpha and grey level (h, w), class, where its corner is in the middle of the recording and its speed.

    Places are in 1/16 pixels, speeds in 1/16 pixels a second.
    """

    alpha: np.ndarray
    grey: np.ndarray
    label: int
    middle: tuple[int, int]
    speed: tuple[int, int]
    _drawn: dict[tuple[int, int], tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)

    def at(self, time: int) -> tuple[int, int]:
        """Its corner (x, y) in 1/16 pixels at a time in microseconds."""
        after = time - STAMPS[-1] // 2
        x, y = (middle + speed * after // 1_000_000 for middle, speed in zip(self.middle, self.speed, strict=True))
        return x, y

    def shifted(self, right: int, down: int) -> tuple[np.ndarray, np.ndarray]:
        """Transparency 0..256 and added light (h + 1, w + 1), moved by a part of a pixel."""
        if (right, down) not in self._drawn:
            alpha = shift(self.alpha, right, down)
            self._drawn[right, down] = 256 - alpha, shift(self.alpha * self.grey, right, down)
        return self._drawn[right, down]


@dataclass(frozen=True, kw_only=True, eq=False)
class Scene:
    """A background (H + 2 MARGIN, W + 2 MARGIN), how fast it moves in 1/16 pixels a second, and what is before it."""

    background: np.ndarray
    turn: int
    movers: tuple[Mover, ...]


def made(draws: Draws, photographs: list[list[np.ndarray]]) -> Scene:
    """One scene with one to three objects, the later ones before the earlier ones."""

    def crop() -> np.ndarray:
        patches = photographs[draws.below(len(photographs))]
        return patches[draws.below(len(patches))]

    background = crop()[: HEIGHT + 2 * MARGIN, : WIDTH + 2 * MARGIN]
    turn = draws.between(-TURN * STEPS, TURN * STEPS) if draws.chance(1, 2) else 0
    movers = []
    for _ in range(draws.between(1, 3)):
        label = draws.below(len(CLASSES))
        kind = KINDS[label]
        height = draws.between(*kind.heights)
        width = height * draws.between(*kind.widths) // 100
        texture = crop()[:height, :width]
        mask, dark = (car if label == 0 else pedestrian)(height, width)
        light = 40 + texture * draws.between(60, 200) // 255 if draws.chance(1, 2) else 215 - texture * 150 // 255
        pace = draws.between(*kind.speeds) * STEPS * (1 if draws.chance(1, 2) else -1)
        movers.append(
            Mover(
                alpha=mask,
                grey=dark * DARK + (1 - dark) * light,
                label=label,
                middle=(
                    draws.between(-width // 3 * STEPS, (WIDTH - width * 2 // 3) * STEPS),
                    draws.between(0, max(0, HEIGHT - height) * STEPS),
                ),
                speed=(pace, draws.between(-2 * STEPS, 2 * STEPS)),
            )
        )
    return Scene(background=background, turn=turn, movers=tuple(movers))


FINE = 8
"""Points a pixel and side that are asked whether they lie in a silhouette."""


def car(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Alpha 0..256 (h, w) and where it is dark (0 or 1): a body, a cabin that narrows upwards, two wheels."""
    u, v = _points(height, width)
    body = (v >= 400) & (v <= 820)
    cabin = (v <= 400) & (u >= 330 - v * 2 // 5) & (u <= 700 + v * 2 // 5)
    wheels = _disc(u, v, 220, 820, 180, height, width) | _disc(u, v, 780, 820, 180, height, width)
    return _share(body | cabin | wheels), (_share(wheels) > 128).astype("int32")


def pedestrian(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Alpha 0..256 (h, w) and where it is dark: a head, a body with arms, two legs."""
    u, v = _points(height, width)
    head = _disc(u, v, 500, 90, 90, height, width)
    body = (v >= 190) & (v <= 560)
    legs = (v >= 560) & (((u >= 120) & (u <= 420)) | ((u >= 580) & (u <= 880)))
    return _share(head | body | legs), (_share(legs) > 128).astype("int32")


def _points(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Places of all points in thousandths of the width (1, w) and of the height (h, 1)."""
    import numpy as np

    across, down = ((2 * np.arange(side * FINE) + 1) * 500 // (side * FINE) for side in (width, height))
    return across[None], down[:, None]


def _disc(u: np.ndarray, v: np.ndarray, x: int, y: int, radius: int, height: int, width: int) -> np.ndarray:
    """Points within a round disc; its radius is in thousandths of the height."""
    disc: np.ndarray = ((u - x) * width) ** 2 + ((v - y) * height) ** 2 <= (radius * height) ** 2
    return disc


def _share(points: np.ndarray) -> np.ndarray:
    """How much of each pixel lies in a silhouette, 0..256, from FINE x FINE points."""
    rows, columns = points.shape
    inside = points.reshape(rows // FINE, FINE, columns // FINE, FINE).sum((1, 3))
    share: np.ndarray = (inside * 256 // FINE**2).astype("int32")
    return share


def shift(image: np.ndarray, right: int, down: int) -> np.ndarray:
    """int32 (h + 1, w + 1): `image` (h, w) moved by `right` and `down` sixteenths of a pixel, black beyond it."""
    import numpy as np

    moved = np.zeros((image.shape[0] + 1, image.shape[1] + 1), np.int32)
    wide = np.zeros((image.shape[0], image.shape[1] + 1), np.int32)
    wide[:, :-1] = image * (STEPS - right)
    wide[:, 1:] += image * right
    moved[:-1] = wide * (STEPS - down)
    moved[1:] += wide * down
    return moved // STEPS**2


def film(scene: Scene, key: tuple[int, ...]) -> tuple[Events, np.ndarray]:
    """Events of a recording and its boxes (N,) of BOX_FIELDS; `key` seeds the thresholds of its pixels and the noise."""
    import numpy as np

    falling, rising = thresholds_of(key, (2, HEIGHT * WIDTH), MISMATCH)
    seen = watch(pictures(scene), falling, rising, TICKS)
    pixel, time, up = (np.concatenate(pair) for pair in zip(seen, noise(key), strict=True))
    return ordered(pixel, time, up), boxes_of(scene)


def noise(key: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pixel, time and polarity of events that nothing causes."""
    draws = Draws(VERSION, "noise", *key)
    count = WIDTH * HEIGHT * STAMPS[-1] // (QUIET * 1_000_000)
    return draws.many(count, WIDTH * HEIGHT), draws.many(count, STAMPS[-1]), draws.many(count, 2) > 0


def ordered(pixel: np.ndarray, time: np.ndarray, up: np.ndarray) -> Events:
    """Events by time, equal times by pixel and then by polarity."""
    import numpy as np

    from retable.bench.datasets.events import Events

    order = np.lexsort((up, pixel, time))
    y, x = np.divmod(pixel[order], WIDTH)
    return Events(
        t=time[order].astype(np.int64), x=x.astype(np.int16), y=y.astype(np.int16), p=up[order].astype(np.int8)
    )


def pictures(scene: Scene) -> Iterator[np.ndarray]:
    """Log intensities int32 (H * W,) every TICKS microseconds, from the beginning to the last stamp."""
    import numpy as np

    logs = log_table()
    shifts = {}  # the background moved by a part of a pixel, in sixteenths of a grey level
    for time in range(0, STAMPS[-1] + 1, TICKS):
        whole, part = divmod(scene.turn * (time - STAMPS[-1] // 2) // 1_000_000, STEPS)
        if part not in shifts:
            shifts[part] = shift(scene.background * 16, part, 0)
        left = MARGIN - whole
        picture = shifts[part][MARGIN : MARGIN + HEIGHT, left : left + WIDTH].copy()
        for mover in scene.movers:
            _paint(picture, mover, time)
        yield logs[np.ravel(picture)]


def _paint(picture: np.ndarray, mover: Mover, time: int) -> None:
    """Lay a silhouette over a picture of sixteenths of grey levels."""
    (x, right), (y, down) = (divmod(place, STEPS) for place in mover.at(time))
    clear, light = mover.shifted(right, down)
    x0, y0, x1, y1 = max(0, x), max(0, y), min(WIDTH, x + clear.shape[1]), min(HEIGHT, y + clear.shape[0])
    if x0 < x1 and y0 < y1:
        rows, columns = slice(y0 - y, y1 - y), slice(x0 - x, x1 - x)
        here = picture[y0:y1, x0:x1]
        here *= clear[rows, columns]
        here += light[rows, columns] * 16
        here >>= 8


def boxes_of(scene: Scene) -> np.ndarray:
    """Boxes (N,) of BOX_FIELDS at all stamps, of what is mostly within the sensor and not mostly hidden."""
    import numpy as np

    from retable.bench.datasets.prophesee import BOX_FIELDS

    found = []
    for stamp in STAMPS:
        places = [
            (*mover.at(stamp), mover.alpha.shape[1] * STEPS, mover.alpha.shape[0] * STEPS) for mover in scene.movers
        ]
        for track, (place, mover) in enumerate(zip(places, scene.movers, strict=True)):
            area = place[2] * place[3]
            inside = overlap(place, (0, 0, WIDTH * STEPS, HEIGHT * STEPS))
            hidden = max((overlap(place, other) for other in places[track + 1 :]), default=0)
            if inside * SEEN[1] >= area * SEEN[0] and hidden * HIDDEN[1] <= area * HIDDEN[0]:
                found.append((stamp, *(side / STEPS for side in place), mover.label, track + 1))
    return np.array(found, BOX_FIELDS)


def overlap(a: tuple[int, ...], b: tuple[int, ...]) -> int:
    """Common area of two boxes x, y, width, height."""
    across, down = (min(a[i] + a[i + 2], b[i] + b[i + 2]) - max(a[i], b[i]) for i in (0, 1))
    return max(0, across) * max(0, down)
