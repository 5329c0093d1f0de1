"""Training of a detector: batches with boxes, the recipe's optimizer, statistics of norms measured at the end."""

from __future__ import annotations

import math
from collections.abc import Iterator
from copy import deepcopy
from itertools import chain, islice, repeat
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from retable.models.common.resume import Resume
from retable.models.spikeyolo.assigner import targets_of
from retable.models.spikeyolo.detector import Detector
from retable.models.spikeyolo.loss import detection_loss
from retable.models.spikeyolo.recipe import BIAS_LR, MOMENTUM, Recipe
from retable.progress import tell

CURVE_POINTS = 20
EMA_DECAY, EMA_STEPS = 0.9999, 2000
"""The average's decay at step n is EMA_DECAY (1 - exp(-n / EMA_STEPS))."""


def fit_detector(
    model: Detector, split: Any, num_classes: int, recipe: Recipe, *, seed: int, device: str
) -> dict[str, Any]:
    """Fit `model` in place to a split with boxes, leave it in eval mode, and return the log.

    Order and augmentation come from a generator of their own, seeded with `seed`. The log holds points of the loss curve
    and the mean terms of each epoch. Raises FloatingPointError when the loss is not finite, ValueError for boxes that are none.
    """
    batches = Batches(split, recipe, seed=seed)
    side = recipe.prior_side or math.sqrt(math.prod(batches.image_size))
    model.network.head.start(side)
    model.to(device).train()
    optimizer = make_optimizer(model, recipe)
    average = deepcopy(model) if recipe.ema else None
    resume = Resume(model=model, optimizer=optimizer, average=average, order=batches.generator)
    before = resume.take_up()
    losses: list[float] = before.get("losses", [])
    epochs: list[list[float]] = before.get("epochs", [])
    for epoch in range(len(epochs), recipe.epochs):
        terms = torch.zeros(3)
        for pixels, boxes in batches:
            set_rates(optimizer, recipe, len(losses), len(batches))
            targets = targets_of(boxes, num_classes, *batches.image_size).to(device)
            loss, items = detection_loss(model.network.head, model(model.prepare(pixels.to(device))), targets)
            losses.append(_finite(float(loss.detach()) / len(pixels), len(losses)))
            terms += items.float().cpu() / len(batches)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
            optimizer.step()
            if average is not None:
                follow(average, model, len(losses))
            tell(len(losses), recipe.epochs * len(batches), losses[-1], epoch=epoch + 1, epochs=recipe.epochs)
        epochs.append(terms.tolist())
        resume.offer(losses=losses, epochs=epochs)
    if average is not None:
        model.load_state_dict(average.state_dict())
    remeasure_norms(model, batches, recipe.norm_batches, device)
    model.eval()
    return {"steps": len(losses), "loss": losses[-1], "terms_box_cls_dfl": epochs, "curve": _curve(losses)}


def make_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Three groups: weights, which are decayed, norms' factors, and all biases (vectors named so)."""
    named = [(name, weight) for name, weight in model.named_parameters() if weight.requires_grad]
    biases = [weight for name, weight in named if "bias" in name]
    norms = [weight for name, weight in named if "bias" not in name and weight.dim() < 2]
    weights = [weight for name, weight in named if "bias" not in name and weight.dim() >= 2]
    groups = [
        {"params": weights, "weight_decay": recipe.weight_decay, "biases": False},
        {"params": norms, "weight_decay": 0.0, "biases": False},
        {"params": biases, "weight_decay": 0.0, "biases": True},
    ]
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=recipe.lr, momentum=MOMENTUM[1], nesterov=True)
    return torch.optim.AdamW(groups, lr=recipe.lr)


def set_rates(optimizer: torch.optim.Optimizer, recipe: Recipe, step: int, steps_an_epoch: int) -> None:
    """The recipe's rates and momentum of a step."""
    risen, lr = recipe.risen(step, steps_an_epoch), recipe.lr_at(step, steps_an_epoch)
    sgd = recipe.optimizer == "sgd"
    for group in optimizer.param_groups:
        start = BIAS_LR if sgd and group["biases"] else 0.0
        group["lr"] = start + (lr - start) * risen
        if sgd:
            group["momentum"] = MOMENTUM[0] + (MOMENTUM[1] - MOMENTUM[0]) * risen


@torch.no_grad()
def follow(average: nn.Module, model: nn.Module, step: int) -> None:
    """Move the running average of weights and statistics by one step."""
    decay = EMA_DECAY * (1 - math.exp(-step / EMA_STEPS))
    for kept, value in zip(average.state_dict().values(), model.state_dict().values(), strict=True):
        if kept.is_floating_point():
            kept.lerp_(value, 1 - decay)


@torch.no_grad()
def remeasure_norms(model: Detector, batches: Batches, count: int, device: str) -> None:
    """Set the statistics of all batch norms to their plain mean over `count` batches of training samples."""
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    if not count or not norms:
        return
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a cumulative mean
    model.train()
    for pixels, _ in islice(chain.from_iterable(repeat(batches)), count):
        model(model.prepare(pixels.to(device)))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


class Batches:
    """Batches of (uint8 samples, boxes (n, 5) a sample) of a split; each pass is an epoch in a new random order.

    Samples that do not fill a batch wait for another epoch's order, unless the split is smaller than one batch.
    """

    def __init__(self, split: Any, recipe: Recipe, *, seed: int) -> None:
        if not len(split):
            raise ValueError("the data set has no training samples")
        self.split, self.recipe = split, recipe
        self.batch_size = min(recipe.batch_size, len(split))
        self.generator = torch.Generator().manual_seed(seed)
        height, width = split.images(np.arange(1)).shape[-2:]
        self.image_size = (int(height), int(width))

    def __len__(self) -> int:
        return len(self.split) // self.batch_size

    def __iter__(self) -> Iterator[tuple[Tensor, list[np.ndarray]]]:
        order_N = torch.randperm(len(self.split), generator=self.generator).numpy()
        for start in range(0, len(self) * self.batch_size, self.batch_size):
            chosen_B = order_N[start : start + self.batch_size]
            pixels, boxes = torch.from_numpy(self.split.images(chosen_B)), self.split.boxes(chosen_B)
            if self.recipe.augment == "flip":
                mirrored_B = torch.rand(len(chosen_B), generator=self.generator) < 0.5
                pixels, boxes = flipped(pixels, boxes, mirrored_B)
            yield pixels, boxes


def flipped(pixels: Tensor, boxes: list[np.ndarray], mirrored_B: Tensor) -> tuple[Tensor, list[np.ndarray]]:
    """The samples that are chosen mirrored left to right, with their boxes."""
    width = pixels.shape[-1]
    pixels = torch.where(mirrored_B.view(-1, *[1] * (pixels.dim() - 1)), pixels.flip(-1), pixels)
    swap = np.array([0, 3, 2, 1, 4])
    turn = np.array([0, width, 0, width, 0], np.float32)
    sign = np.array([1, -1, 1, -1, 1], np.float32)
    pairs = zip(boxes, mirrored_B.tolist(), strict=True)
    return pixels, [turn + sign * one[:, swap] if mirrored else one for one, mirrored in pairs]


def _finite(loss: float, step: int) -> float:
    if not math.isfinite(loss):
        raise FloatingPointError(f"the loss is {loss} at step {step}: lower the learning rate")
    return loss


def _curve(losses: list[float]) -> list[dict[str, float | int]]:
    every = max(len(losses) // CURVE_POINTS, 1)
    return [{"step": i, "loss": loss} for i, loss in enumerate(losses) if i % every == 0 or i == len(losses) - 1]
