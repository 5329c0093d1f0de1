"""Letterboxing as SpikeYOLO's code (arXiv 2407.20708) does it: the longer side to a size, centred on grey 114."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

GREY = 114
"""What surrounds an image."""
WEIGHT_BITS = 11
"""Bits of an interpolation weight in OpenCV's bilinear resizing of bytes."""


@dataclass(frozen=True)
class Letterbox:
    """Where an image of `width` x `height` lies in an input of `shape` (H, W), its longer side at `size` pixels.

    With `halves` boxes are moved by half of an odd margin too, which the official code does to labels and not to pixels.
    """

    width: int
    height: int
    size: int
    shape: tuple[int, int]
    halves: bool = False

    @property
    def inner(self) -> tuple[int, int]:
        """Height and width of the resized image; fractions of a pixel are rounded up."""
        longest = max(self.width, self.height)
        return (
            min(math.ceil(self.height * self.size / longest), self.size),
            min(math.ceil(self.width * self.size / longest), self.size),
        )

    @property
    def corner(self) -> tuple[int, int]:
        """Row and column of its upper left pixel; the odd pixel of a margin goes below or to the right."""
        return (self.shape[0] - self.inner[0]) // 2, (self.shape[1] - self.inner[1]) // 2

    def place(self, image: np.ndarray, fill: int = GREY) -> np.ndarray:
        """uint8 (..., H, W) of an image (..., height, width)."""
        import numpy as np

        (top, left), (height, width) = self.corner, self.inner
        placed = np.full((*image.shape[:-2], *self.shape), fill, np.uint8)
        placed[..., top : top + height, left : left + width] = resized(image, height, width)
        return placed

    def boxes(self, corners_n4: np.ndarray) -> np.ndarray:
        """x0, y0, x1, y1 in the input, of boxes in the image."""
        boxes: np.ndarray = corners_n4 * self._scale + self._margin
        return boxes

    def restored(self, corners_n4: np.ndarray) -> np.ndarray:
        """x0, y0, x1, y1 in the image, of boxes in the input."""
        boxes: np.ndarray = (corners_n4 - self._margin) / self._scale
        return boxes

    @property
    def _scale(self) -> np.ndarray:
        import numpy as np

        height, width = self.inner
        return np.array([width / self.width, height / self.height] * 2)

    @property
    def _margin(self) -> np.ndarray:
        import numpy as np

        top, left = self.corner
        if self.halves:
            top, left = (self.shape[0] - self.inner[0]) / 2, (self.shape[1] - self.inner[1]) / 2  # type: ignore[assignment]
        return np.array([left, top] * 2, np.float64)


def resized(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinear uint8 (..., height, width) without smoothing, to the bit as OpenCV computes it on whole numbers."""
    import numpy as np

    if image.shape[-2:] == (height, width):
        return image
    (left, right, a0, a1), (upper, lower, b0, b1) = _taps(image.shape[-1], width), _taps(image.shape[-2], height)
    wide = image[..., left] * a0 + image[..., right] * a1
    wide >>= 4
    sums = ((wide[..., upper, :] * b0[:, None]) >> 16) + ((wide[..., lower, :] * b1[:, None]) >> 16)
    return ((sums + 2) >> 2).astype(np.uint8)


@lru_cache(maxsize=256)
def _taps(old: int, new: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """For each new pixel the two old ones beside its centre, int64, and their weights in 2048ths, int32.

    Beyond the first and the last centre both are the pixel at the border.
    """
    import numpy as np

    place = ((np.arange(new) + 0.5) * (old / new) - 0.5).astype(np.float32)
    first = np.floor(place).astype(np.int64)
    share = (place - first).astype(np.float32)
    one = np.float32(1 << WEIGHT_BITS)
    weights = (np.rint(part * one).astype(np.int32) for part in (1 - share, share))
    return (first.clip(0, old - 1), (first + 1).clip(0, old - 1), *weights)
