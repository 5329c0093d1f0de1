"""Training of the survey's networks: AdamW or SGD, cosine decay after a linear warm-up, one loss for all T steps.

Losses: `ce`, cross-entropy of the mean logits (arXiv 2209.15425); `tet`, the mean over steps of each step's cross-entropy with
a pull of all logits to a constant (arXiv 2202.11946, equations 9 to 11).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import chain, islice, repeat
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from retable.models.common.resume import Resume
from retable.models.vision.classifier import Classifier
from retable.models.vision.recipe import Augment, Recipe
from retable.progress import tell

CURVE_POINTS = 20
MOMENTUM = 0.9
TET_MEAN = 1.0
"""The constant that TET pulls logits to."""

Objective = Callable[[Classifier, Tensor, Tensor], tuple[Tensor, Tensor]]
"""(model, prepared x, labels (B,)) -> (loss, logits (T, B, K)) of one training batch."""


def fit_classifier(
    model: Classifier, split: Any, recipe: Recipe, *, seed: int, device: str, objective: Objective | None = None
) -> dict[str, Any]:
    """Fit `model` in place to a labelled split, leave it in eval mode, and return the log.

    `objective` is what the optimizer lowers, by default the recipe's loss of the logits. Order and augmentation come from
    generators of their own, seeded with `seed`. The log holds points of the loss curve and the accuracy in per cent on the
    training batches of each epoch, as they were seen. Raises FloatingPointError when the loss is not finite.
    """
    objective = objective or _plain(recipe)
    batches = Batches(split, recipe, seed=seed)
    model.standardise_by(split)
    model.to(device).train()
    optimizer = make_optimizer(list(model.parameters()), recipe)
    resume = Resume(model=model, optimizer=optimizer, order=batches.generator, augmentation=batches.split_rng)
    before = resume.take_up()
    losses: list[float] = before.get("losses", [])
    accuracies: list[float] = before.get("accuracies", [])
    for epoch in range(len(accuracies), recipe.epochs):
        hits = seen = 0
        for pixels, labels_B in batches:
            set_rate(optimizer, recipe.lr_at(len(losses), len(batches)))
            labels_B = labels_B.to(device)
            loss, logits_TBK = objective(model, model.prepare(pixels.to(device)), labels_B)
            losses.append(_finite(float(loss.detach()), len(losses)))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            hits += int((logits_TBK.detach().mean(0).argmax(-1) == labels_B).sum())
            seen += len(labels_B)
            tell(len(losses), recipe.epochs * len(batches), losses[-1], epoch=epoch + 1, epochs=recipe.epochs)
        accuracies.append(100 * hits / seen)
        resume.offer(losses=losses, accuracies=accuracies)
    remeasure_norms(model, batches, recipe.norm_batches, device)
    model.eval()
    return {"steps": len(losses), "loss": losses[-1], "train_accuracy": accuracies, "curve": _curve(losses)}


def _plain(recipe: Recipe) -> Objective:
    def objective(model: Classifier, x: Tensor, labels_B: Tensor) -> tuple[Tensor, Tensor]:
        logits_TBK = model.steps(x)
        return loss_of(logits_TBK, labels_B, recipe), logits_TBK

    return objective


@torch.no_grad()
def remeasure_norms(model: Classifier, batches: Batches, count: int, device: str) -> None:
    """Set the statistics of all batch norms to their plain mean over `count` batches of training samples."""
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    if not count or not norms:
        return
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a cumulative mean
    model.train()
    for pixels, _ in islice(chain.from_iterable(repeat(batches)), count):
        model.steps(model.prepare(pixels.to(device)))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


def loss_of(logits_TBK: Tensor, labels_B: Tensor, recipe: Recipe) -> Tensor:
    """`ce` on the mean over T, or `tet`: (1 - lambda) mean_t CE(o_t, y) + lambda MSE(o, 1)."""
    smoothing = recipe.label_smoothing
    if recipe.loss == "ce":
        return F.cross_entropy(logits_TBK.mean(0), labels_B, label_smoothing=smoothing)
    T = len(logits_TBK)
    each = F.cross_entropy(logits_TBK.flatten(0, 1), labels_B.repeat(T), label_smoothing=smoothing)
    pull = (logits_TBK - TET_MEAN).square().mean()
    return (1 - recipe.tet_lambda) * each + recipe.tet_lambda * pull


def make_optimizer(parameters: list[nn.Parameter], recipe: Recipe) -> torch.optim.Optimizer:
    """Biases, norms' factors and neurons' own parameters (vectors and scalars) are not decayed."""
    groups = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": recipe.weight_decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=recipe.lr, momentum=MOMENTUM)
    return torch.optim.AdamW(groups, lr=recipe.lr)


class Batches:
    """Batches of (uint8 samples, labels int64) of a split; each pass is an epoch in a new random order.

    Samples that do not fill a batch wait for another epoch's order, unless the split is smaller than one batch.
    """

    def __init__(self, split: Any, recipe: Recipe, *, seed: int) -> None:
        import numpy as np

        if not len(split):
            raise ValueError("the data set has no training samples")
        self.split, self.recipe = split, recipe
        self.batch_size = min(recipe.batch_size, len(split))
        self.labels_N = torch.from_numpy(split.labels)
        self.generator = torch.Generator().manual_seed(seed)
        self.split_rng = np.random.default_rng(seed) if split.augments else None

    def __len__(self) -> int:
        return len(self.split) // self.batch_size

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        order_N = torch.randperm(len(self.split), generator=self.generator)
        for chosen_B in order_N[: len(self) * self.batch_size].split(self.batch_size):
            pixels = torch.from_numpy(self.split.images(chosen_B.numpy(), self.split_rng))
            yield augmented(pixels, self.recipe.augment, self.generator), self.labels_N[chosen_B]


def augmented(pixels: Tensor, augment: Augment, generator: torch.Generator) -> Tensor:
    """Samples (B, ..., H, W), each moved (and mirrored) by itself, all of its frames alike; the same shape and type."""
    if augment == "none":
        return pixels
    B, (height, width) = len(pixels), pixels.shape[-2:]
    reach = (height // 8, width // 8)
    padded = F.pad(pixels, (reach[1], reach[1], reach[0], reach[0]))
    top_B, left_B = (torch.randint(2 * most + 1, (B,), generator=generator).tolist() for most in reach)
    moved = torch.stack(
        [
            padded[i, ..., top : top + height, left : left + width]
            for i, (top, left) in enumerate(zip(top_B, left_B, strict=True))
        ]
    )
    if augment == "shift":
        return moved
    mirrored_B = torch.rand(B, generator=generator) < 0.5
    return torch.where(mirrored_B.view(-1, *[1] * (pixels.dim() - 1)), moved.flip(-1), moved)


def set_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = lr


def _finite(loss: float, step: int) -> float:
    if not math.isfinite(loss):
        raise FloatingPointError(f"the loss is {loss} at step {step}: lower the learning rate")
    return loss


def _curve(losses: list[float]) -> list[dict[str, float | int]]:
    every = max(len(losses) // CURVE_POINTS, 1)
    return [{"step": i, "loss": loss} for i, loss in enumerate(losses) if i % every == 0 or i == len(losses) - 1]
