"""COCO folders (arXiv 1405.0312): a folder of images and a JSON file of boxes for each part."""

from __future__ import annotations

import json
import math
import os
import posixpath
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from retable import contents
from retable.bench.datasets.files import listed
from retable.bench.datasets.letterbox import Letterbox
from retable.bench.errors import BenchError, MissingDataError

if TYPE_CHECKING:
    import numpy as np

    from retable.bench.datasets.detection import DetectionData, Objects

LARGEST_ID = 2**63 - 1
STRIDE = 32


@dataclass(frozen=True, kw_only=True)
class Coco:
    """`<train>/<file_name>` and `annotations/instances_<train>.json` below `$BENCH_DATA/<root>`, the same for `held_out`.

    Images are of any kind that Pillow reads, and letterboxed to `size` x `size` pixels; held-out ones, with `rectangular`,
    batch by batch to the smallest rectangle in steps of 32 pixels, and half a step, that holds them, in the order of their
    shapes, as SpikeYOLO's code validates. Classes are the categories in the order of their numbers; the ground truth keeps
    the numbers, the crowds and the areas of the file. Images or categories that are named, or have numbers beyond 64 bits,
    are numbered from 1 in the order of the file.
    """

    NAME: ClassVar[str] = "coco"

    size: int = 640
    root: str = "coco"
    train: str = "train2017"
    held_out: str = "val2017"
    rectangular: bool = False

    def __post_init__(self) -> None:
        if self.size < 32:
            raise BenchError(f"COCO's images need a `size` of at least 32 pixels, not {self.size}")

    def digest(self) -> str:
        """SHA-256 over the names and contents of all images and of the annotations. Raises MissingDataError."""
        total = sha256()
        for part in (self.train, self.held_out):
            folder, file = self._folder_of(part), self._file_of(part)
            names = listed(folder, deep=True)
            total.update(f"{contents.files_digest(folder, names)} {contents.file_digest(file)}\n".encode())
        return total.hexdigest()

    def load(self) -> DetectionData:
        """Reads the held-out annotations; those to train on, and images, are read when they are asked for.

        With annotations the headers of their images are looked at once. Raises MissingDataError, BenchError for
        annotations that are malformed and files that are no such images.
        """
        from retable.bench.datasets.detection import DetectionData

        train, held_out = self._split(self.train), self._split(self.held_out)
        categories = held_out.annotations.categories
        return DetectionData(
            name=self.root,
            train=train,
            held_out=held_out,
            num_classes=len(categories),
            class_names=tuple(categories.values()),
            category_ids=tuple(categories),
            image_shape=(3, *[padded(self.size) if self.rectangular else self.size] * 2),
        )

    def _split(self, part: str) -> CocoSplit:
        folder, file = self._folder_of(part), self._file_of(part)
        like = None if part == self.held_out else self._file_of(self.held_out)
        kind = RectangularSplit if self.rectangular and part == self.held_out else CocoSplit
        return kind(folder=folder, files=frozenset(listed(folder, deep=True)), file=file, like=like, size=self.size)

    def _folder_of(self, part: str) -> Path:
        """The images of a part."""
        folder = self._root() / part
        if not folder.is_dir():
            raise MissingDataError(f"COCO is missing, {folder} does not exist: {self._layout()}")
        return folder

    def _file_of(self, part: str) -> Path:
        """The annotations of a part."""
        file = self._root() / "annotations" / f"instances_{part}.json"
        if not file.is_file():
            raise MissingDataError(f"COCO is incomplete, {file} does not exist: {self._layout()}")
        return file

    def _layout(self) -> str:
        root = self._root()
        return (
            f"put its images at {root}/{{{self.train},{self.held_out}}}/*.jpg and the boxes at"
            f" {root}/annotations/instances_{{{self.train},{self.held_out}}}.json"
        )

    def _root(self) -> Path:
        return Path(os.environ.get("BENCH_DATA", "data")) / self.root


@dataclass(frozen=True, kw_only=True, eq=False)
class Annotations:
    """What a file says of N images: their numbers (N,), names, sides (N, 2) as width and height, and their objects.

    `categories` lead from number to name; class k of the objects is the k-th of them.
    """

    image_ids: np.ndarray
    names: tuple[str, ...]
    sizes: np.ndarray
    objects: Objects
    categories: Mapping[int, str]


