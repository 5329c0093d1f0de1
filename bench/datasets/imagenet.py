"""ImageNet-1k as folders of JPEGs, and the reference batch that ADM's evaluator compares with (arXiv 2105.05233)."""

from __future__ import annotations

import os
import zipfile
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from retable.bench.datasets.views import View
from retable.bench.errors import BenchError, MissingDataError

if TYPE_CHECKING:
    import numpy as np

    from retable.bench.datasets.image_folder import FolderSplit
    from retable.bench.datasets.images import ImageData, Reference

REFERENCE_ARRAYS = ("mu", "sigma", "mu_s", "sigma_s", "arr_0")


@dataclass(frozen=True, kw_only=True)
class ImageNet:
    """`train/<wnid>/*.JPEG` and `val/<wnid>/*.JPEG` below `$BENCH_DATA/<root>`; classes are the sorted wnids.

    `reference` is ADM's .npz below `$BENCH_DATA` (None: the training images are the reference); `classes` is how many
    there have to be. Training images are seen as AiM's code sees them: shorter side 9/8 of `size`, random crop. Held-out ones
    are cut as `view` says (`bench.datasets.views`): unless said as ADM cut its reference where there is one, else, for
    classification, as torchvision's references do.
    """

    NAME: ClassVar[str] = "imagenet"

    size: int = 256
    root: str = "imagenet"
    reference: str | None = "VIRTUAL_imagenet256_labeled.npz"
    classes: int = 1000
    view: View | None = None

    def __post_init__(self) -> None:
        if self.size < 1 or self.classes < 1:
            raise BenchError("ImageNet needs a size and a number of classes of at least 1")

    def digest(self) -> str:
        """SHA-256 over names and contents of all files and the checksums within the reference. Raises MissingDataError."""
        train, val = self._splits()
        total = sha256(f"train={train.listing.digest()}\nval={val.listing.digest()}\n".encode())
        if self.reference is not None:
            for name, member in sorted(_members(_data_folder() / self.reference).items()):
                total.update(f"{name} {member.file_size} {member.CRC:08x}\n".encode())
        return total.hexdigest()

    def load(self) -> ImageData:
        """Lists the files and looks at their headers; images are read when they are asked for.

        Raises MissingDataError, BenchError for a file that is no image, and for a reference of other shapes than images of `size` need.
        """
        from retable.bench.datasets.images import ImageData

        train, val = self._splits()
        for split in (train, val):
            split.listing.check()
        return ImageData(
            name="imagenet",
            train=train,
            held_out=val,
            num_classes=self.classes,
            image_shape=(3, self.size, self.size),
            reference=None if self.reference is None else read_reference(_data_folder() / self.reference, self.size),
        )

    def _splits(self) -> tuple[FolderSplit, FolderSplit]:
        from retable.bench.datasets.image_folder import list_split

        folder = _data_folder() / self.root
        view = self.view or ("0.875-bilinear" if self.reference is None else "adm")
        train, val = (
            list_split(folder, part, self.size, augments=part == "train", view=view) for part in ("train", "val")
        )
        for listing in (train.listing, val.listing):
            if len(listing.wnids) != self.classes:
                raise MissingDataError(
                    f"{listing.folder} has {len(listing.wnids)} class folders, not {self.classes}: extract the others"
                )
        if odd := min(set(train.listing.wnids) ^ set(val.listing.wnids), default=None):
            raise MissingDataError(f"class {odd} is in only one of {folder}/train and {folder}/val: extract it in both")
        return train, val


def _data_folder() -> Path:
    return Path(os.environ.get("BENCH_DATA", "data"))


