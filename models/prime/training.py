"""Training of both halves as released: Adam with cosine by epoch for the classifier, AdamW at one rate for the autoencoder."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from retable.models.common.resume import Resume
from retable.models.prime.classifier import PrimeClassifier
from retable.models.prime.config import Recipe
from retable.models.prime.inpainter import Inpainter, damaged
from retable.models.prime.network import cross_entropy, tet
from retable.models.prime.vae import divergence as apart
from retable.models.vision import recipe as vision
from retable.models.vision.training import Batches, set_rate
from retable.progress import tell

CURVE_POINTS = 20
SCHEDULED_FROM, SCHEDULED_TO = 0.1, 0.3
"""Probability of scheduled sampling in the first and in the last epoch."""


def fit_classifier(
    model: PrimeClassifier, split: Any, recipe: Recipe, loss: Literal["ce", "tet"], *, seed: int, device: str
) -> dict[str, Any]:
    """Fit in place to a labelled split of event frames and leave in eval mode; returns the log.

    Adam with its own (coupled) weight decay, the rate on half a cosine that steps by epoch.
    """
    criterion = cross_entropy if loss == "ce" else tet
    optimizer = torch.optim.Adam

    def objective(pixels: Tensor, labels_B: Tensor, epoch: int) -> Tensor:
        return criterion(model.steps(model.prepare(pixels)), labels_B)

    def rate(epoch: int) -> float:
        return recipe.lr * (1 + math.cos(math.pi * epoch / recipe.epochs)) / 2

    return _fit(model, split, recipe, optimizer, objective, rate, seed=seed, device=device)


def fit_inpainter(
    model: Inpainter,
    split: Any,
    recipe: Recipe,
    divergence: Literal["mmd", "kld"],
    hole: tuple[int, int],
    *,
    seed: int,
    device: str,
) -> dict[str, Any]:
    """Fit in place to images with a hole, against the whole ones, and leave in eval mode; returns the log.

    AdamW at one rate; the loss is the squared error of the whole image and the divergence of posterior and prior. The
    last weights are kept, not those of the best test loss, which the released code looks at.
    """
    last = max(1, recipe.epochs - 1)

    def objective(pixels: Tensor, labels_B: Tensor, epoch: int) -> Tensor:
        clean_BCHW = model.prepare(pixels)
        scheduled = SCHEDULED_FROM + (SCHEDULED_TO - SCHEDULED_FROM) * epoch / last
        filling = model.network(damaged(clean_BCHW, hole), scheduled=scheduled)
        return F.mse_loss(filling.image, clean_BCHW) + apart(filling, divergence)

    return _fit(model, split, recipe, torch.optim.AdamW, objective, lambda _: recipe.lr, seed=seed, device=device)


def _fit(
    model: nn.Module,
    split: Any,
    recipe: Recipe,
    optimizer_of: Callable[..., torch.optim.Optimizer],
    objective: Callable[[Tensor, Tensor, int], Tensor],
    rate: Callable[[int], float],
    *,
    seed: int,
    device: str,
) -> dict[str, Any]:
    """Raises FloatingPointError when the loss is not finite. A model without anything to train stays as it is."""
    batches = Batches(split, vision.Recipe(batch_size=recipe.batch_size), seed=seed)
    trained = [parameter for parameter in model.to(device).train().parameters() if parameter.requires_grad]
    losses: list[float] = []
    if trained:
        optimizer = optimizer_of(trained, lr=recipe.lr, weight_decay=recipe.weight_decay)
        resume = Resume(model=model, optimizer=optimizer, order=batches.generator, augmentation=batches.split_rng)
        before = resume.take_up()
        losses = before.get("losses", losses)
        for epoch in range(before.get("epochs", 0), recipe.epochs):
            set_rate(optimizer, rate(epoch))
            for pixels, labels_B in batches:
                loss = objective(pixels.to(device), labels_B.to(device), epoch)
                losses.append(float(loss.detach()))
                if not math.isfinite(losses[-1]):
                    raise FloatingPointError(
                        f"the loss is {losses[-1]} at step {len(losses) - 1}: lower the learning rate"
                    )
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                tell(len(losses), recipe.epochs * len(batches), losses[-1], epoch=epoch + 1, epochs=recipe.epochs)
            resume.offer(losses=losses, epochs=epoch + 1)
    model.eval()
    return {"steps": len(losses), "loss": losses[-1] if losses else None, "curve": _curve(losses)}


def _curve(losses: list[float]) -> list[dict[str, float | int]]:
    every = max(len(losses) // CURVE_POINTS, 1)
    return [{"step": i, "loss": loss} for i, loss in enumerate(losses) if i % every == 0 or i == len(losses) - 1]
