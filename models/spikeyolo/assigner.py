"""The task-aligned assigner (TOOD, arXiv 2108.07755): which cells answer for which object. All images of a batch at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from retable.models.spikeyolo.boxes import iou

TOPK, ALPHA, BETA = 10, 0.5, 6.0
EPS = 1e-9


class Targets(NamedTuple):
    """Objects of a batch, as many places an image as its fullest one has (M, at least 1)."""

    classes_BM: Tensor
    boxes_BM4: Tensor
    """x0, y0, x1, y1 in pixels."""
    valid_BM: Tensor
    """False in places that hold no object."""

    def to(self, device: str | torch.device) -> Targets:
        return Targets(*(part.to(device) for part in self))


class Assigned(NamedTuple):
    """What each of A cells answers for; `boxes_BA4` and `object_BA` mean something where `chosen_BA`."""

    chosen_BA: Tensor
    object_BA: Tensor
    boxes_BA4: Tensor
    scores_BAK: Tensor
    """Soft labels, 0 where nothing was chosen."""


def targets_of(boxes: Sequence[np.ndarray], num_classes: int, height: int, width: int) -> Targets:
    """Of arrays (n, 5) of class, x0, y0, x1, y1 in pixels; cut at the image's border, dropped where nothing is left.

    Raises ValueError naming the image of the batch whose array has another shape, a class out of range or no number.
    """
    kept = [_checked(i, one, num_classes, height, width) for i, one in enumerate(boxes)]
    M = max(1, max((len(one) for one in kept), default=1))
    padded_BM5 = np.zeros((len(kept), M, 5), np.float32)
    valid_BM = np.zeros((len(kept), M), bool)
    for i, one in enumerate(kept):
        padded_BM5[i, : len(one)], valid_BM[i, : len(one)] = one, True
    padded = torch.from_numpy(padded_BM5)
    return Targets(padded[..., 0].long(), padded[..., 1:], torch.from_numpy(valid_BM))


def _checked(i: int, boxes_n5: np.ndarray, num_classes: int, height: int, width: int) -> np.ndarray:
    if boxes_n5.ndim != 2 or boxes_n5.shape[1] != 5:
        raise ValueError(f"boxes of sample {i} must be (n, 5) of class, x0, y0, x1, y1, not {boxes_n5.shape}")
    if not np.isfinite(boxes_n5).all():
        raise ValueError(f"boxes of sample {i} hold values that are not finite")
    classes_n = boxes_n5[:, 0]
    wrong = (classes_n < 0) | (classes_n >= num_classes) | (classes_n != np.floor(classes_n))
    if wrong.any():
        raise ValueError(
            f"boxes of sample {i} name the class {classes_n[wrong][0]:g}; classes are 0 to {num_classes - 1}"
        )
    cut = np.array(boxes_n5, np.float32)
    cut[:, 1::2], cut[:, 2::2] = cut[:, 1::2].clip(0, width), cut[:, 2::2].clip(0, height)
    there: np.ndarray = cut[(cut[:, 3] > cut[:, 1]) & (cut[:, 4] > cut[:, 2])]
    return there


@torch.no_grad()
def assign(scores_BAK: Tensor, boxes_BA4: Tensor, points_A2: Tensor, targets: Targets) -> Assigned:
    """The best `TOPK` cells inside an object by score^alpha overlap^beta; a cell of several takes the best overlap.

    `scores_BAK` are 0 ... 1, boxes and points in pixels. Soft label: the measure, scaled so that an object's largest is its
    largest overlap.
    """
    classes_BM, gt_BM4, valid_BM = targets
    K, M = scores_BAK.shape[2], classes_BM.shape[1]
    inside_BMA = _inside(points_A2, gt_BM4) & valid_BM[:, :, None]
    score_BMA = scores_BAK.mT.gather(1, classes_BM[:, :, None].expand(-1, -1, len(points_A2)))
    overlap_BMA = iou(gt_BM4[:, :, None], boxes_BA4[:, None], complete=True).clamp(min=0) * inside_BMA
    measure_BMA = (score_BMA * inside_BMA).pow(ALPHA) * overlap_BMA.pow(BETA)
    chosen_BMA = _largest(measure_BMA, min(TOPK, len(points_A2))) & inside_BMA
    best_BMA = torch.nn.functional.one_hot(overlap_BMA.argmax(1), M).mT.bool()
    contested_B1A = chosen_BMA.sum(1, keepdim=True) > 1
    chosen_BMA = torch.where(contested_B1A, best_BMA, chosen_BMA)

    object_BA = chosen_BMA.long().argmax(1)
    chosen_BA = chosen_BMA.any(1)
    measure_BMA = measure_BMA * chosen_BMA
    most_BM1 = (overlap_BMA * chosen_BMA).amax(2, keepdim=True)
    label_BA = (measure_BMA * most_BM1 / (measure_BMA.amax(2, keepdim=True) + EPS)).amax(1)
    class_BA = classes_BM.gather(1, object_BA)
    hot_BAK = torch.nn.functional.one_hot(class_BA, K) * chosen_BA[:, :, None]
    boxes = gt_BM4.gather(1, object_BA[:, :, None].expand(-1, -1, 4))
    return Assigned(chosen_BA, object_BA, boxes, hot_BAK * label_BA[:, :, None])


def _inside(points_A2: Tensor, boxes_BM4: Tensor) -> Tensor:
    """Whether the points lie strictly inside the boxes, (B, M, A)."""
    top_left, bottom_right = boxes_BM4[:, :, None].chunk(2, -1)
    return torch.cat((points_A2 - top_left, bottom_right - points_A2), -1).amin(-1) > EPS


def _largest(values_BMA: Tensor, k: int) -> Tensor:
    """Whether a value is one of the k largest of its row."""
    places = values_BMA.topk(k, -1).indices
    return torch.zeros_like(values_BMA, dtype=torch.bool).scatter_(-1, places, True)
