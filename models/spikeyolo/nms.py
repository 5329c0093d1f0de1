"""Greedy non-maximum suppression of boxes."""

from __future__ import annotations

import torch
from torch import Tensor


def nms(boxes_N4: Tensor, scores_N: Tensor, iou: float, most: int) -> Tensor:
    """Indices of the first `most` boxes (x0, y0, x1, y1) that no better kept one overlaps by more than `iou`, best first.

    Equal scores keep their order. The arithmetic is that of torchvision's operator, so both keep the same.
    It runs on the CPU in NumPy: each round needs the one before, and a few hundred rounds of small arrays are faster there.
    """
    import numpy as np

    order = torch.sort(scores_N, descending=True, stable=True).indices.cpu().numpy()
    x0, y0, x1, y1 = boxes_N4.to(torch.promote_types(boxes_N4.dtype, torch.float32)).cpu().numpy().T
    areas = (x1 - x0) * (y1 - y0)
    kept: list[int] = []
    while len(order) and len(kept) < most:
        best, order = order[0], order[1:]
        kept.append(int(best))
        width = np.minimum(x1[best], x1[order]) - np.maximum(x0[best], x0[order])
        height = np.minimum(y1[best], y1[order]) - np.maximum(y0[best], y0[order])
        overlap = width.clip(min=0) * height.clip(min=0)
        with np.errstate(invalid="ignore", divide="ignore"):  # two boxes without area: 0 / 0 overlaps nothing
            ratio = overlap / (areas[best] + areas[order] - overlap)
        order = order[~(ratio.astype(np.float64) > iou)]
    return torch.tensor(kept, dtype=torch.int64, device=boxes_N4.device)
