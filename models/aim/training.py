"""Training of a second stage on image tokens, shared by AiM and the Transformer (arXiv 2408.12245, section 4).

AdamW (0.9, 0.95), linear decay to 0, label dropout for guidance, mean cross-entropy over all T tokens. The paper's code has
no warm-up, which is `warmup=0`. Weight decay: `corrected` is what the paper says and its code means, on everything of two or
more dimensions; in `official`, the released training, no name matches the group that would decay, and nothing does.

A batch goes through in parts of `micro_batch`, which gives the batch's own gradient, under autocast to `precision`: the
logits of the paper's 2048 x 256 tokens would be 34 GB at once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from retable.models.common.resume import Resume
from retable.progress import tell

Precision = Literal["float32", "bfloat16", "float16"]
Decay = Literal["official", "corrected"]
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
    protocol: Decay = "corrected"
    micro_batch: int | None = None
    precision: Precision = "float32"

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch_size < 1 or not self.lr > 0:
            raise ValueError("training needs steps, batch_size and lr above 0")
        if not 0 <= self.warmup < self.steps:
            raise ValueError(f"a warm-up of {self.warmup} steps does not fit into {self.steps} steps")
        if self.micro_batch is not None and self.micro_batch < 1:
            raise ValueError(f"micro_batch must be at least 1, not {self.micro_batch}")
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
    log = train_stage2(model.stage2, batches, recipe, torch.Generator().manual_seed(seed))
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
    scaler = torch.amp.GradScaler(parameters[0].device.type, enabled=recipe.precision == "float16")
    order = batches if hasattr(batches, "state_dict") else None
    resume = Resume(model=model, optimizer=optimizer, scaler=scaler, labels=generator, order=order)
    losses: list[Tensor] = [torch.tensor(loss) for loss in resume.take_up().get("losses", ())]
    for step in range(len(losses), recipe.steps):
        for group in optimizer.param_groups:
            group["lr"] = recipe.lr_at(step)
        tokens_BT, labels_B = next(batches)
        labels_B = drop_labels(labels_B, model.num_classes, recipe.label_dropout, generator)
        losses.append(add_gradients(model, labels_B, tokens_BT, recipe, scaler))
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(parameters, MAX_NORM)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad(set_to_none=True)
        if _is_point(step, recipe.steps):
            _require_finite(losses[-1], step)
        tell(step + 1, recipe.steps, losses[-1])
        if order is not None and resume.due:
            resume.offer(losses=[float(loss) for loss in losses])
    return {"steps": recipe.steps, "loss": float(losses[-1]), "curve": _curve(losses)}


def add_gradients(
    model: Trainable, labels_B: Tensor, tokens_BT: Tensor, recipe: Recipe, scaler: torch.amp.GradScaler
) -> Tensor:
    """The mean loss of a batch, whose gradients are added to the parameters', part by part."""
    parts = list(
        zip(*(value.split(recipe.micro_batch or len(labels_B)) for value in (labels_B, tokens_BT)), strict=True)
    )
    kind, half = getattr(torch, recipe.precision), recipe.precision != "float32"
    total = None
    for labels_P, tokens_PT in parts:
        with torch.autocast(tokens_PT.device.type, kind) if half else nullcontext():
            logits_PTV = model(labels_P, tokens_PT[:, :-1])
        loss = F.cross_entropy(logits_PTV.flatten(0, 1).float(), tokens_PT.flatten())
        share = loss if len(parts) == 1 else loss * (len(labels_P) / len(labels_B))
        scaler.scale(share).backward()
        total = share.detach() if total is None else total + share.detach()
    assert total is not None
    return total


def adamw(parameters: list[nn.Parameter], recipe: Recipe) -> torch.optim.AdamW:
    """`corrected` decays matrices, embeddings and scale-shift tables, and no biases, norms or other vectors."""
    decay = recipe.weight_decay if recipe.protocol == "corrected" else 0.0
    groups = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": decay},
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
        self.waiting_N = torch.empty(0, dtype=torch.int64)
        self.augmentation = np.random.default_rng(seed) if split.augments else None
        if self.augmentation is None:
            chunks = np.array_split(np.arange(len(split)), -(-len(split) // ENCODE_BATCH))
            self.tokens_NT = torch.cat([self.encode(indices) for indices in chunks])

    def __iter__(self) -> TokenBatches:
        return self

    def __next__(self) -> tuple[Tensor, Tensor]:
        if len(self.waiting_N) < self.batch_size:  # what does not fill a batch waits for another pass
            self.waiting_N = torch.randperm(len(self.split), generator=self.order)
        chosen_B, self.waiting_N = self.waiting_N[: self.batch_size], self.waiting_N[self.batch_size :]
        return self.tokens(chosen_B), self.labels_N[chosen_B.to(self.device)]

    def state_dict(self) -> dict[str, Any]:
        """Where it is in its pass."""
        augmented = None if self.augmentation is None else self.augmentation.bit_generator.state
        return {"order": self.order.get_state(), "waiting": self.waiting_N.clone(), "augmentation": augmented}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.order.set_state(state["order"])
        self.waiting_N = state["waiting"]
        if self.augmentation is not None:
            self.augmentation.bit_generator.state = state["augmentation"]

    def tokens(self, chosen_B: Tensor) -> Tensor:
        if self.augmentation is None:
            return self.tokens_NT[chosen_B.to(self.device)]
        return torch.cat([self.encode(part.numpy()) for part in chosen_B.split(ENCODE_BATCH)])

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
