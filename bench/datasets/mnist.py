"""MNIST as it is published: four IDX files, plain or gzipped, below `$BENCH_DATA/<root>`."""

from __future__ import annotations

import gzip
import os
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from retable.bench.errors import BenchError, MissingDataError

if TYPE_CHECKING:
    import numpy as np

    from retable.bench.datasets.images import ArraySplit, ImageData

NATIVE = 28
IMAGES, LABELS = 0x803, 0x801
"""First four bytes of a file of unsigned bytes with three axes, and with one."""
PARTS = {"train": "train", "held_out": "t10k"}


@dataclass(frozen=True, kw_only=True)
class Mnist:
    """60,000 training and 10,000 held-out images, bilinearly enlarged to `size` x `size` pixels, three equal channels."""

    NAME: ClassVar[str] = "mnist"

    size: int = 32
    root: str = "mnist"

    def __post_init__(self) -> None:
        if self.size < NATIVE:
            raise BenchError(f"MNIST has {NATIVE} pixels a side and cannot be {self.size}")

    def digest(self) -> str:
        """SHA-256 over the four files' contents. Raises MissingDataError, BenchError for a damaged file."""
        total = sha256()
        for part in PARTS:
            for kind in ("images-idx3", "labels-idx1"):
                total.update(sha256(self._content(part, kind)).digest())
        return total.hexdigest()

    def load(self) -> ImageData:
        """Raises MissingDataError, BenchError for a file that is no IDX file or labels that do not belong to the images."""
        from retable.bench.datasets.images import ImageData

        return ImageData(
            name="mnist",
            train=self._split("train"),
            held_out=self._split("held_out"),
            num_classes=10,
            image_shape=(3, self.size, self.size),
        )

    def _split(self, part: str) -> ArraySplit:
        import numpy as np

        from retable.bench.datasets.images import ArraySplit

        images = self._array(part, "images-idx3", IMAGES, (NATIVE, NATIVE))
        labels = self._array(part, "labels-idx1", LABELS, ()).astype(np.int64)
        if len(images) != len(labels) or (len(labels) and labels.max() > 9):
            raise BenchError(f"{self._folder()}: the labels of the part {part} do not belong to its images")
        pixels = np.repeat(enlarged(images, self.size)[:, None], 3, axis=1)
        return ArraySplit(pixels=pixels, labels=labels)

    def _array(self, part: str, kind: str, magic: int, shape: tuple[int, ...]) -> np.ndarray:
        import numpy as np

        content = self._content(part, kind)
        head = 4 * (2 + len(shape))
        words = [int.from_bytes(content[i : i + 4], "big") for i in range(0, head, 4)]
        if len(content) < head or words[0] != magic or tuple(words[2:]) != shape:
            raise BenchError(f"{self._path(part, kind)} is no MNIST file of {kind}")
        values = np.frombuffer(content, np.uint8, offset=head)
        if values.size != words[1] * int(np.prod(shape)):
            raise BenchError(f"{self._path(part, kind)} is cut off: it says {words[1]} entries and holds fewer")
        return values.reshape(words[1], *shape)

    def _content(self, part: str, kind: str) -> bytes:
        path = self._path(part, kind)
        try:
            return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        except (OSError, EOFError) as error:
            raise BenchError(f"{path} cannot be read: {error}") from error

    def _path(self, part: str, kind: str) -> Path:
        """The file, plain before gzipped."""
        name = f"{PARTS[part]}-{kind}-ubyte"
        for path in (self._folder() / name, self._folder() / f"{name}.gz"):
            if path.is_file():
                return path
        raise MissingDataError(
            f"MNIST is missing, {self._folder() / name} does not exist: put train-images-idx3-ubyte, train-labels-idx1-ubyte, "
            f"t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte there, plain or as .gz"
        )

    def _folder(self) -> Path:
        return Path(os.environ.get("BENCH_DATA", "data")) / self.root


def enlarged(images: np.ndarray, size: int) -> np.ndarray:
    """uint8 (N, size, size) of (N, 28, 28), bilinearly."""
    import numpy as np
    from PIL import Image

    if not len(images):
        return np.zeros((0, size, size), np.uint8)
    bilinear = Image.Resampling.BILINEAR
    return np.stack([np.asarray(Image.fromarray(image).resize((size, size), bilinear)) for image in images])
