"""Task `detect`: fit, then find the objects in every held-out image, judged by COCO's evaluation."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from retable import units
from retable.bench.accountant.names import RuleName
from retable.bench.datasets.detection import require_detection
from retable.bench.errors import BenchError
from retable.bench.tasks.logits import prepared
from retable.bench.tasks.pictures import Marks

if TYPE_CHECKING:
    import numpy as np

    from retable.bench.datasets.detection import DetectionData, DetectionSplit
    from retable.bench.metrics.coco_evaluation import Evaluation

EVENT_DIMS = 5
"""Dimensions of prepared event frames (B, T, C, H, W); where these are counts they are spikes of the sensor."""
SURE = 0.25
"""Least score of a detection that is drawn."""
TRUE, FOUND = (20, 140, 60), (220, 90, 0)
"""Colours of annotated boxes and of detected ones."""
BOX_PLACES, SCORE_PLACES = 3, 5
"""Decimals that the official code of SpikeYOLO keeps in its results."""


@dataclass(frozen=True, kw_only=True)
class Detect:
    """Detects in all held-out images in batches; counts operations over `account_samples` of them, evenly spread.

    The fitted model turns uint8 samples into its input with `prepare(pixels)`, and that into one result an image with
    `detect(x, threshold=, iou=, most=)`: `boxes_n4` (x0, y0, x1, y1 in pixels of the input), `scores_n`, `classes_n`.
    The defaults are those of the official evaluation (arXiv 2407.20708): scores from 0.001 on, suppression above an IoU
    of 0.7, at most 300 an image. `pictures` is how many held-out and training images are drawn. `rules` are those of the
    accountant; `account_samples` 0 counts nothing. Where a split's batches differ in size, operations are those of its
    `squares`, the one size that figures of papers are for.
    """

    NAME: ClassVar[str] = "detect"

    batch_size: int = 32
    threshold: float = 0.001
    iou: float = 0.7
    most: int = 300
    pictures: int = 24
    account_samples: int = 4
    rules: tuple[RuleName, ...] = ("full", "literature")

    FITS: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for name in ("batch_size", "most"):
            if getattr(self, name) < 1:
                raise BenchError(f"`{name}` must be at least 1, not {getattr(self, name)}")
        for name in ("threshold", "iou"):
            if wrong := units.of_shares(name, getattr(self, name)):
                raise BenchError(wrong)
        for name in ("pictures", "account_samples"):
            if getattr(self, name) < 0:
                raise BenchError(f"`{name}` must be at least 0, not {getattr(self, name)}")
        if self.account_samples and not self.rules:
            raise BenchError("`rules` must name at least one rule where `account_samples` is above 0")

    def evidence(self, model: Any, data: DetectionData, *, seed: int, device: str) -> DetectEvidence:
        """Detections of the fitted `model` in `data.held_out`, and its account.

        Raises BenchError for data without boxes or images, and for results that are no detections.
        """
        import torch

        require_detection(data, "the task detect")
        if not len(data.held_out):
            raise BenchError(f"{data.name} has no held-out images to detect in")
        model.eval()
        found: list[Detected] = []
        with torch.inference_mode():
            for indices in batches_of(data.held_out, self.batch_size):
                pixels = data.held_out.images(indices)
                results = model.detect(
                    _prepared(model, pixels, device), threshold=self.threshold, iou=self.iou, most=self.most
                )
                found += _checked(results, indices, pixels.shape[-2:], data)
        found.sort(key=lambda one: one.index)
        account, why_not = self._account(model, data, device)
        return DetectEvidence(
            model=model, data=data, found=tuple(found), pictures=self.pictures, account=account, why_no_account=why_not
        )

    def _account(self, model: Any, data: DetectionData, device: str) -> tuple[Any, str]:
        """The account and the empty text, or None and why there is none."""
        import numpy as np
        import torch

        if not self.account_samples:
            return None, "the task counts no operations (account_samples is 0)"
        try:
            from retable.bench.accountant import Accountant
        except ModuleNotFoundError as error:
            return None, f"the accountant is not there: {error}"
        chosen = spread(len(data.held_out), self.account_samples)
        images = getattr(data.held_out, "squares", data.held_out.images)
        with torch.no_grad(), Accountant(model, rules=self.rules) as accountant:
            for indices in np.array_split(chosen, -(-len(chosen) // self.batch_size)):
                with accountant.pause():
                    x = _prepared(model, images(indices), device)
                if x.dim() == EVENT_DIMS and _counts(x):
                    accountant.mark(x, high=max(1, int(x.max())))
                model(x)
        return accountant.result(samples=len(chosen)), ""


@dataclass(frozen=True, kw_only=True, eq=False)
class Detected:
    """Detections in one image: boxes float64 (n, 4) in pixels of the input of `shape` (H, W); scores and classes (n,)."""

    index: int
    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray
    shape: tuple[int, int]

    @property
    def finite(self) -> np.ndarray:
        import numpy as np

        good: np.ndarray = np.isfinite(self.boxes).all(1) & np.isfinite(self.scores)
        return good


def batches_of(split: DetectionSplit, size: int) -> list[np.ndarray]:
    """Indices of every image in batches; a split may have an order of its own, such as by the shape of its images."""
    import numpy as np

    if not hasattr(split, "order"):
        return np.array_split(np.arange(len(split)), -(-len(split) // size))
    order = split.order()
    return [order[start : start + size] for start in range(0, len(order), size)]


def _prepared(model: Any, pixels: np.ndarray, device: str) -> Any:
    import torch

    return prepared(model, torch.from_numpy(pixels).to(device))


def _array(values: Any) -> np.ndarray:
    """What a tensor or an array holds."""
    import torch

    array: np.ndarray = torch.as_tensor(values).detach().cpu().numpy()
    return array


def _counts(x: Any) -> bool:
    """Whether prepared frames hold whole numbers from 0 on: event counts, and not grey levels."""
    return bool((x >= 0).all()) and bool((x == x.round()).all())


def _checked(results: Any, indices: np.ndarray, shape: tuple[int, ...], data: DetectionData) -> list[Detected]:
    """Raises BenchError, naming the image, for results that do not have the agreed form."""
    if len(results) != len(indices):
        raise BenchError(f"the model gave {len(results)} results for {len(indices)} images")
    found = []
    for index, result in zip(indices.tolist(), results, strict=True):
        boxes, scores = _array(result.boxes_n4).astype("float64"), _array(result.scores_n).astype("float64")
        classes = _array(result.classes_n)
        if boxes.shape != (len(scores), 4) or classes.shape != scores.shape:
            raise BenchError(
                f"the model's result for image {index} of {data.name} has boxes {boxes.shape}, scores {scores.shape} and"
                f" classes {classes.shape}, not (n, 4), (n,) and (n,)"
            )
        if len(classes) and not 0 <= classes.min() <= classes.max() < data.num_classes:
            wrong = classes.max() if classes.max() >= data.num_classes else classes.min()
            raise BenchError(
                f"the model detected class {int(wrong)} in image {index} of {data.name},"
                f" whose classes are 0 to {data.num_classes - 1}"
            )
        found.append(
            Detected(
                index=index,
                boxes=boxes,
                scores=scores,
                classes=classes.astype("int64"),
                shape=(shape[0], shape[1]),
            )
        )
    return found


@dataclass(frozen=True, kw_only=True, eq=False)
class DetectEvidence:
    """The detections in every held-out image, and the account of operations where there is one."""

    model: Any
    data: DetectionData
    found: tuple[Detected, ...]
    pictures: int = 24
    account: Any = None
    why_no_account: str = ""

    @cached_property
    def unusable(self) -> int:
        """How many detections are not finite; they are in no result."""
        return sum(int((~one.finite).sum()) for one in self.found)

    @cached_property
    def results(self) -> list[dict[str, Any]]:
        """COCO's results format: boxes x, y, width, height in pixels of the original images."""
        split = self.data.held_out
        rows = []
        for one in self.found:
            good = one.finite
            boxes, scores, labels = (
                split.restore(one.index, one.boxes[good], one.shape),
                one.scores[good],
                one.classes[good],
            )
            judged = split.counts(boxes) if hasattr(split, "counts") else slice(None)
            for (x0, y0, x1, y1), score, label in zip(
                boxes[judged].tolist(), scores[judged].tolist(), labels[judged].tolist(), strict=True
            ):
                rows.append(
                    {
                        "image_id": int(split.image_ids[one.index]),
                        "category_id": self.data.category_ids[label],
                        "bbox": [round(side, BOX_PLACES) for side in (x0, y0, x1 - x0, y1 - y0)],
                        "score": round(score, SCORE_PLACES),
                    }
                )
        return rows

    @cached_property
    def evaluation(self) -> Evaluation:
        """COCO's evaluation of the results."""
        from retable.bench.metrics.coco_evaluation import evaluate

        return evaluate(self.data.held_out.ground_truth, self.results)

    def artefacts(self) -> Mapping[str, bytes]:
        """`detections.json` (COCO's results), `account.json`; drawn: `detections.png`, `scenes.png` (training images)."""
        files = {"detections.json": json.dumps(self.results, allow_nan=False).encode()}
        if self.account is not None:
            files["account.json"] = json.dumps(self.account.as_dict(), allow_nan=False).encode()
        if self.pictures:
            files["detections.png"] = self._sheet(self.data.held_out, with_found=True)
            if len(self.data.train):
                files["scenes.png"] = self._sheet(self.data.train, with_found=False)
        return files

    def _sheet(self, split: DetectionSplit, *, with_found: bool) -> bytes:
        """Images, evenly spread, with the annotated boxes in green and the surer detections in orange."""
        from retable.bench.tasks.pictures import contact_sheet

        chosen = spread(len(split), self.pictures)
        images = [split.images(chosen[i : i + 1])[0] for i in range(len(chosen))]
        marks = []
        for index, rows in zip(chosen.tolist(), split.boxes(chosen), strict=True):
            names = [self.data.class_names[int(label)] for label in rows[:, 0]]
            marks.append([_marks(rows[:, 1:], [""] * len(names) if with_found else names, TRUE)])
            if with_found:
                marks[-1].append(self._marks_of(self.found[index]))
        return contact_sheet(images, marks)

    def _marks_of(self, one: Detected) -> Marks:
        sure = one.finite & (one.scores >= SURE)
        captions = [
            f"{self.data.class_names[label]} {score:.2f}"
            for label, score in zip(one.classes[sure].tolist(), one.scores[sure].tolist(), strict=True)
        ]
        return _marks(one.boxes[sure], captions, FOUND)


def _marks(boxes: np.ndarray, captions: list[str], colour: tuple[int, int, int]) -> Marks:
    from retable.bench.tasks.pictures import Marks

    return Marks(boxes=boxes, captions=captions, colour=colour)


def spread(count: int, most: int) -> np.ndarray:
    """At most `most` indices of `count`, evenly spread."""
    import numpy as np

    return np.linspace(0, count - 1, min(most, count)).astype(np.int64)
