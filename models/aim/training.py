"""Training of a second stage on image tokens, shared by AiM and the Transformer (arXiv 2408.12245, section 4).

AdamW (0.9, 0.95) with weight decay on everything of two or more dimensions, linear decay to 0, label dropout for
guidance, mean cross-entropy over all T tokens. The paper's code has no warm-up, which is `warmup=0`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BETAS = (0.9, 0.95)
MAX_NORM = 1.0
CURVE_POINTS = 20
ENCODE_BATCH = 64


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How long and how fast: `warmup` steps of rising rate, then linear decay to 0 at `steps`."""

    steps: int = 400
    batch_size: int = 32
    lr: float = 2e-3
    warmup: int = 30
    weight_decay: float = 0.05
    label_dropout: float = 0.1

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch_size < 1 or not self.lr > 0:
            raise ValueError("training needs steps, batch_size and lr above 0")
        if not 0 <= self.warmup < self.steps:
            raise ValueError(f"a warm-up of {self.warmup} steps does not fit into {self.steps} steps")
        if self.weight_decay < 0 or not 0 <= self.label_dropout <= 1:
            raise ValueError("weight_decay must be at least 0 and label_dropout between 0 and 1")

    def lr_at(self, step: int) -> float:
        """Learning rate of step 0, 1, ..., steps - 1."""
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup
        return self.lr * (self.steps - step) / (self.steps - self.warmup)


class Trainable(Protocol):
    """A second stage: logits (B, T, V) from classes (B,) and the first T - 1 tokens."""

    @property
    def num_classes(self) -> int: ...

    def __call__(self, labels_B: Tensor, tokens_BS: Tensor) -> Tensor: ...

    def parameters(self) -> Iterator[nn.Parameter]: ...


def fit_stage2(model: Any, data: Any, recipe: Recipe, *, seed: int, device: str) -> dict[str, Any]:
    """Train an ImageModel's second stage on the tokens of `data.train`, leave it in eval mode, and return the log."""
    batches = TokenBatches(data.train, model.vqvae, recipe.batch_size, seed=seed, device=device)
    model.stage2.train()
    log = train_stage2(model.stage2, iter(batches), recipe, torch.Generator().manual_seed(seed))
    model.eval()
    return log


def train_stage2(
    model: Trainable, batches: Iterator[tuple[Tensor, Tensor]], recipe: Recipe, generator: torch.Generator
) -> dict[str, Any]:
    """Fits `model` in place to batches of (tokens (B, T), labels (B,)); the log holds points of the loss curve.

    `generator` (on the CPU) decides which labels are dropped. Raises FloatingPointError when the loss is not finite.
    """
    parameters = list(model.parameters())
    optimizer = adamw(parameters, recipe)
    losses: list[Tensor] = []
    for step in range(recipe.steps):
        for group in optimizer.param_groups:
            group["lr"] = recipe.lr_at(step)
        tokens_BT, labels_B = next(batches)
        labels_B = drop_labels(labels_B, model.num_classes, recipe.label_dropout, generator)
        logits_BTV = model(labels_B, tokens_BT[:, :-1])
        loss = F.cross_entropy(logits_BTV.flatten(0, 1), tokens_BT.flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, MAX_NORM)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.detach())
        if _is_point(step, recipe.steps):
            _require_finite(losses[-1], step)
    return {"steps": recipe.steps, "loss": float(losses[-1]), "curve": _curve(losses)}


def adamw(parameters: list[nn.Parameter], recipe: Recipe) -> torch.optim.AdamW:
    """Biases, norms and other vectors are not decayed; embeddings and scale-shift tables are, as in the official code."""
    groups = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": recipe.weight_decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=recipe.lr, betas=BETAS, fused=True)


def drop_labels(labels_B: Tensor, no_class: int, share: float, generator: torch.Generator) -> Tensor:
    """Labels of which a random share is replaced by the no-class id. Part of training only: models never do it."""
    dropped_B = torch.rand(len(labels_B), generator=generator) < share
    return labels_B.masked_fill(dropped_B.to(labels_B.device), no_class)


class TokenBatches:
    """Endless random batches of (tokens (B, T), labels (B,)) of a split; each pass visits every image once.

    A split without augmentation is encoded once; one with it, whenever an image is drawn.
    """

    def __init__(self, split: Any, vqvae: Any, batch_size: int, *, seed: int, device: str) -> None:
        import numpy as np

        self.split, self.vqvae, self.device = split, vqvae, device
        self.batch_size = min(batch_size, len(split))
        self.order = torch.Generator().manual_seed(seed)
        self.labels_N = torch.from_numpy(split.labels).to(device)
        self.augmentation = np.random.default_rng(seed) if split.augments else None
        if self.augmentation is None:
            chunks = np.array_split(np.arange(len(split)), -(-len(split) // ENCODE_BATCH))
            self.tokens_NT = torch.cat([self.encode(indices) for indices in chunks])

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            order_N = torch.randperm(len(self.split), generator=self.order)
            for chosen_B in order_N.split(self.batch_size):
                if len(chosen_B) == self.batch_size:
                    yield self.tokens(chosen_B), self.labels_N[chosen_B.to(self.device)]

    def tokens(self, chosen_B: Tensor) -> Tensor:
        if self.augmentation is None:
            return self.tokens_NT[chosen_B.to(self.device)]
        return self.encode(chosen_B.numpy())

    @torch.no_grad()
    def encode(self, indices: Any) -> Tensor:
        pixels = torch.from_numpy(self.split.images(indices, self.augmentation)).to(self.device)
        return self.vqvae.encode(pixels.float() / 127.5 - 1)


def _is_point(step: int, steps: int) -> bool:
    return step % max(steps // CURVE_POINTS, 1) == 0 or step == steps - 1


def _require_finite(loss: Tensor, step: int) -> None:
    if not math.isfinite(float(loss)):
        raise FloatingPointError(f"the loss is {float(loss)} at step {step}: lower the learning rate")


def _curve(losses: list[Tensor]) -> list[dict[str, float | int]]:
    return [{"step": i, "loss": float(loss)} for i, loss in enumerate(losses) if _is_point(i, len(losses))]
