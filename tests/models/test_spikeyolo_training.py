"""Boxes, assigner, loss, suppression and recipe of SpikeYOLO: properties, and what bad boxes lead to."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from retable.models.spikeyolo.assigner import TOPK, Targets, assign, targets_of
from retable.models.spikeyolo.boxes import anchors, from_centre, from_sides, iou, to_centre, to_sides
from retable.models.spikeyolo.head import Detect
from retable.models.spikeyolo.loss import detection_loss, distance_loss
from retable.models.spikeyolo.recipe import BIAS_LR, MOMENTUM, Recipe
from retable.models.spikeyolo.suppression import suppressed
from retable.models.spikeyolo.training import fit_detector, flipped, follow, make_optimizer, set_rates
from tests.models.spikeyolo_data import squares

SIDES = ((8, 8), (4, 4), (2, 2))


def head(classes: int = 3) -> Detect:
    return Detect(classes, (8, 8, 8), lambda *_: nn.Identity(), lambda *_: nn.Identity())


def maps(batch: int, classes: int = 3, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(batch, 64 + classes, *side, generator=generator).requires_grad_() for side in SIDES]


def some_boxes(rng: np.random.Generator, n: int, side: int = 64, classes: int = 3) -> np.ndarray:
    corner, size = rng.uniform(0, side - 8, (n, 2)), rng.uniform(4, 40, (n, 2))
    return np.concatenate([rng.integers(0, classes, (n, 1)), corner, corner + size], 1).astype(np.float32)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 999))
def test_overlap_is_symmetric_and_complete_overlap_is_no_larger(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = (torch.from_numpy(some_boxes(rng, 6)[:, 1:]).double() for _ in range(2))
    plain = iou(a, b)
    torch.testing.assert_close(plain, iou(b, a))
    assert bool(((plain >= 0) & (plain <= 1)).all())
    assert bool((iou(a, b, complete=True) <= plain + 1e-12).all())
    torch.testing.assert_close(iou(a, a, complete=True), torch.ones(6).double(), atol=1e-5, rtol=0)
    torch.testing.assert_close(from_centre(to_centre(a)), a)


def test_boxes_come_back_from_their_distances() -> None:
    centres, strides = anchors(SIDES, (8, 16, 32), torch.zeros(1))
    assert len(centres) == len(strides) == 84
    boxes = torch.rand(84, 4) + torch.cat((centres - 3, centres + 2), 1)
    torch.testing.assert_close(from_sides(to_sides(boxes, centres, 14.99), centres), boxes)


# Assigner


@settings(max_examples=25, deadline=None)
@given(counts=st.lists(st.integers(0, 5), min_size=1, max_size=4), seed=st.integers(0, 99))
def test_a_batch_is_assigned_like_its_images_alone(counts: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    boxes = [some_boxes(rng, n) for n in counts]
    found = head().predicted(maps(len(counts), seed=seed))
    points = found.centres_A2 * found.stride_A1
    scores, pixels = found.logits_BAK.sigmoid(), found.boxes_BA4 * found.stride_A1
    together = assign(scores, pixels, points, targets_of(boxes, 3, 64, 64))
    for b, one in enumerate(boxes):
        alone = assign(scores[b : b + 1], pixels[b : b + 1], points, targets_of([one], 3, 64, 64))
        torch.testing.assert_close(together.scores_BAK[b], alone.scores_BAK[0])
        assert torch.equal(together.chosen_BA[b], alone.chosen_BA[0])


@settings(max_examples=25, deadline=None)
@given(n=st.integers(1, 6), seed=st.integers(0, 99))
def test_chosen_cells_lie_inside_their_object_and_carry_its_class(n: int, seed: int) -> None:
    boxes = some_boxes(np.random.default_rng(seed), n)
    found = head().predicted(maps(1, seed=seed))
    targets = targets_of([boxes], 3, 64, 64)
    points = found.centres_A2 * found.stride_A1
    assigned = assign(found.logits_BAK.sigmoid(), found.boxes_BA4 * found.stride_A1, points, targets)
    chosen, which = assigned.chosen_BA[0], assigned.object_BA[0]
    inside = (points > assigned.boxes_BA4[0, :, :2]) & (points < assigned.boxes_BA4[0, :, 2:])
    assert bool(inside[chosen].all())
    assert int(chosen.sum()) <= n * TOPK  # one object may get more: it takes cells that others chose and overlap less
    label = assigned.scores_BAK[0]
    assert not bool(label[~chosen].any())
    classes = targets.classes_BM[0][which[chosen]]
    others = label[chosen].scatter(1, classes[:, None], 0.0)
    assert not bool(others.any())
    assert bool((label <= 1).all())


def test_a_contested_cell_takes_the_larger_overlap() -> None:
    targets = targets_of([np.array([[0, 0, 0, 64, 64], [1, 16, 16, 48, 48]], np.float32)], 2, 64, 64)
    points = torch.tensor([[32.0, 32.0]])
    assigned = assign(torch.full((1, 1, 2), 0.5), torch.tensor([[[17.0, 17, 47, 47]]]), points, targets)
    assert assigned.object_BA.item() == 1
    assert assigned.scores_BAK[0, 0, 0] == 0


# Loss


def test_images_without_boxes_cost_their_scores_alone() -> None:
    given = maps(2)
    nothing = targets_of([np.zeros((0, 5), np.float32)] * 2, 3, 64, 64)
    total, (box, cls, dfl) = detection_loss(head(), given, nothing)
    assert (box, dfl) == (0, 0)
    assert cls > 0
    total.backward()
    assert all(one.grad is not None and one.grad.isfinite().all() for one in given)
    assert not any(bool(one.grad[:, :64].any()) for one in given if one.grad is not None)


def test_descending_the_loss_leads_to_the_boxes() -> None:
    given = maps(2)
    boxes = [np.array([[0, 3, 5, 25, 22], [2, 30, 34, 62, 60]], np.float32), np.array([[1, 8, 12, 50, 40]], np.float32)]
    targets, optimizer = targets_of(boxes, 3, 64, 64), torch.optim.Adam(given, lr=0.2)
    for _ in range(250):
        total, _ = detection_loss(head(), given, targets)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
    decoded = head().decoded([one.detach() for one in given])
    for (found, _, classes), wanted in zip(suppressed(decoded, 0.3, 0.5, 10), boxes, strict=True):
        for row in wanted:
            cut = torch.from_numpy(row[1:].clip(0, 64))
            best = iou(found, cut[None]).max(0)
            assert best.values > 0.8
            assert classes[best.indices] == row[0]


@settings(max_examples=25, deadline=None)
@given(side=st.floats(0, 14.99))
def test_distances_cost_least_at_their_own_bins(side: float) -> None:
    below = int(side)
    share = side - below
    best = torch.full((16,), -20.0)
    best[below], best[below + 1] = np.log(max(1 - share, 1e-8)), np.log(max(share, 1e-8))
    sides = torch.full((1, 4), side)
    least = distance_loss(best.expand(1, 4, 16), sides)
    other = distance_loss(torch.randn(1, 4, 16, generator=torch.Generator().manual_seed(below)), sides)
    assert least <= other + 1e-4


# Targets


def test_boxes_are_cut_at_the_border_and_dropped_beyond_it() -> None:
    boxes = np.array([[0, -5, 3, 20, 90], [1, 70, 0, 80, 10], [2, 4, 4, 4, 9]], np.float32)
    targets = targets_of([boxes, np.zeros((0, 5), np.float32)], 3, 64, 64)
    assert targets.valid_BM.tolist() == [[True], [False]]
    assert targets.boxes_BM4[0, 0].tolist() == [0, 3, 20, 64]


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        (np.array([[3, 0, 0, 9, 9]], np.float32), "sample 1 name the class 3; classes are 0 to 2"),
        (np.array([[-1, 0, 0, 9, 9]], np.float32), "the class -1"),
        (np.array([[0.5, 0, 0, 9, 9]], np.float32), "the class 0.5"),
        (np.array([[0, 0, 0, np.nan, 9]], np.float32), "sample 1 hold values that are not finite"),
        (np.zeros((2, 4), np.float32), r"sample 1 must be \(n, 5\)"),
    ],
)
def test_boxes_that_are_none_are_named(boxes: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        targets_of([np.zeros((0, 5), np.float32), boxes], 3, 64, 64)


@settings(max_examples=20, deadline=None)
@given(n=st.integers(0, 4), seed=st.integers(0, 99))
def test_mirroring_twice_changes_nothing_and_once_moves_pixels_with_their_boxes(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    pixels, boxes = torch.zeros(2, 3, 32, 48, dtype=torch.uint8), [some_boxes(rng, n, 24) for _ in range(2)]
    boxes = [np.rint(one).clip(0, 31) for one in boxes]
    for i, one in enumerate(boxes):
        for k, x0, y0, x1, y1 in one.astype(int):
            pixels[i, k, y0:y1, x0:x1] = 255
    once, moved = flipped(pixels, boxes, torch.tensor([True, False]))
    assert torch.equal(once[1], pixels[1])
    for k, x0, y0, x1, y1 in moved[0].astype(int):
        assert bool((once[0, k, y0:y1, x0:x1] == 255).all())
    twice, back = flipped(once, moved, torch.tensor([True, False]))
    assert torch.equal(twice, pixels)
    np.testing.assert_array_equal(back[0], boxes[0])


# Suppression


def test_only_boxes_of_the_same_class_suppress_each_other() -> None:
    boxes = torch.tensor([[20.0, 20, 10, 10], [21, 20, 10, 10], [50, 50, 8, 8]])
    scores = torch.tensor([[0.9, 0.0], [0.8, 0.6], [0.0, 0.7]])
    decoded = torch.cat((boxes, scores), 1).mT[None]
    ((found, kept, classes),) = suppressed(decoded, 0.1, 0.5, 10)
    assert kept.tolist() == pytest.approx([0.9, 0.7, 0.6])
    assert classes.tolist() == [0, 1, 1]
    assert found[0].tolist() == [15, 15, 25, 25]
    assert len(suppressed(decoded, 0.1, 0.5, 1)[0][0]) == 1
    ((_, best, _),) = suppressed(decoded, 0.1, 0.5, 10, multi_label=False)
    assert best.tolist() == pytest.approx([0.9, 0.7])


def test_predictions_that_are_not_finite_are_left_out() -> None:
    decoded = torch.tensor([[[20.0, 20, 10, 10, 0.9], [20, float("nan"), 10, 10, 0.8]]]).mT
    assert len(suppressed(decoded, 0.1, 0.5, 10)[0][0]) == 1


@pytest.mark.parametrize(
    ("options", "name"), [((1.5, 0.5, 9), "threshold"), ((0.1, -1, 9), "iou"), ((0.1, 0.5, 0), "most")]
)
def test_suppression_names_what_is_out_of_range(options: Any, name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must"):
        suppressed(torch.zeros(1, 5, 1), *options)


# Recipe


def test_biases_begin_fast_and_momentum_rises_under_sgd() -> None:
    module, recipe = (
        nn.Sequential(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2)),
        Recipe(optimizer="sgd", lr=0.01, epochs=9, warmup=3.0),
    )
    optimizer = make_optimizer(module, recipe)
    decayed, norms, biases = optimizer.param_groups
    assert [len(group["params"]) for group in (decayed, norms, biases)] == [1, 1, 2]
    assert [group["weight_decay"] for group in (decayed, norms, biases)] == [recipe.weight_decay, 0, 0]
    set_rates(optimizer, recipe, 0, 10)
    assert decayed["lr"] < 0.01 < biases["lr"] <= BIAS_LR
    assert MOMENTUM[0] <= decayed["momentum"] < 0.81
    set_rates(optimizer, recipe, 89, 10)
    assert [decayed["lr"], biases["lr"]] == pytest.approx([0.01 * recipe.final_lr] * 2)
    assert biases["momentum"] == MOMENTUM[1]


def test_the_average_follows_slowly() -> None:
    average, model = nn.Linear(2, 1), nn.Linear(2, 1)
    moved = []
    for step in (1, 2000, 100_000):
        nn.init.zeros_(average.weight)
        nn.init.ones_(model.weight)
        follow(average, model, step)
        moved.append(float(average.weight.mean().detach()))
    assert moved == pytest.approx(
        [1 - 0.9999 * (1 - math.exp(-1 / 2000)), 1 - 0.9999 * (1 - 1 / math.e), 1e-4], rel=1e-3
    )


def test_a_diverging_training_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    from retable.models.spikeyolo import training
    from retable.models.spikeyolo.method import SpikeYOLO

    method = SpikeYOLO(width=0.0625, depth=0.1, epochs=1, warmup=0.0, batch_size=4)
    data = squares(4)
    model = method.build(data)
    bad = torch.tensor(float("nan"), requires_grad=True)
    monkeypatch.setattr(training, "detection_loss", lambda *_: (bad, torch.zeros(3)))
    with pytest.raises(FloatingPointError, match="lower the learning rate"):
        fit_detector(model, data.train, 2, method, seed=0, device="cpu")


def test_targets_move_to_a_device() -> None:
    moved = targets_of([np.zeros((0, 5), np.float32)], 1, 8, 8).to("meta")
    assert isinstance(moved, Targets)
    assert {part.device.type for part in moved} == {"meta"}
