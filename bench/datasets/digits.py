"""Handwritten digits that come with scikit-learn: 1797 grey 8x8 images of ten classes (UCI optdigits, test part)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from retable.bench.datasets.fixed import fixed_order, package_folder, require_digest
from retable.bench.errors import BenchError

if TYPE_CHECKING:
    import numpy as np

    from retable.bench.datasets.images import ImageData

SHA256 = "1fa49054f5d5ba0bcf14a7848951319bfb97150b87f1a8c21b50191db38780b9"
NATIVE, TRAIN = 8, 1297


@dataclass(frozen=True, kw_only=True)
class Digits:
    """Bilinearly enlarged to `size` x `size` pixels, three equal channels; 1297 training and 500 held-out images."""

    NAME: ClassVar[str] = "digits"

    size: int = 16

    def __post_init__(self) -> None:
        if self.size < NATIVE:
            raise BenchError(f"digits have {NATIVE} pixels a side and cannot be {self.size}")

    def digest(self) -> str:
        """SHA-256 of the packaged images and labels, checked by `load`. Raises MissingDataError."""
        package_folder("sklearn", "scikit-learn", "digits")
        return SHA256

    def load(self) -> ImageData:
        """Raises MissingDataError, BenchError when the package holds other data."""
        import numpy as np

        from retable.bench.datasets.images import ArraySplit, ImageData

        self.digest()
        raw, labels = read()
        require_digest(SHA256, "scikit-learn's digits", raw, labels)
        pixels = np.repeat(enlarged(raw, self.size)[:, None], 3, axis=1)
        order = fixed_order(len(raw), "digits")
        train, held_out = (
            ArraySplit(pixels=pixels[part], labels=labels[part]) for part in (order[:TRAIN], order[TRAIN:])
        )
        shape = (3, self.size, self.size)
        return ImageData(name="digits", train=train, held_out=held_out, num_classes=10, image_shape=shape)


def read() -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 (N, 8, 8) with values 0..16, labels int64 (N,)."""
    import numpy as np
    from sklearn.datasets import load_digits

    digits = load_digits()
    return digits.images.astype(np.uint8), digits.target.astype(np.int64)


def enlarged(raw: np.ndarray, size: int) -> np.ndarray:
    """uint8 (N, size, size) of images with values 0..16; pixel centres at half-integers, borders repeated."""
    import numpy as np

    centres = ((np.arange(size) + 0.5) * NATIVE / size - 0.5).clip(0, NATIVE - 1)
    weights = (1 - abs(centres[:, None] - np.arange(NATIVE))).clip(0)
    pixels: np.ndarray = np.rint(np.einsum("yh,nhw,xw->nyx", weights, raw * (255 / 16), weights)).astype(np.uint8)
    return pixels
