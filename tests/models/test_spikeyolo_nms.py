"""Greedy suppression keeps what torchvision's operator keeps, ties and thresholds included."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from retable.models.spikeyolo.nms import nms
from retable.models.spikeyolo.suppression import suppressed

operator = pytest.importorskip("torchvision.ops").nms


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 2**31), n=st.integers(0, 40), iou=st.sampled_from([0.0, 0.3, 0.45, 0.5, 0.7, 1.0]))
def test_boxes_on_a_grid_with_equal_scores(seed: int, n: int, iou: float) -> None:
    """Small integers make overlaps that are exactly the threshold, boxes without area, and scores that are equal."""
    generator = torch.Generator().manual_seed(seed)
    corner_N2, size_N2 = torch.randint(0, 12, (2, n, 2), generator=generator).float()
    boxes_N4 = torch.cat([corner_N2, corner_N2 + size_N2], 1)
    scores_N = torch.randint(0, 5, (n,), generator=generator) / 4
    expected = operator(boxes_N4, scores_N, iou)
    assert torch.equal(nms(boxes_N4, scores_N, iou, n), expected)
    assert torch.equal(nms(boxes_N4, scores_N, iou, 3), expected[:3])


def test_many_boxes_of_several_classes() -> None:
    generator = torch.Generator().manual_seed(0)
    corner_N2, size_N2 = 640 * torch.rand(2, 2000, 2, generator=generator)
    apart_N1 = 7680 * torch.randint(0, 3, (2000, 1), generator=generator)
    boxes_N4, scores_N = (
        torch.cat([corner_N2, corner_N2 + size_N2], 1) + apart_N1,
        torch.rand(2000, generator=generator),
    )
    assert torch.equal(nms(boxes_N4, scores_N, 0.6, 300), operator(boxes_N4, scores_N, 0.6)[:300])


def test_agnostic_suppression_does_not_ask_for_classes() -> None:
    decoded_BNA = torch.tensor([[50.0, 50, 20, 20, 0.9, 0.0], [50.0, 50, 20, 20, 0.0, 0.8]]).mT[None]
    apart, together = (suppressed(decoded_BNA, 0.1, 0.7, 10, agnostic=agnostic)[0][2] for agnostic in (False, True))
    assert (apart.tolist(), together.tolist()) == ([0, 1], [0])
