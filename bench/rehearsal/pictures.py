"""Miniatures of image data sets: smooth random pictures in the files that the real ones come in.

A class has a pattern of its own, so that a few steps of training name some images right: what is measured of those exists.
"""

from __future__ import annotations

import gzip
import pickle
from collections.abc import Callable, Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

SEED = 20240705
COARSE = (4, 5, 3)
IMAGES_A_CLASS = {"train": 3, "val": 2}
ODD = {0: "L", 1: "CMYK"}
"""ImageNet has grey pictures and some in printing colours among its JPEGs; so have these."""
LOOKED_AT = 4
NEAR = 1.6
"""Mean distance of pixels, out of 255: at most 1.2 where a view is as it says, at least 2.1 where another share is kept."""


def picture(rng: np.random.Generator, height: int, width: int, of: int | None = None) -> np.ndarray:
    """uint8 (height, width, 3): coarse noise, enlarged; half of it is that of the class `of`."""
    import numpy as np
    from PIL import Image

    noise = rng.integers(0, 256, COARSE, dtype=np.uint8)
    if of is not None:
        pattern = np.random.default_rng((SEED, of)).integers(0, 256, COARSE, dtype=np.uint8)
        noise = (noise // 2 + pattern // 2).astype(np.uint8)
    pixels: np.ndarray = np.asarray(Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC))
    return pixels


def imagenet(dataset: Any, root: Path) -> None:
    """`{train,val}/<wnid>/*.JPEG` of `classes` classes, in portrait and landscape, and ADM's reference batch."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(SEED)
    folder = root / dataset.root
    if not folder.exists():
        for part, count in IMAGES_A_CLASS.items():
            for k in range(dataset.classes):
                place = folder / part / f"n{1440764 + k:08d}"
                place.mkdir(parents=True)
                for number in range(count):
                    size = (110, 75) if number % 2 else (80, 120)
                    image = Image.fromarray(picture(rng, *size, of=k))
                    if part == "val" and number == 0 and k in ODD:
                        image = image.convert(ODD[k])
                    image.save(place / f"ILSVRC2012_{part}_{k:04d}{number:04d}.JPEG")
    if dataset.reference is not None:
        _reference(root / dataset.reference, dataset.size, rng)


def _reference(path: Path, size: int, rng: np.random.Generator) -> None:
    """ADM's .npz: images, and statistics of 2048 and 2023 features."""
    import numpy as np

    images = np.stack([picture(rng, size, size) for _ in range(12)])
    statistics = {"mu": rng.random(2048), "sigma": np.eye(2048), "mu_s": rng.random(2023), "sigma_s": np.eye(2023)}
    np.savez_compressed(path, arr_0=images, **statistics)  # type: ignore[arg-type]


def cifar(dataset: Any, root: Path) -> None:
    """The Python batches of the first layout that the data set knows; labels cycle through the classes."""
    import numpy as np

    rng, layout = np.random.default_rng(SEED), dataset.LAYOUTS[0]
    folder = root / dataset.root / layout.folder
    folder.mkdir(parents=True, exist_ok=True)
    count = max(12, dataset.NUM_CLASSES)
    for file in (*layout.train, *layout.test):
        labels = [number % dataset.NUM_CLASSES for number in range(count)]
        pixels = np.stack([picture(rng, 32, 32, of=label).transpose(2, 0, 1).ravel() for label in labels])
        (folder / file).write_bytes(pickle.dumps({b"data": pixels, layout.label_key: labels}, protocol=2))


def mnist(dataset: Any, root: Path) -> None:
    """Four gzipped IDX files."""
    import numpy as np

    rng, folder = np.random.default_rng(SEED), root / dataset.root
    folder.mkdir(parents=True, exist_ok=True)
    for part, count in (("train", 40), ("t10k", 20)):
        labels = (np.arange(count) % 10).astype(np.uint8)
        pixels = np.stack([picture(rng, 28, 28, of=int(label))[..., 0] for label in labels])
        for name, array in ((f"{part}-images-idx3-ubyte", pixels), (f"{part}-labels-idx1-ubyte", labels)):
            header = bytes((0, 0, 8, array.ndim)) + np.array(array.shape, ">i4").tobytes()
            (folder / f"{name}.gz").write_bytes(gzip.compress(header + array.tobytes()))


def middle(data: Any, files: Mapping[str, bytes]) -> str | None:
    """Whether held-out pictures show the share of the middle that their view keeps; random weights label any other as well.

    Cut before they are shrunk, which no view does, at the best of some places around the middle: near to all that keep this
    share, however they are resampled and round their corners to whole pixels.
    """
    import numpy as np

    from retable.bench.datasets.pixels import read_rgb

    split = data.held_out
    share = 1.0 if split.view == "adm" else float(split.view.partition("-")[0])
    for number, found in enumerate(split.images(np.arange(min(LOOKED_AT, len(split))))):
        picture = read_rgb(split.listing.folder / split.listing.files[number])
        pixel = min(picture.size) / int(split.size / share)
        away = min(np.abs(found - cut).mean() for cut in _cuts(picture, split.size, pixel))
        if away > NEAR:
            return f"{split.listing.files[number]} is not seen as {split.view}: {away:.1f} of 255 from its middle {share:g}"
    return None


def _cuts(picture: Image, size: int, pixel: float) -> Iterator[np.ndarray]:
    """(3, size, size) of squares with `size` times `pixel` to a side, in the middle and up to a pixel beside it."""
    import numpy as np
    from PIL import Image as Pillow

    side = size * pixel
    steps = [pixel * step / 2 for step in range(-2, 3)]
    lefts, tops = ({min(max((whole - side) / 2 + step, 0), whole - side) for step in steps} for whole in picture.size)
    for left, top in product(lefts, tops):
        box = (left, top, left + side, top + side)
        yield np.asarray(picture.resize((size, size), Pillow.Resampling.BICUBIC, box=box), float).transpose(2, 0, 1)


STAND_INS: Mapping[str, Callable[..., None]] = {
    "imagenet": imagenet,
    "cifar-10": cifar,
    "cifar-100": cifar,
    "mnist": mnist,
}
CHECKS: Mapping[str, Callable[[Any, Mapping[str, bytes]], str | None]] = {"imagenet": middle}
