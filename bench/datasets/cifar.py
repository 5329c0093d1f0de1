"""CIFAR-10 and CIFAR-100 as they are published: Python batches, or the binary version (Krizhevsky, 2009)."""

from __future__ import annotations

import io
import os
import pickle
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from retable import contents
from retable.bench.errors import BenchError, MissingDataError

if TYPE_CHECKING:
    import numpy as np

    from retable.bench.datasets.images import ArraySplit, ImageData

SHAPE = (3, 32, 32)
PIXELS = 3 * 32 * 32

ARRAY_PARTS = {
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    ("_codecs", "encode"),
    ("collections", "OrderedDict"),
    ("__builtin__", "bytearray"),
    ("builtins", "bytearray"),
    *((f"numpy.{core}.multiarray", part) for core in ("core", "_core") for part in ("_reconstruct", "scalar")),
    *((f"numpy.{core}.numeric", "_frombuffer") for core in ("core", "_core")),
}
"""All that pickled arrays and numbers are made of, in every protocol; nothing else is ever called by reading a batch."""


@dataclass(frozen=True)
class Layout:
    """One published version: its folder, the files of both parts, the key or the byte that holds the label."""

    folder: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    label_key: bytes = b""
    label_byte: int = -1
    label_bytes: int = 0


@dataclass(frozen=True, kw_only=True)
class Cifar10:
    """50000 training and 10000 held-out RGB images of ten classes, 32x32, below `$BENCH_DATA/<root>`."""

    NAME: ClassVar[str] = "cifar-10"

    root: str = ""

    NUM_CLASSES: ClassVar[int] = 10
    ARCHIVES: ClassVar[str] = "cifar-10-python.tar.gz (or cifar-10-binary.tar.gz)"
    LAYOUTS: ClassVar[tuple[Layout, ...]] = (
        Layout("cifar-10-batches-py", tuple(f"data_batch_{i}" for i in range(1, 6)), ("test_batch",), b"labels"),
        Layout(
            "cifar-10-batches-bin",
            tuple(f"data_batch_{i}.bin" for i in range(1, 6)),
            ("test_batch.bin",),
            label_byte=0,
            label_bytes=1,
        ),
    )

    def digest(self) -> str:
        """SHA-256 over the content of the files. Raises MissingDataError."""
        folder, layout = self._place()
        return sha256(
            "".join(contents.file_digest(folder / file) for file in layout.train + layout.test).encode()
        ).hexdigest()

    def load(self) -> ImageData:
        """Raises MissingDataError, BenchError for a file that is no batch of these images."""
        from retable.bench.datasets.images import ImageData

        folder, layout = self._place()
        train, held_out = (self._read(folder, layout, files) for files in (layout.train, layout.test))
        return ImageData(
            name=self.NAME, train=train, held_out=held_out, num_classes=self.NUM_CLASSES, image_shape=SHAPE
        )

    def _place(self) -> tuple[Path, Layout]:
        """The first version whose folder is there, with all of its files."""
        root = Path(os.environ.get("BENCH_DATA", "data")) / self.root
        for layout in self.LAYOUTS:
            folder = root / layout.folder
            if folder.is_dir():
                for file in layout.train + layout.test:
                    if not (folder / file).is_file():
                        raise MissingDataError(f"{folder} lacks {file}: unpack {self.ARCHIVES} again at {root}")
                return folder, layout
        raise MissingDataError(f"{self.NAME.upper()} is missing: unpack {self.ARCHIVES} at {root}")

    def _read(self, folder: Path, layout: Layout, files: tuple[str, ...]) -> ArraySplit:
        import numpy as np

        from retable.bench.datasets.images import ArraySplit

        read = read_pickled if layout.label_key else read_binary
        batches = [read(folder / file, layout, self.NUM_CLASSES) for file in files]
        pixels, labels = (np.concatenate(arrays) for arrays in zip(*batches, strict=True))
        return ArraySplit(pixels=pixels.reshape(-1, *SHAPE), labels=labels)


@dataclass(frozen=True, kw_only=True)
class Cifar100(Cifar10):
    """The same sizes with a hundred classes, the fine labels."""

    NAME: ClassVar[str] = "cifar-100"

    NUM_CLASSES: ClassVar[int] = 100
    ARCHIVES: ClassVar[str] = "cifar-100-python.tar.gz (or cifar-100-binary.tar.gz)"
    LAYOUTS: ClassVar[tuple[Layout, ...]] = (
        Layout("cifar-100-python", ("train",), ("test",), b"fine_labels"),
        Layout("cifar-100-binary", ("train.bin",), ("test.bin",), label_byte=1, label_bytes=2),
    )


def read_pickled(path: Path, layout: Layout, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """uint8 (N, 3072) and int64 (N,) of a Python batch. Raises BenchError; a pickle of anything else is not executed."""
    import numpy as np

    try:
        batch = _ArraysOnly(io.BytesIO(path.read_bytes()), encoding="bytes").load()
        # Python 2 wrote bytes, who saves a batch again with Python 3 writes text.
        named = {key.encode() if isinstance(key, str) else key: value for key, value in dict(batch).items()}
        pixels, labels = _rows(np.asarray(named[b"data"])), np.asarray(named[layout.label_key])
    except KeyError as error:
        raise BenchError(f"{path} is no CIFAR batch: it has no {error}") from error
    except Exception as error:  # what a hostile or damaged pickle raises is not foreseeable
        raise BenchError(f"{path} is no CIFAR batch: {type(error).__name__}: {error}") from error
    return _checked(path, pixels, labels, classes)


def _rows(pixels: np.ndarray) -> np.ndarray:
    """Pixels (N, 3072), channel by channel, also of images (N, 3, 32, 32) and (N, 32, 32, 3)."""
    if pixels.ndim == 4 and pixels.shape[1:] == (*SHAPE[1:], SHAPE[0]):
        pixels = pixels.transpose(0, 3, 1, 2)
    return pixels.reshape(len(pixels), -1) if pixels.ndim == 4 and pixels.shape[1:] == SHAPE else pixels


def read_binary(path: Path, layout: Layout, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """The same of a binary file: a record is one label byte (CIFAR-100: coarse, fine) and the pixels."""
    import numpy as np

    content = np.frombuffer(path.read_bytes(), np.uint8)
    record = layout.label_bytes + PIXELS
    if len(content) % record:
        raise BenchError(f"{path} has {len(content)} bytes, which is no whole number of records of {record}")
    records = content.reshape(-1, record)
    return _checked(path, records[:, layout.label_bytes :], records[:, layout.label_byte], classes)


def _checked(path: Path, pixels: Any, labels: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray]:
    import numpy as np

    if not isinstance(pixels, np.ndarray) or pixels.dtype != "uint8" or pixels.shape != (len(labels), PIXELS):
        raise BenchError(f"{path} holds no uint8 ({len(labels)}, {PIXELS}) pixels for its {len(labels)} labels")
    if (
        labels.dtype.kind not in "iu"
        or labels.ndim != 1
        or (len(labels) and not 0 <= labels.min() <= labels.max() < classes)
    ):
        raise BenchError(f"{path} holds labels that are not whole numbers from 0 to {classes - 1}")
    return pixels, labels.astype(np.int64)


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ARRAY_PARTS:
            raise pickle.UnpicklingError(f"it refers to {module}.{name}, which is no part of an array")
        return super().find_class(module, name)
