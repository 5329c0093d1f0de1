"""COCO's evaluation of detected boxes, by pycocotools itself: thresholds of 0.5 to 0.95 by 0.05, at most 100 a picture."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from retable.bench.errors import BenchError

if TYPE_CHECKING:
    import numpy as np

Size = Literal["all", "small", "medium", "large"]
SIZES: tuple[Size, ...] = get_args(Size)
"""Objects of any area, up to 32², up to 96² and from 96² square pixels on, in the order of pycocotools."""
MOST = (1, 10, 100)
"""Detections of an image and class that count, best first; average precision is at the last."""
NOTHING = -1.0
"""What pycocotools writes where there is no object to find."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Evaluation:
    """pycocotools' arrays; -1 where a class has no objects.

    precision (10, 101, K, 4, 3): IoU threshold, recall, class, size, most. recall (10, K, 4, 3).
    """

    precision: np.ndarray
    recall: np.ndarray
    thresholds: np.ndarray
    categories: tuple[str, ...]
    images: int
    objects: int
    crowds: int
    detections: int

    def average_precision(self, size: Size = "all", threshold: float | None = None) -> float | None:
        """Mean over classes, recalls and thresholds (or at one); None where there are no objects of this size."""
        return _mean(self._at(self.precision, threshold)[..., SIZES.index(size), -1])

    def average_recall(self, size: Size = "all", most: int = MOST[-1]) -> float | None:
        """Mean over classes and thresholds, with `most` detections an image; None where there are no such objects."""
        return _mean(self.recall[..., SIZES.index(size), MOST.index(most)])

    def by_class(self, threshold: float | None = None) -> dict[str, float | None]:
        """Average precision of each class by its name."""
        precision = self._at(self.precision, threshold)[..., 0, -1]
        return {name: _mean(precision[:, :, k]) for k, name in enumerate(self.categories)}

    def _at(self, array: np.ndarray, threshold: float | None) -> np.ndarray:
        import numpy as np

        return array if threshold is None else array[np.isclose(self.thresholds, threshold)]


def _mean(values: np.ndarray) -> float | None:
    known = values[values > NOTHING]
    return float(known.mean()) if known.size else None


def evaluate(ground_truth: Mapping[str, Any], results: Sequence[Mapping[str, Any]]) -> Evaluation:
    """Detections in COCO's results format against annotations in COCO's format.

    Raises BenchError for a detection in an image, or of a category, that the ground truth does not know.
    """
    import numpy as np

    _check(ground_truth, results)
    objects = [row for row in ground_truth["annotations"] if not row.get("iscrowd", 0)]
    run = _run(ground_truth, results)
    return Evaluation(
        precision=run.eval["precision"],
        recall=run.eval["recall"],
        thresholds=np.array(run.params.iouThrs),
        categories=tuple(str(row.get("name", row["id"])) for row in _categories(ground_truth)),
        images=len(ground_truth["images"]),
        objects=len(objects),
        crowds=len(ground_truth["annotations"]) - len(objects),
        detections=len(results),
    )


def _run(ground_truth: Mapping[str, Any], results: Sequence[Mapping[str, Any]]) -> Any:
    """The accumulated COCOeval."""
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ModuleNotFoundError as error:
        raise BenchError("average precision needs pycocotools: `pip install pycocotools==2.0.11`") from error
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its progress
        truth = COCO()
        truth.dataset = _copied(ground_truth)
        truth.createIndex()
        if results:
            found = truth.loadRes([dict(row) for row in results])
        else:  # loadRes looks at the first of its results
            found = COCO()
            found.dataset = {**_copied(ground_truth), "annotations": []}
            found.createIndex()
        run = COCOeval(truth, found, "bbox")
        run.params.maxDets = list(MOST)
        run.evaluate()
        run.accumulate()
    return run


def _copied(ground_truth: Mapping[str, Any]) -> dict[str, Any]:
    """pycocotools writes into what it is given, and asks for categories."""
    return {
        "images": [dict(row) for row in ground_truth["images"]],
        "annotations": [{"iscrowd": 0, **row} for row in ground_truth["annotations"]],
        "categories": _categories(ground_truth),
    }


def _categories(ground_truth: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Those that are declared, or else those that occur, by their number."""
    declared = ground_truth.get("categories")
    if declared is None:
        declared = [{"id": number} for number in {row["category_id"] for row in ground_truth["annotations"]}]
    return sorted((dict(row) for row in declared), key=lambda row: row["id"])


def _check(ground_truth: Mapping[str, Any], results: Sequence[Mapping[str, Any]]) -> None:
    images = {row["id"] for row in ground_truth["images"]}
    categories = {row["id"] for row in _categories(ground_truth)}
    for row in results:
        if row["image_id"] not in images:
            raise BenchError(f"a detection is in image {row['image_id']}, which the ground truth does not have")
        if row["category_id"] not in categories:
            raise BenchError(f"a detection is of category {row['category_id']}, which the ground truth does not have")
