"""What a loaded detection data set is: uint8 images, the boxes to train on, and COCO's ground truth to be judged by.

There are two coordinate systems. `images` and `boxes` of a split are in pixels of the network's input. The ground truth is
in pixels of the original images; `restore` leads there. A crowd (one box around many objects that nobody told apart) is in
the ground truth, where a detection on it counts neither way, and not in `boxes`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from retable.bench.errors import BenchError

if TYPE_CHECKING:
    import numpy as np

EVENT_DIMS = 4
"""Dimensions of one sample of event frames, (T, C, H, W)."""


class DetectionSplit(Protocol):
    """Annotated images that are read when they are asked for."""

    def __len__(self) -> int: ...

    @property
    def image_ids(self) -> np.ndarray:
        """int64 (N,), as the ground truth names the images."""
        ...

    @property
    def ground_truth(self) -> Mapping[str, Any]:
        """COCO's annotation format: `images`, `annotations`, `categories`."""
        ...

    def images(self, indices: np.ndarray) -> np.ndarray:
        """uint8 (B, C, H, W), or event frames (B, T, C, H, W)."""
        ...

    def boxes(self, indices: np.ndarray) -> list[np.ndarray]:
        """float32 (n, 5) for each image: class, x0, y0, x1, y1 in pixels of `images`; n may be 0."""
        ...

    # A split may also say `order()`, int64 (N,), in which neighbours share a batch, `counts(boxes_n4)`, bool (n,), which
    # restored detections are judged, and `squares(indices)`, its images at one size where those of `images` differ.

    def restore(self, index: int, boxes_n4: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
        """float64 (n, 4) x0, y0, x1, y1 in pixels of the original image, of boxes in an input of `shape` (H, W)."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class DetectionData:
    """A loaded data set; `image_shape` is (C, H, W), or (T, C, H, W) of event frames.

    Classes count from 0; class k has the name `class_names[k]` and is category `category_ids[k]` in the ground truth.
    """

    name: str
    train: DetectionSplit
    held_out: DetectionSplit
    num_classes: int
    class_names: tuple[str, ...]
    category_ids: tuple[int, ...]
    image_shape: tuple[int, ...]

    def __post_init__(self) -> None:
        if not len(self.class_names) == len(self.category_ids) == self.num_classes:
            raise ValueError(
                f"{self.num_classes} classes have {len(self.class_names)} names and {len(self.category_ids)} categories"
            )


@dataclass(frozen=True, kw_only=True, eq=False)
class Objects:
    """The annotated objects of N images, those of image i from `starts[i]` to `starts[i + 1]`.

    boxes float64 (M, 4): x, y of the upper left corner, width, height in pixels of the original image; classes int64 (M,);
    crowd bool (M,); areas float64 (M,) in square pixels. Raises ValueError for other types or shapes.
    """

    starts: np.ndarray
    boxes: np.ndarray
    classes: np.ndarray
    crowd: np.ndarray
    areas: np.ndarray

    def __post_init__(self) -> None:
        count = len(self.boxes)
        wanted = {"boxes": ("float64", (count, 4)), "classes": ("int64", (count,)), "crowd": ("bool", (count,))}
        for name, (kind, shape) in {**wanted, "areas": ("float64", (count,))}.items():
            array = getattr(self, name)
            if array.dtype != kind or array.shape != shape:
                raise ValueError(f"{name} of the objects is {array.dtype} {array.shape}, not {kind} {shape}")
        if self.starts[0] != 0 or self.starts[-1] != count or (self.starts[1:] < self.starts[:-1]).any():
            raise ValueError(f"the images' objects must lie one after the other from 0 to {count}")

    def __len__(self) -> int:
        return len(self.starts) - 1

    def of(self, index: int) -> slice:
        """Where the objects of an image are."""
        return slice(int(self.starts[index]), int(self.starts[index + 1]))


def gather(objects: Sequence[tuple[int, Sequence[float], int, bool, float]], images: int) -> Objects:
    """Objects from rows (image, box, class, crowd, area); the rows of an image keep their order."""
    import numpy as np

    rows = sorted(objects, key=lambda row: row[0])
    counts = np.bincount(np.array([row[0] for row in rows], np.int64), minlength=images)
    return Objects(
        starts=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        boxes=np.array([row[1] for row in rows], np.float64).reshape(-1, 4),
        classes=np.array([row[2] for row in rows], np.int64),
        crowd=np.array([row[3] for row in rows], bool),
        areas=np.array([row[4] for row in rows], np.float64),
    )


def ground_truth(
    objects: Objects,
    image_ids: np.ndarray,
    sizes: np.ndarray,
    categories: Mapping[int, str],
    file_names: Sequence[str] | None = None,
) -> dict[str, Any]:
    """COCO's annotation format of `objects` in images of `sizes` (N, 2), width and height.

    `categories` lead from id to name, in the order of the classes. Annotations are numbered from 1: pycocotools takes
    the number 0 for "not matched".
    """
    ids = list(categories)
    images: list[dict[str, Any]] = [
        {"id": int(image), "width": int(width), "height": int(height)}
        for image, (width, height) in zip(image_ids, sizes, strict=True)
    ]
    for image, name in zip(images, file_names or (), strict=False):
        image["file_name"] = name
    annotations = [
        {
            "id": row + 1,
            "image_id": int(image_ids[index]),
            "category_id": ids[objects.classes[row]],
            "bbox": objects.boxes[row].tolist(),
            "area": float(objects.areas[row]),
            "iscrowd": int(objects.crowd[row]),
        }
        for index in range(len(objects))
        for row in range(objects.starts[index], objects.starts[index + 1])
    ]
    return {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": number, "name": name} for number, name in categories.items()],
    }


def corners(boxes_n4: np.ndarray) -> np.ndarray:
    """x, y, width, height -> x0, y0, x1, y1."""
    import numpy as np

    return np.concatenate([boxes_n4[:, :2], boxes_n4[:, :2] + boxes_n4[:, 2:]], axis=1)


def labelled(classes: np.ndarray, corners_n4: np.ndarray, cut_to: tuple[int, int] | None) -> np.ndarray:
    """float32 (n, 5) of boxes to train on, cut to an image of (H, W) if given; those without any area left out."""
    import numpy as np

    if cut_to is not None:
        height, width = cut_to
        corners_n4 = corners_n4.clip(0, [width, height, width, height])
    rows = np.concatenate([classes[:, None], corners_n4], axis=1).astype(np.float32)
    seen = (rows[:, 3] > rows[:, 1]) & (rows[:, 4] > rows[:, 2])
    return rows[seen]


@dataclass(frozen=True, kw_only=True, eq=False)
class ArrayDetections:
    """A split in memory whose images are the network's input: pixels uint8 (N, C, H, W) or (N, T, C, H, W).

    Raises ValueError for other pixels, or for objects of another number of images.
    """

    pixels: np.ndarray
    objects: Objects
    categories: Mapping[int, str]

    def __post_init__(self) -> None:
        if self.pixels.dtype != "uint8" or self.pixels.ndim not in (4, 5):
            raise ValueError(f"not images: {self.pixels.dtype} {self.pixels.shape}")
        if len(self.objects) != len(self.pixels):
            raise ValueError(f"{len(self.pixels)} images have the objects of {len(self.objects)}")
        if len(self.objects.classes) and not 0 <= self.objects.classes.min() <= self.objects.classes.max() < len(
            self.categories
        ):
            raise ValueError(f"classes of the objects must lie between 0 and {len(self.categories) - 1}")

    def __len__(self) -> int:
        return len(self.pixels)

    @cached_property
    def image_ids(self) -> np.ndarray:
        import numpy as np

        return np.arange(1, len(self) + 1)

    @cached_property
    def ground_truth(self) -> dict[str, Any]:
        import numpy as np

        height, width = self.pixels.shape[-2:]
        return ground_truth(self.objects, self.image_ids, np.full((len(self), 2), (width, height)), self.categories)

    def images(self, indices: np.ndarray) -> np.ndarray:
        chosen: np.ndarray = self.pixels[indices]
        return chosen

    def boxes(self, indices: np.ndarray) -> list[np.ndarray]:
        """float32 (n, 5) for each image; boxes are cut to the image, and crowds left out."""
        height, width = self.pixels.shape[-2:]
        found = []
        for index in indices:
            rows = self.objects.of(int(index))
            real = ~self.objects.crowd[rows]
            found.append(
                labelled(self.objects.classes[rows][real], corners(self.objects.boxes[rows][real]), (height, width))
            )
        return found

    def restore(self, index: int, boxes_n4: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
        restored: np.ndarray = boxes_n4.astype("float64")
        return restored


def require_detection(data: Any, what: str) -> None:
    """Raises BenchError where `what` is asked for on data that have no boxes."""
    if not isinstance(data, DetectionData):
        raise BenchError(
            f"{what} needs a detection data set, and {getattr(data, 'name', type(data).__name__)} has no boxes"
        )