@dataclass(frozen=True, kw_only=True)
class ReferenceImages:
    """The images of a reference batch, 2 GB at 256 pixels, stored (N, H, W, C): read from the file as they are asked for.

    In order that is one reading; a step back begins at the start again where the file is compressed.
    """

    path: Path
    count: int
    shape: tuple[int, int, int]

    def __len__(self) -> int:
        return self.count

    def images(self, indices: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
        import numpy as np

        (file, start), shape = self._opened, self.shape
        found = np.empty((len(indices), *shape), np.uint8)
        try:
            for image, number in zip(found, np.asarray(indices).tolist(), strict=True):
                file.seek(start + number * image.nbytes)
                image[...] = np.frombuffer(file.read(image.nbytes), np.uint8).reshape(shape)
        except (ValueError, zipfile.BadZipFile, OSError) as error:
            raise BenchError(f"arr_0 of {self.path} cannot be read: {error}") from error
        return found.transpose(0, 3, 1, 2)

    @cached_property
    def _opened(self) -> tuple[Any, int]:
        """The array within the archive, and where its pixels begin."""
        file = zipfile.ZipFile(self.path).open("arr_0.npy")  # noqa: SIM115 - for as long as the data are
        _npy_header(file)
        return file, file.tell()


def read_reference(path: Path, size: int) -> Reference:
    """ADM's statistics of pool_3 and its images; its spatial statistics have to be there but are not used.

    Raises MissingDataError for an absent or incomplete file, BenchError for arrays of the wrong shape.
    """
    from retable.bench.datasets.images import Reference

    _members(path)
    shape, kind = _array_header(path, "arr_0")
    if len(shape) != 4 or shape[1:] != (size, size, 3) or kind != "uint8":
        raise BenchError(f"arr_0 of {path} is {kind} {shape}, not uint8 (N, {size}, {size}, 3)")
    arrays = _read(path, ("mu", "sigma"))
    mu, sigma = arrays["mu"].astype("float64"), arrays["sigma"].astype("float64")
    if mu.ndim != 1 or sigma.shape != (len(mu), len(mu)):
        raise BenchError(f"mu {mu.shape} and sigma {sigma.shape} of {path} are not a mean and its covariance")
    return Reference(
        network="inception",
        backend="ADM evaluator, TensorFlow graph",
        mu=mu,
        sigma=sigma,
        images=ReferenceImages(path=path, count=shape[0], shape=(size, size, 3)),
    )


def _members(path: Path) -> dict[str, zipfile.ZipInfo]:
    """What lies in a reference file, by array name; only the end of the file is read."""
    if not path.is_file():
        raise MissingDataError(f"ADM's reference batch is missing: put {path.name} at {path}")
    try:
        with zipfile.ZipFile(path) as archive:
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
    except (zipfile.BadZipFile, OSError) as error:
        raise MissingDataError(f"{path} is no complete .npz file ({error}): get ADM's reference batch again") from error
    lacking = [name for name in REFERENCE_ARRAYS if name not in members]
    if lacking:
        raise MissingDataError(
            f"{path} lacks {', '.join(lacking)} (it holds {', '.join(sorted(members)) or 'nothing'}):"
            " put ADM's own reference batch there"
        )
    return members


def _array_header(path: Path, name: str) -> tuple[tuple[int, ...], str]:
    """Shape and type of one array, without its content."""
    try:
        with zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as file:
            shape, kind = _npy_header(file)
    except (ValueError, zipfile.BadZipFile, OSError) as error:
        raise BenchError(f"{name} of {path} cannot be read: {error}") from error
    return shape, kind


def _npy_header(file: Any) -> tuple[tuple[int, ...], str]:
    """Shape and type; the file stands where the numbers begin. Raises ValueError, also for an array in Fortran's order."""
    from numpy.lib import format as npy

    read = npy.read_array_header_1_0 if npy.read_magic(file) == (1, 0) else npy.read_array_header_2_0
    shape, by_columns, kind = read(file)
    if by_columns and len(shape) == 4:
        raise ValueError("its images are stored in Fortran's order")
    return shape, str(kind)


def _read(path: Path, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in names}
    except (ValueError, zipfile.BadZipFile, OSError) as error:
        raise BenchError(f"{path} cannot be read: {error}") from error
