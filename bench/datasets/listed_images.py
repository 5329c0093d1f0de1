"""Image files of a list, as square RGB pixels: squeezed for testing, randomly cropped and mirrored for training."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from retable.bench.datasets.pixels import check_images, read_rgb

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

AREA, RATIO = (0.08, 1.0), (3 / 4, 4 / 3)
"""Of a random crop: its share of the image, and its width over its height."""
TRIES = 10


@dataclass(frozen=True, kw_only=True, eq=False)
class ListedImages:
    """Files below `folder` as images of `size` x `size`; an `rng` asks for the training view. Both resize bicubically."""

    folder: Path
    files: tuple[str, ...]
    size: int

    def __len__(self) -> int:
        return len(self.files)

    def checked(self) -> ListedImages:
        """These, once every file has turned out to be an image. Raises BenchError naming the first that is none."""
        check_images([self.folder / file for file in sorted(set(self.files))])
        return self

    def images(self, indices: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
        """uint8 (N, 3, size, size). Raises BenchError for a file that is no image."""
        from concurrent.futures import ThreadPoolExecutor

        import numpy as np

        seeds = [None] * len(indices) if rng is None else rng.integers(2**63, size=len(indices)).tolist()

        def prepared(index: int, seed: int | None) -> np.ndarray:
            image = read_rgb(self.folder / self.files[index])
            own = None if seed is None else np.random.default_rng(seed)
            return squeezed(image, self.size) if own is None else random_view(image, self.size, own)

        with ThreadPoolExecutor(os.cpu_count()) as pool:  # Pillow decodes outside the interpreter lock
            images = list(pool.map(prepared, indices, seeds))
        return np.stack(images) if images else np.empty((0, 3, self.size, self.size), np.uint8)


def squeezed(image: Image, size: int, box: tuple[int, int, int, int] | None = None) -> np.ndarray:
    """The image, or a box (left, top, right, bottom) of it, at size x size whatever its shape; uint8 (3, size, size)."""
    import numpy as np
    from PIL import Image as Pillow

    part = image if box is None else image.crop(box)
    return np.ascontiguousarray(np.asarray(part.resize((size, size), Pillow.Resampling.BICUBIC)).transpose(2, 0, 1))


def random_view(image: Image, size: int, rng: np.random.Generator) -> np.ndarray:
    """A random crop, mirrored every other time; uint8 (3, size, size)."""
    pixels = squeezed(image, size, crop_box(*image.size, rng))
    return pixels[:, :, ::-1].copy() if rng.random() < 0.5 else pixels


def crop_box(width: int, height: int, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) of AREA of the image with a shape within RATIO; else the largest such box in its middle."""
    import numpy as np

    for _ in range(TRIES):
        area = width * height * rng.uniform(*AREA)
        ratio = math.exp(rng.uniform(*np.log(RATIO)))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            left, top = int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1))
            return left, top, left + w, top + h
    w, h = min(width, round(height * RATIO[1])), min(height, round(width / RATIO[0]))
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h