@dataclass(frozen=True, kw_only=True, eq=False)
class CocoSplit:
    """Annotated images of a folder, letterboxed to `size`; `files` are the names of what is in it.

    `like` is the annotation file with whose categories this one has to agree.
    """

    folder: Path
    files: frozenset[str]
    file: Path
    like: Path | None
    size: int

    @cached_property
    def annotations(self) -> Annotations:
        """Read on first use. Raises BenchError for a malformed file, MissingDataError where images of it are missing."""
        from retable.bench.datasets.pixels import check_images

        found = read_annotations(self.file)
        missing = sorted(set(found.names) - self.files)
        if missing:
            raise MissingDataError(
                f"COCO is incomplete: {len(missing)} of the {len(found.names)} images of {self.file} are not in"
                f" {self.folder}, for example {missing[0]}"
            )
        if self.like is not None and found.categories != read_annotations(self.like).categories:
            raise BenchError(f"{self.file} has other categories than {self.like}")
        sides = [(width, height) for width, height in found.sizes.tolist()]
        check_images([self.folder / name for name in found.names], sides, self.file.name)
        return found

    def __len__(self) -> int:
        return len(self.annotations.names)

    @property
    def image_ids(self) -> np.ndarray:
        return self.annotations.image_ids

    @cached_property
    def ground_truth(self) -> dict[str, Any]:
        from retable.bench.datasets.detection import ground_truth

        found = self.annotations
        return ground_truth(found.objects, found.image_ids, found.sizes, found.categories, found.names)

    def images(self, indices: np.ndarray) -> np.ndarray:
        """uint8 (B, 3, size, size). Raises BenchError for a file that is no image or has other sides than annotated."""
        return self._shaped(indices, self.shape_of(indices))

    def _shaped(self, indices: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
        """Images in inputs of `shape` (H, W)."""
        from concurrent.futures import ThreadPoolExecutor

        import numpy as np

        names = self.annotations.names  # read before the threads would all read them
        with ThreadPoolExecutor(os.cpu_count()) as pool:  # Pillow decodes outside the interpreter lock
            chosen = [int(index) for index in indices]
            found = list(pool.map(lambda index: self._image(index, names[index], shape), chosen))
        return np.stack(found) if found else np.empty((0, 3, *shape), np.uint8)

    def shape_of(self, indices: np.ndarray) -> tuple[int, int]:
        """Height and width of a batch of these images."""
        return self.size, self.size

    def boxes(self, indices: np.ndarray) -> list[np.ndarray]:
        """float32 (n, 5) for each image; boxes are cut to the image, and crowds left out."""
        from retable.bench.datasets.detection import corners, labelled

        objects, found = self.annotations.objects, []
        for index in indices:
            rows, box = objects.of(int(index)), self._letterbox(int(index))
            real = ~objects.crowd[rows]
            inside = corners(objects.boxes[rows][real]).clip(0, [box.width, box.height] * 2)
            found.append(labelled(objects.classes[rows][real], box.boxes(inside), None))
        return found

    def restore(self, index: int, boxes_n4: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
        """Cut to the image, as the official evaluation cuts."""
        box = self._letterbox(index, shape)
        return box.restored(boxes_n4.astype("float64")).clip(0, [box.width, box.height] * 2)

    def _letterbox(self, index: int, shape: tuple[int, int] | None = None) -> Letterbox:
        width, height = self.annotations.sizes[index].tolist()
        return Letterbox(width, height, self.size, shape or (self.size, self.size))

    def _image(self, index: int, name: str, shape: tuple[int, int]) -> np.ndarray:
        import numpy as np

        from retable.bench.datasets.pixels import read_rgb

        path, box = self.folder / name, self._letterbox(index, shape)
        image = read_rgb(path)
        if image.size != (box.width, box.height):
            raise BenchError(
                f"{path} has {image.width}x{image.height} pixels, and {box.width}x{box.height} in {self.file.name}"
            )
        return box.place(np.asarray(image).transpose(2, 0, 1))


class RectangularSplit(CocoSplit):
    """Batches in the smallest rectangles that hold them; not for training, whose boxes are those of squares."""

    def order(self) -> np.ndarray:
        """By height over width."""
        import numpy as np

        width, height = self.annotations.sizes.T
        return np.argsort(height / width, kind="stable")

    def squares(self, indices: np.ndarray) -> np.ndarray:
        """uint8 (B, 3, size, size): at the side that the published energies are for, whatever the batch."""
        return self._shaped(indices, (self.size, self.size))

    def shape_of(self, indices: np.ndarray) -> tuple[int, int]:
        width, height = self.annotations.sizes[indices].T
        ratios = height / width
        if len(ratios) and ratios.max() < 1:
            return padded(self.size * float(ratios.max())), padded(self.size)
        if len(ratios) and ratios.min() > 1:
            return padded(self.size), padded(self.size / float(ratios.min()))
        return padded(self.size), padded(self.size)


def padded(side: float) -> int:
    """A side of an input that holds `side` pixels: whole strides, half a stride added first."""
    return math.ceil(side / STRIDE + 0.5) * STRIDE


def read_annotations(file: Path) -> Annotations:
    """COCO's JSON without its outlines. Raises BenchError, naming the file and what is wrong in it."""
    import numpy as np

    from retable.bench.datasets.detection import gather

    try:
        with file.open(encoding="utf-8-sig") as opened:  # some tools begin with a byte order mark
            content = json.load(opened, object_hook=_without_outline)
        named = {_identity(row["id"]): str(row["name"]) for row in content["categories"]}
        images = [_image_row(row) for row in content["images"]]
        objects = [_object_row(row) for row in content["annotations"]]
        _require(len(named) == len(content["categories"]), "two categories have one number")
        _require(bool(named), "it has no categories")
        numbers = {image: place for place, (image, *_) in enumerate(images)}
        _require(len(numbers) == len(images), "two images have one number")
        classes = {number: k for k, number in enumerate(sorted(named) if _are_numbers(named) else named)}
        for number, image, category, *_ in objects:
            _require(image in numbers, f"annotation {number} is in image {image}, which it does not have")
            _require(category in classes, f"annotation {number} is of category {category}, which it does not have")
    except KeyError as error:
        raise BenchError(f"{file} is no COCO annotation file: an entry has no {error}") from error
    except (ValueError, TypeError, RecursionError) as error:  # the errors of json are ValueErrors
        raise BenchError(f"{file} is no COCO annotation file: {error}") from error
    rows = [(numbers[image], box, classes[category], crowd, area) for _, image, category, box, crowd, area in objects]
    return Annotations(
        image_ids=np.array(_numbers([image[0] for image in images]), np.int64),
        names=tuple(image[1] for image in images),
        sizes=np.array([image[2:] for image in images], np.int64).reshape(-1, 2),
        objects=gather(rows, len(images)),
        categories=dict(zip(_numbers(list(classes)), (named[one] for one in classes), strict=True)),
    )


Identity = int | str


def _identity(value: Any) -> Identity:
    """What images, annotations and categories are told apart by: a whole number, however it is written, or a name."""
    if isinstance(value, str):
        text = value.strip()
        return int(text) if text.isascii() and text.removeprefix("-").isdigit() else value
    return _whole(value)


def _whole(value: Any) -> int:
    _require(isinstance(value, int | float) and not isinstance(value, bool), f"{value!r} is no number")
    _require(math.isfinite(value) and value == int(value), f"{value!r} is no whole number")
    return int(value)


def _are_numbers(identities: Iterable[Identity]) -> bool:
    return all(isinstance(one, int) and abs(one) <= LARGEST_ID for one in identities)


def _numbers(identities: Sequence[Identity]) -> Sequence[int]:
    """These, or 1, 2, ... where some are names or too large."""
    return identities if _are_numbers(identities) else range(1, len(identities) + 1)  # type: ignore[return-value]


def _without_outline(entry: dict[str, Any]) -> dict[str, Any]:
    """Outlines are most of a file, and go while it is read."""
    entry.pop("segmentation", None)
    return entry


def _image_row(row: Any) -> tuple[Identity, str, int, int]:
    number, width, height = _identity(row["id"]), _whole(row["width"]), _whole(row["height"])
    _require(min(width, height) > 0, f"image {number} has {width}x{height} pixels")
    name = posixpath.normpath(str(row["file_name"]).replace("\\", "/"))
    _require(not name.startswith(("/", "../")), f"image {number} is at {name}, outside the folder of images")
    return number, name, width, height


def _object_row(row: Any) -> tuple[Identity, Identity, Identity, list[float], bool, float]:
    number, box = _identity(row["id"]), [float(side) for side in row["bbox"]]
    area = float(row["area"]) if "area" in row else math.prod(box[2:])
    _require(len(box) == 4, f"the bbox of annotation {number} has {len(box)} numbers, not x, y, width, height")
    _require(all(map(math.isfinite, [*box, area])), f"annotation {number} has numbers that are not finite")
    _require(min(box[2:]) >= 0, f"the bbox of annotation {number} has a negative width or height")
    return number, _identity(row["image_id"]), _identity(row["category_id"]), box, bool(row.get("iscrowd", 0)), area


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ValueError(otherwise)
