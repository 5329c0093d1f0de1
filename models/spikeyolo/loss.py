"""YOLOv8's loss, which the paper keeps: classes by soft labels, boxes by CIoU, distances by DFL (arXiv 2006.04388)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from retable.models.spikeyolo.assigner import Assigned, Targets, assign
from retable.models.spikeyolo.boxes import iou, to_sides
from retable.models.spikeyolo.head import REG_MAX, Detect, Predicted

BOX, CLS, DFL = 7.5, 0.5, 1.5
"""Gains of the three terms."""


def detection_loss(head: Detect, maps: Sequence[Tensor], targets: Targets) -> tuple[Tensor, Tensor]:
    """(what is minimised, the sum of the terms times the images of the batch; the terms box, cls, dfl with their gains, (3,)).

    A batch without objects has no box and no dfl.
    """
    found = head.predicted(maps)
    assigned = assign(
        found.logits_BAK.detach().sigmoid(),
        found.boxes_BA4.detach() * found.stride_A1,
        found.centres_A2 * found.stride_A1,
        Targets(targets.classes_BM, targets.boxes_BM4.to(found.boxes_BA4.dtype), targets.valid_BM),
    )
    scores_BAK = assigned.scores_BAK.to(found.logits_BAK.dtype)
    N = scores_BAK.sum().clamp(min=1)
    cls = F.binary_cross_entropy_with_logits(found.logits_BAK, scores_BAK, reduction="sum") / N
    box, dfl = (term / N for term in box_terms(found, assigned))
    terms = torch.stack((BOX * box, CLS * cls, DFL * dfl))
    return terms.sum() * len(found.logits_BAK), terms.detach()


def box_terms(found: Predicted, assigned: Assigned) -> tuple[Tensor, Tensor]:
    """Sums over the chosen cells, each weighted with its soft label, of 1 - CIoU and of the cross entropy of distances."""
    chosen = assigned.chosen_BA
    weight_n = assigned.scores_BAK.sum(-1)[chosen]
    want_n4 = (assigned.boxes_BA4 / found.stride_A1)[chosen]
    centres_n2 = found.centres_A2.expand(len(chosen), -1, -1)[chosen]
    box = ((1 - iou(found.boxes_BA4[chosen], want_n4, complete=True)) * weight_n).sum()
    sides_n4 = to_sides(want_n4, centres_n2, REG_MAX - 1 - 0.01)
    return box, (distance_loss(found.sides_BA4R[chosen], sides_n4) * weight_n).sum()


def distance_loss(logits_n4R: Tensor, sides_n4: Tensor) -> Tensor:
    """DFL: cross entropy with the two bins beside the distance, by nearness; mean over the four sides, (n,)."""
    below_n4 = sides_n4.long()
    share_n4 = sides_n4 - below_n4
    log_n4R = logits_n4R.log_softmax(-1)
    at_below, at_above = (log_n4R.gather(-1, (below_n4 + i)[..., None])[..., 0] for i in (0, 1))
    return -(at_below * (1 - share_n4) + at_above * share_n4).mean(-1)
