"""Tuning on a draw of few images: losses, rates and the choice of an epoch of the published code (arXiv 2407.01003)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from retable.models.common.resume import Resume
from retable.models.ept.classifier import TunedClassifier
from retable.models.ept.recipe import Recipe
from retable.progress import tell

MOMENTUM = 0.9
UNDECAYED = ("backbone.cls_token", "backbone.pos_embed")
EVALUATED_AT_ONCE = 64


def multi_label_loss(logits_BK: Tensor, targets_BK: Tensor) -> Tensor:
    """Binary cross-entropy summed over labels, averaged over images: K times the usual mean."""
    return F.binary_cross_entropy_with_logits(logits_BK, targets_BK, reduction="none").sum(1).mean()


def loss_of(logits_BK: Tensor, labels: Tensor) -> Tensor:
    """By the labels: floats (B, K) are several for an image, whole numbers (B,) one."""
    return multi_label_loss(logits_BK, labels) if labels.is_floating_point() else F.cross_entropy(logits_BK, labels)


def probabilities(logits_BK: Tensor, multi_label: bool) -> Tensor:
    return torch.sigmoid(logits_BK) if multi_label else logits_BK.softmax(-1)


def fit_draw(model: TunedClassifier, draw: Any, recipe: Recipe, *, seed: int, device: str) -> dict[str, Any]:
    """Tune `model` in place on `draw.train`; its log, and what was trained after the best and after the last epoch.

    `draw.judge(probabilities)` says how good an epoch is on `draw.validation`; the first best one is kept. The order of images
    comes from a generator of its own. Raises FloatingPointError when a loss is not finite, ValueError without images.
    """
    batches = Batches(draw.train, recipe.batch_size, seed)
    optimizer = make_optimizer(model, recipe)
    model.to(device)
    model.backbone.set_dropout(recipe.dropout)
    resume = Resume(
        f"{draw.name}.pt", model=model, optimizer=optimizer, order=batches.generator, augmentation=batches.split_rng
    )
    before = resume.take_up()
    losses: list[float] = before.get("losses", [])
    judged: list[float] = before.get("judged", [])
    best: dict[str, Tensor] = before.get("best", {})
    for epoch in range(len(judged), recipe.epochs):
        model.train()
        for pixels, labels in batches:
            set_rate(optimizer, recipe.lr_at(epoch, len(losses)))
            loss = loss_of(model(model.prepare(pixels.to(device))), labels.to(device))
            losses.append(step(model, optimizer, loss, recipe.clip, len(losses)))
            done = {"epoch": epoch + 1, "epochs": recipe.epochs, "what": draw.name}
            tell(len(losses), recipe.epochs * len(batches), losses[-1], **done)
        judged.append(draw.judge(predict(model, draw.validation, device, draw.multi_label)))
        if judged[-1] > max(judged[:-1], default=-math.inf):
            best = model.snapshot()
        resume.offer(losses=losses, judged=judged, best=dict(best))
    model.eval()
    best_epoch = judged.index(max(judged))
    log = {"steps": len(losses), "loss": losses[-1], "epoch_loss": means(losses, len(batches))}
    return {**log, "validation": judged, "best_epoch": best_epoch, "best": best, "last": model.snapshot()}


@torch.inference_mode()
def predict(model: TunedClassifier, split: Any, device: str, multi_label: bool) -> Any:
    """Probabilities float64 (N, K) for all images of a split; the model is left in eval mode."""
    import numpy as np

    model.eval()
    found = []
    for start in range(0, len(split), EVALUATED_AT_ONCE):
        chosen = np.arange(start, min(start + EVALUATED_AT_ONCE, len(split)))
        pixels = torch.from_numpy(split.images(chosen)).to(device)
        found.append(probabilities(model(model.prepare(pixels)), multi_label).double().cpu())
    return torch.cat(found).numpy()


def make_optimizer(model: TunedClassifier, recipe: Recipe) -> torch.optim.Optimizer:
    """SGD decays everything, prompts too; AdamW leaves CLS and positions out."""
    trained = model.trained()
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(trained.values(), lr=recipe.lr, momentum=MOMENTUM, weight_decay=recipe.weight_decay)
    kept = [parameter for name, parameter in trained.items() if name not in UNDECAYED]
    bare = [parameter for name, parameter in trained.items() if name in UNDECAYED]
    groups: list[dict[str, Any]] = [{"params": kept}]
    if bare:
        groups.append({"params": bare, "weight_decay": 0.0})
    return torch.optim.AdamW(groups, lr=recipe.lr, weight_decay=recipe.weight_decay)


def step(
    model: TunedClassifier, optimizer: torch.optim.Optimizer, loss: Tensor, clip: float | None, number: int
) -> float:
    """One update; the loss. Raises FloatingPointError when it is not finite."""
    value = float(loss.detach())
    if not math.isfinite(value):
        raise FloatingPointError(f"the loss is {value} at step {number}: lower the learning rate")
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    if clip is not None:
        nn.utils.clip_grad_norm_(model.trained().values(), clip)
    optimizer.step()
    return value


class Batches:
    """Batches of (uint8 images, labels) of a split in a new order each epoch; the last one may be smaller."""

    def __init__(self, split: Any, batch_size: int, seed: int) -> None:
        import numpy as np

        if not len(split):
            raise ValueError("the draw has no training images")
        self.split, self.batch_size = split, batch_size
        self.labels = torch.from_numpy(split.labels)
        self.generator = torch.Generator().manual_seed(seed)
        self.split_rng = np.random.default_rng(seed) if split.augments else None

    def __len__(self) -> int:
        return -(-len(self.split) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for chosen_B in torch.randperm(len(self.split), generator=self.generator).split(self.batch_size):
            yield torch.from_numpy(self.split.images(chosen_B.numpy(), self.split_rng)), self.labels[chosen_B]


def set_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = lr


def means(losses: list[float], batches: int) -> list[float]:
    """The mean loss of each epoch."""
    return [sum(losses[i : i + batches]) / batches for i in range(0, len(losses), batches)]
