"""Non-maximum suppression of decoded predictions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from retable.models.spikeyolo.boxes import from_centre
from retable.models.spikeyolo.nms import nms

MOST_CANDIDATES = 30_000
APART = 7680
"""Boxes of different classes are moved apart by so many pixels, so that they suppress only their like."""


@dataclass(frozen=True, eq=False)
class Detections:
    """What was found in one sample, best first: x0, y0, x1, y1 in pixels (float32), scores 0 ... 1, classes (int64)."""

    boxes_n4: np.ndarray
    scores_n: np.ndarray
    classes_n: np.ndarray

    def __len__(self) -> int:
        return len(self.scores_n)


@torch.no_grad()
def suppressed(
    decoded_BNA: Tensor, threshold: float, iou: float, most: int, multi_label: bool = True, agnostic: bool = False
) -> list[tuple[Tensor, Tensor, Tensor]]:
    """(boxes (n, 4), scores (n,), classes (n,)) an image of what `Detect.decoded` gave, at most `most`, best first.

    A cell gives a box for every class whose score is above `threshold`, or for its best one without `multi_label`. Boxes
    suppress their like, or with `agnostic` those of every class.
    Predictions that are not finite are left out. Raises ValueError naming an argument out of range.
    """
    _check(threshold, iou, most)
    return [_one(decoded.mT, threshold, iou, most, multi_label, agnostic) for decoded in decoded_BNA]


def _check(threshold: float, iou: float, most: int) -> None:
    for name, value in (("threshold", threshold), ("iou", iou)):
        if not 0 <= value <= 1:
            raise ValueError(f"{name} must lie between 0 and 1, not be {value}")
    if most < 1:
        raise ValueError(f"most must be at least 1, not {most}")


def _one(
    decoded_AN: Tensor, threshold: float, iou: float, most: int, multi_label: bool, agnostic: bool
) -> tuple[Tensor, Tensor, Tensor]:
    decoded_AN = decoded_AN[decoded_AN.isfinite().all(1)]
    boxes_A4, scores_AK = from_centre(decoded_AN[:, :4]), decoded_AN[:, 4:]
    if multi_label:
        cells, classes = (scores_AK > threshold).nonzero(as_tuple=True)
    else:
        best = scores_AK.argmax(1)
        cells = (scores_AK.amax(1) > threshold).nonzero()[:, 0]
        classes = best[cells]
    scores = scores_AK[cells, classes]
    if len(scores) > MOST_CANDIDATES:
        order = scores.argsort(descending=True)[:MOST_CANDIDATES]
        cells, classes, scores = cells[order], classes[order], scores[order]
    boxes = boxes_A4[cells]
    apart = boxes if agnostic else boxes + classes[:, None] * APART
    kept = nms(apart, scores, iou, most)
    return boxes[kept], scores[kept], classes[kept]
