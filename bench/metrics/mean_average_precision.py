"""Average precision and recall of detectors, between 0 and 1 and computed by pycocotools; papers print 100 times these."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from retable.bench.metrics.coco_evaluation import MOST, Size
from retable.bench.metrics.measured import absent, measured
from retable.bench.record import Direction, Measurement


@dataclass(frozen=True, kw_only=True)
class MeanAveragePrecision:
    """COCO's main figure, mAP@50:95: the mean over classes and ten IoU thresholds, for objects of `size`.

    COCO counts areas in square pixels: small is below 32², large from 96² on.
    """

    NAME: ClassVar[str] = "map"

    size: Size = "all"

    UNIT: ClassVar[str] = ""
    DIRECTION: ClassVar[Direction] = "higher"
    VERSION: ClassVar[str] = "1"
    EXACT: ClassVar[bool] = False

    def measure(self, evidence: Any) -> Measurement:
        return _precision(self, evidence, None)


@dataclass(frozen=True, kw_only=True)
class MeanAveragePrecision50:
    """The same at the IoU threshold 0.5 alone, mAP@50."""

    NAME: ClassVar[str] = "map50"

    size: Size = "all"

    UNIT: ClassVar[str] = ""
    DIRECTION: ClassVar[Direction] = "higher"
    VERSION: ClassVar[str] = "1"
    EXACT: ClassVar[bool] = False

    def measure(self, evidence: Any) -> Measurement:
        return _precision(self, evidence, 0.5)


@dataclass(frozen=True, kw_only=True)
class MeanAverageRecall:
    """COCO's AR@100: the share of objects found among the 100 best detections of an image, over the ten thresholds."""

    NAME: ClassVar[str] = "ar"

    size: Size = "all"

    UNIT: ClassVar[str] = ""
    DIRECTION: ClassVar[Direction] = "higher"
    VERSION: ClassVar[str] = "1"
    EXACT: ClassVar[bool] = False

    def measure(self, evidence: Any) -> Measurement:
        if reason := _unusable(evidence):
            return absent(self, reason)
        recall = evidence.evaluation.average_recall(self.size, MOST[-1])
        return _figure(self, evidence, recall, {})


def _precision(
    metric: MeanAveragePrecision | MeanAveragePrecision50, evidence: Any, threshold: float | None
) -> Measurement:
    if reason := _unusable(evidence):
        return absent(metric, reason)
    precision = evidence.evaluation.average_precision(metric.size, threshold)
    classes: dict[str, str | float | int] = {}
    if metric.size == "all":
        for name, value in evidence.evaluation.by_class(threshold).items():
            classes[f"class {name}"] = "no objects" if value is None else value
    return _figure(metric, evidence, precision, classes)


def _unusable(evidence: Any) -> str:
    """Why the detections have no score, or the empty text."""
    if evidence.unusable:
        return f"{evidence.unusable} detections have boxes or scores that are not finite"
    return ""


def _figure(metric: Any, evidence: Any, value: float | None, details: dict[str, str | float | int]) -> Measurement:
    """The value with its counts; absent where there is nothing to find. Without any detection it is 0, and says so."""
    evaluation = evidence.evaluation
    counts: dict[str, str | float | int] = {
        "images": evaluation.images,
        "objects": evaluation.objects,
        "crowds": evaluation.crowds,
        "detections": evaluation.detections,
    }
    if value is None:
        which = "" if metric.size == "all" else f"{metric.size} "
        return absent(metric, f"the {evaluation.images} images hold no {which}objects to find", details=counts)
    if not evaluation.detections:
        counts["note"] = "the model detected nothing in any image, so that no object is found"
    return measured(metric, value, n=evaluation.images, details={**counts, **details})
