"""Crops of the photographs that come with scikit-image and scikit-learn: real natural-image statistics, offline.

Seven photographs are in the public domain or CC0 (scikit-image says so for each); `china` and `flower` are CC BY 2.0
(their photographers are named in scikit-learn's `datasets/images/README.txt`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from retable.bench.datasets.fixed import fixed_order, package_folder, require_digest
from retable.bench.errors import BenchError

if TYPE_CHECKING:
    import numpy as np

    from retable.bench.datasets.images import ArraySplit, ImageData

BLANK = 4.0
"""Standard deviation in grey levels below which a patch shows nothing (black sky or border) and is left out."""


@dataclass(frozen=True)
class Photograph:
    """One source: its class name, where its package keeps it, and the SHA-256 of its decoded RGB pixels."""

    name: str
    package: str
    file: str
    sha256: str


PHOTOGRAPHS = (
    Photograph(
        "astronaut", "skimage", "data/astronaut.png", "7836a69b71a83ab4203db37cb9665d1a3796db69827877aefb67314a3cc39952"
    ),
    Photograph(
        "chelsea", "skimage", "data/chelsea.png", "7209055d0e9247df4f1fd49b53a4dbc50aa0d232381d8d554181e10812bdb399"
    ),
    Photograph(
        "china",
        "sklearn",
        "datasets/images/china.jpg",
        "2d378ee53fd0e396c1507e3b21b300b313e5de24e3b25df0463b0d61463436b3",
    ),
    Photograph(
        "coffee", "skimage", "data/coffee.png", "ebc0ab4b2a65eee9743245a3a07efc8a3075aacf8cf2f4cad3570dba2922f89d"
    ),
    Photograph(
        "flower",
        "sklearn",
        "datasets/images/flower.jpg",
        "b33e597184b83a44ab384ee5f63523b83d9ba9781769b31a1c9dde1ac9f3f129",
    ),
    Photograph(
        "hubble",
        "skimage",
        "data/hubble_deep_field.jpg",
        "aef3d5d1a3eac880f675053b91ff8a61a9dac06561cec84435821c01c9aa6dd1",
    ),
    Photograph(
        "immunohistochemistry",
        "skimage",
        "data/ihc.png",
        "9a46edf8b68553ad0bfed86b1a96bb894192efc7378b45603466a20c5b3e9db3",
    ),
    Photograph(
        "retina", "skimage", "data/retina.jpg", "7ad9d09fab313790be03c2a34088089858cb1876d0b5cb3005a9236d2b5087b6"
    ),
    Photograph(
        "rocket", "skimage", "data/rocket.jpg", "3c10d68f97462a3b880c4fd4fc8dd1fc7ad1cd66b3141e0558d0aa9ac0f15cf2"
    ),
)
_DISTRIBUTIONS = {"skimage": "scikit-image", "sklearn": "scikit-learn"}


@dataclass(frozen=True, kw_only=True)
class PhotoPatches:
    """RGB crops of `size` x `size` pixels; the class is the photograph.

    Each photograph is cut across its longer side. Training patches lie within the first half and held-out ones within
    the second, so that no pixel is in both. Patches of one half may overlap each other: their corners lie on a grid of
    a quarter of their size.
    """

    NAME: ClassVar[str] = "photo-patches"

    size: int = 32
    per_class: int = 400
    held_out_per_class: int = 100

    def __post_init__(self) -> None:
        if min(self.size, self.per_class, self.held_out_per_class) < 1:
            raise BenchError("photo patches need size, per_class and held_out_per_class of at least 1")

    def digest(self) -> str:
        """SHA-256 over those of the photographs, which `load` checks. Raises MissingDataError."""
        for photograph in PHOTOGRAPHS:
            folder_of(photograph)
        return sha256("".join(photograph.sha256 for photograph in PHOTOGRAPHS).encode()).hexdigest()

    def load(self) -> ImageData:
        """Raises MissingDataError, BenchError when a package holds other photographs or one is too small."""
        from retable.bench.datasets.images import ImageData

        pictures = [read(photograph) for photograph in PHOTOGRAPHS]
        for photograph, picture in zip(PHOTOGRAPHS, pictures, strict=True):
            require_digest(photograph.sha256, f"the photograph {photograph.name!r}", picture)
        return ImageData(
            name="photo-patches",
            train=self._split("train", pictures),
            held_out=self._split("held_out", pictures),
            num_classes=len(PHOTOGRAPHS),
            image_shape=(3, self.size, self.size),
        )

    def _split(self, part: str, pictures: list[np.ndarray]) -> ArraySplit:
        import numpy as np

        from retable.bench.datasets.images import ArraySplit

        wanted = self.per_class if part == "train" else self.held_out_per_class
        pixels: list[np.ndarray] = []
        for photograph, picture in zip(PHOTOGRAPHS, pictures, strict=True):
            patches = [patch for _, _, patch in candidates(picture, part, self.size)]
            if len(patches) < wanted:
                raise BenchError(
                    f"{photograph.name} has {len(patches)} {part} patches of {self.size} pixels, not {wanted}"
                )
            pixels += [patches[i] for i in fixed_order(len(patches), f"{photograph.name}:{part}")[:wanted]]
        labels = np.repeat(np.arange(len(pictures)), wanted)
        mixed = fixed_order(len(labels), f"photo-patches:{part}")
        return ArraySplit(pixels=np.stack(pixels)[mixed], labels=labels[mixed])


def candidates(picture: np.ndarray, part: str, size: int) -> Iterator[tuple[int, int, np.ndarray]]:
    """(top, left, patch (3, size, size)) on a grid of a quarter patch within one half of a picture (3, H, W)."""
    height, width = picture.shape[1:]
    bottom, right, top, left = height, width, 0, 0
    if part == "train":
        bottom, right = (height, width // 2) if width >= height else (height // 2, width)
    else:
        top, left = (0, width // 2) if width >= height else (height // 2, 0)
    step = max(size // 4, 1)
    for y in range(top, bottom - size + 1, step):
        for x in range(left, right - size + 1, step):
            patch = picture[:, y : y + size, x : x + size]
            if patch.std() >= BLANK:
                yield y, x, patch


def read(photograph: Photograph) -> np.ndarray:
    """uint8 (3, H, W)."""
    import numpy as np
    from PIL import Image

    with Image.open(folder_of(photograph) / photograph.file) as image:
        return np.ascontiguousarray(np.asarray(image.convert("RGB")).transpose(2, 0, 1))


def folder_of(photograph: Photograph) -> Path:
    distribution = _DISTRIBUTIONS[photograph.package]
    return package_folder(photograph.package, distribution, f"the photograph {photograph.name!r} and others")
