"""Geometry of boxes (x0, y0, x1, y1) and of the head's anchors (arXiv 2407.20708 keeps YOLOv8's)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

EPS = 1e-7


def iou(a: Tensor, b: Tensor, complete: bool = False) -> Tensor:
    """(...,) of boxes (..., 4) that broadcast; `complete`: less the distance of centres and of aspects (arXiv 1911.08287).

    The small constant is added to heights and not to widths, as in the released code.
    """
    ax0, ay0, ax1, ay1 = a.unbind(-1)
    bx0, by0, bx1, by1 = b.unbind(-1)
    aw, ah, bw, bh = ax1 - ax0, ay1 - ay0 + EPS, bx1 - bx0, by1 - by0 + EPS
    width = (torch.minimum(ax1, bx1) - torch.maximum(ax0, bx0)).clamp(min=0)
    height = (torch.minimum(ay1, by1) - torch.maximum(ay0, by0)).clamp(min=0)
    shared = width * height
    overlap = shared / (aw * ah + bw * bh - shared + EPS)
    if not complete:
        return overlap
    across = torch.maximum(ax1, bx1) - torch.minimum(ax0, bx0)
    down = torch.maximum(ay1, by1) - torch.minimum(ay0, by0)
    diagonal = across.square() + down.square() + EPS
    distance = ((bx0 + bx1 - ax0 - ax1).square() + (by0 + by1 - ay0 - ay1).square()) / 4
    v = (4 / math.pi**2) * (torch.atan(bw / bh) - torch.atan(aw / ah)).square()
    with torch.no_grad():
        alpha = v / (v - overlap + (1 + EPS))
    return overlap - (distance / diagonal + v * alpha)


def anchors(sides: Sequence[tuple[int, int]], strides: Sequence[int], like: Tensor) -> tuple[Tensor, Tensor]:
    """Centres (A, 2) of the cells of all levels, in cells, and the stride (A, 1) of each."""
    points, widths = [], []
    for (h, w), stride in zip(sides, strides, strict=True):
        y, x = (torch.arange(n, device=like.device, dtype=like.dtype) + 0.5 for n in (h, w))
        points.append(torch.stack((x.expand(h, w), y[:, None].expand(h, w)), -1).view(-1, 2))
        widths.append(torch.full((h * w, 1), float(stride), device=like.device, dtype=like.dtype))
    return torch.cat(points), torch.cat(widths)


def from_sides(ltrb: Tensor, centres: Tensor) -> Tensor:
    """Boxes of the distances of their left, top, right and bottom sides from the centres."""
    left_top, right_bottom = ltrb.chunk(2, -1)
    return torch.cat((centres - left_top, centres + right_bottom), -1)


def to_sides(boxes: Tensor, centres: Tensor, most: float) -> Tensor:
    """Those distances, within 0 ... `most`."""
    top_left, bottom_right = boxes.chunk(2, -1)
    return torch.cat((centres - top_left, bottom_right - centres), -1).clamp(0, most)


def to_centre(boxes: Tensor) -> Tensor:
    """(cx, cy, w, h)."""
    top_left, bottom_right = boxes.chunk(2, -1)
    return torch.cat(((top_left + bottom_right) / 2, bottom_right - top_left), -1)


def from_centre(boxes: Tensor) -> Tensor:
    """(x0, y0, x1, y1) of (cx, cy, w, h)."""
    centre, size = boxes.chunk(2, -1)
    return torch.cat((centre - size / 2, centre + size / 2), -1)
