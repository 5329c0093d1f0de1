"""Images in class folders named by WordNet id, read and cropped when they are asked for."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from retable import contents
from retable.bench.datasets.files import listed
from retable.bench.datasets.pixels import check_images, read_rgb
from retable.bench.datasets.views import View, seen
from retable.bench.errors import MissingDataError

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

WNID = re.compile(r"n\d{8}")
SUFFIXES = (".jpeg", ".jpg")


@dataclass(frozen=True, kw_only=True, eq=False)
class Listing:
    """The files of a split, relative to `folder` and sorted."""

    folder: Path
    files: tuple[str, ...]
    labels: np.ndarray
    wnids: tuple[str, ...]

    def digest(self) -> str:
        """SHA-256 over names and contents; a class whose files nobody has touched is not read again."""
        names: dict[str, list[str]] = {}
        for file in self.files:
            names.setdefault(file.partition("/")[0], []).append(file)
        return sha256("".join(contents.files_digest(self.folder, names[c]) for c in self.wnids).encode()).hexdigest()

    def check(self) -> None:
        """Raises BenchError, naming the first file that is no image to be used."""
        paths = [self.folder / file for file in self.files]
        check_images(paths)


@dataclass(frozen=True, kw_only=True, eq=False)
class FolderSplit:
    """Labelled files as images of `size` x `size` pixels.

    With `augments`, an `rng` asks for the training view: shorter side 9/8 of `size` (288 for 256), random crop, by Lanczos.
    Otherwise images are cut as `view` says.
    """

    listing: Listing
    size: int
    augments: bool
    view: View = "adm"

    @property
    def labels(self) -> np.ndarray:
        return self.listing.labels

    def __len__(self) -> int:
        return len(self.listing.files)

    def images(self, indices: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
        """uint8 (N, 3, size, size). Raises BenchError for a file that is no image."""
        from concurrent.futures import ThreadPoolExecutor

        import numpy as np

        short, places_N2 = self.size, np.full((len(indices), 2), 0.5)
        training = self.augments and rng is not None
        if self.augments and rng is not None:
            short, places_N2 = self.size * 9 // 8, rng.random((len(indices), 2))

        def prepared(index: int, place: np.ndarray) -> np.ndarray:
            if self.view != "adm" and not training:
                return seen(read_rgb(self.listing.folder / self.listing.files[index]), self.size, self.view)
            return crop(read_rgb(self.listing.folder / self.listing.files[index]), short, self.size, place)

        with ThreadPoolExecutor(os.cpu_count()) as pool:  # Pillow decodes outside the interpreter lock
            images = list(pool.map(prepared, indices, places_N2))
        return np.stack(images) if images else np.empty((0, 3, self.size, self.size), np.uint8)


def crop(image: Image, short: int, size: int, place: np.ndarray) -> np.ndarray:
    """The image with its shorter side at `short` pixels, cut to size x size; uint8 (3, size, size).

    `place` (vertical, horizontal) lies between 0 for the first possible position and 1 for the last; 0.5 is the centre.
    """
    import numpy as np
    from PIL import Image as Pillow

    width, height = (side * short // min(image.size) for side in image.size)
    left, top = (int(p * (side - size + 1)) for p, side in zip(place[::-1], (width, height), strict=True))
    resized = image.resize((width, height), Pillow.Resampling.LANCZOS)
    pixels = np.asarray(resized.crop((left, top, left + size, top + size)))
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def list_split(root: Path, part: str, size: int, *, augments: bool, view: View = "adm") -> FolderSplit:
    """The files of `root/part/<wnid>`. Raises MissingDataError for a layout that is not so."""
    folder = root / part
    layout = f"put its images at {root}/train/<wnid>/*.JPEG and {root}/val/<wnid>/*.JPEG"
    if not folder.is_dir():
        raise MissingDataError(f"ImageNet is missing, {folder} does not exist: {layout}")
    with os.scandir(folder) as entries:
        classes = sorted(entry.path for entry in entries if WNID.fullmatch(entry.name) and entry.is_dir())
    if not classes:
        raise MissingDataError(f"{folder} has no class folders such as n01440764: {layout}")
    # a folder's time changes whenever a file in it comes, goes or is renamed
    listing = _list(folder, tuple((path, os.stat(path).st_mtime_ns) for path in classes))
    return FolderSplit(listing=listing, size=size, augments=augments, view=view)


@lru_cache(maxsize=8)
def _list(folder: Path, classes: tuple[tuple[str, int], ...]) -> Listing:
    import numpy as np

    wnids = tuple(os.path.basename(path) for path, _ in classes)
    files: list[str] = []
    counts: list[int] = []
    for wnid in wnids:
        found = listed(folder / wnid, lambda name: name.lower().endswith(SUFFIXES))
        if not found:
            raise MissingDataError(f"the class folder {folder / wnid} holds no *.JPEG: extract its images there")
        files += [f"{wnid}/{name}" for name in found]
        counts.append(len(found))
    labels = np.repeat(np.arange(len(wnids), dtype=np.int64), counts)
    return Listing(folder=folder, files=tuple(files), labels=labels, wnids=wnids)
