"""Trains the VQ tokenizer from scratch, for data on which no published tokenizer exists.

AiM (arXiv 2408.12245) takes its tokenizer ready-made from LlamaGen (arXiv 2406.06525); the code that trained it is not
in AiM's repository. This is the VQ-VAE objective of that architecture: squared error + codebook + beta x commitment.
LlamaGen's perceptual and adversarial losses are not part of it: reconstructions are blurrier than its tokenizer's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import mse_loss, normalize

from retable.models.aim.tokenizer import VQVAE, VQConfig
from retable.models.common.resume import Resume
from retable.progress import tell

BETAS = (0.5, 0.9)
CURVE_POINTS = 30
EVALUATION_IMAGES, EVALUATION_BATCH = 500, 50


@dataclass(frozen=True)
class TokenizerRecipe:
    """Adam at `lr`, constant for the first half of `steps` and linear to 0 over the second.

    Before step `reseed_step` (0 = never) every code is replaced by an encoder output once, so that none stays dead.
    Raises ValueError for values with which nothing can be trained.
    """

    steps: int = 200
    batch_size: int = 16
    lr: float = 2e-3
    reseed_step: int = 60

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch_size < 1 or not self.lr > 0 or self.reseed_step < 0:
            raise ValueError(
                f"a tokenizer needs steps, batch_size and lr above 0 and reseed_step of at least 0: {self}"
            )

    def lr_at(self, step: int) -> float:
        """Learning rate of the step with that number, counted from 0."""
        return self.lr * min(1.0, 2 * (1 - step / self.steps))


def train_tokenizer(
    config: VQConfig, data: Any, recipe: TokenizerRecipe, *, seed: int, device: str = "cpu"
) -> tuple[VQVAE, dict[str, Any]]:
    """A tokenizer fitted to `data.train` (uint8 images), in eval mode, and a JSON-able log.

    The log holds points of the loss curve, and for the first training and held-out images the mean squared error per
    value (images in [-1, 1]), how many codes encode them, and how many images that was. Everything random follows from
    `seed`.
    Raises FloatingPointError when the loss is not finite.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = VQVAE(config)
    model = model.to(device).train()
    batches = _Batches(data.train, recipe.batch_size, seed, device)
    optimizer = torch.optim.Adam(model.parameters(), lr=recipe.lr, betas=BETAS, fused=True)
    resume = Resume(model=model, optimizer=optimizer, order=batches)
    before = resume.take_up()
    curve: list[dict[str, float | int]] = before.get("curve", [])
    for step in range(before.get("done", 0), recipe.steps):
        if step == recipe.reseed_step > 0:
            reseed_codes(model, batches, optimizer)
        for group in optimizer.param_groups:
            group["lr"] = recipe.lr_at(step)
        x_BCHW = batches.draw()
        reconstruction_BCHW, vq_loss, commit_loss, _ = model(x_BCHW)
        mse = mse_loss(reconstruction_BCHW, x_BCHW)
        loss = mse + vq_loss + commit_loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % max(recipe.steps // CURVE_POINTS, 1) == 0 or step == recipe.steps - 1:
            curve.append(_point(step, loss=loss, mse=mse, vq_loss=vq_loss, commit_loss=commit_loss))
        tell(step + 1, recipe.steps, loss.detach())
        resume.offer(done=step + 1, curve=curve)
    model.eval()
    splits = {"train": data.train, "held_out": data.held_out}
    return model, {"curve": curve, **{name: evaluate(model, split, device) for name, split in splits.items()}}


def reseed_codes(model: VQVAE, batches: _Batches, optimizer: torch.optim.Optimizer) -> None:
    """Replace the codebook by as many random encoder outputs; the optimizer forgets what it knew of the old one."""
    codes_VD = model.quantize.embedding.weight
    with torch.no_grad():
        outputs: list[Tensor] = []
        while sum(map(len, outputs)) < len(codes_VD):
            z_BDHW = model.pre_quant(batches.draw())
            outputs.append(z_BDHW.permute(0, 2, 3, 1).flatten(0, 2))
        z_ND = normalize(torch.cat(outputs), dim=-1)
        chosen = torch.randperm(len(z_ND), generator=batches.generator)[: len(codes_VD)]
        codes_VD.copy_(z_ND[chosen.to(z_ND.device)])
    optimizer.state.pop(codes_VD, None)


def evaluate(model: VQVAE, split: Any, device: str = "cpu") -> dict[str, float | int]:
    """Reconstruction error and code use on the first images of a split."""
    import numpy as np

    images = min(len(split), EVALUATION_IMAGES)
    squares, values, tokens = 0.0, 0, []
    with torch.no_grad():
        for start in range(0, images, EVALUATION_BATCH):
            x_BCHW = as_floats(split.images(np.arange(start, min(start + EVALUATION_BATCH, images))), device)
            tokens_BT = model.encode(x_BCHW)
            height, width = (side // model.downsample for side in x_BCHW.shape[-2:])
            error_BCHW = model.decode(model.quantize.lookup(tokens_BT, height, width)) - x_BCHW
            squares += float(error_BCHW.square().sum(dtype=torch.float64))
            values += error_BCHW.numel()
            tokens.append(tokens_BT.unique())
    return {"mse": squares / values, "codes_used": len(torch.cat(tokens).unique()), "images": images}


def as_floats(pixels: Any, device: str) -> Tensor:
    """uint8 images (B, C, H, W) in [-1, 1]."""
    return torch.from_numpy(pixels).to(device).float() / 127.5 - 1


class _Batches:
    """Random training batches; each pass over the data visits every image once, in an order drawn anew."""

    def __init__(self, split: Any, batch_size: int, seed: int, device: str) -> None:
        import numpy as np

        self.split, self.device = split, device
        self.batch_size = min(batch_size, len(split))
        self.generator = torch.Generator().manual_seed(seed)
        self.augmentation = np.random.default_rng(seed) if split.augments else None
        self.order = torch.empty(0, dtype=torch.int64)

    def draw(self) -> Tensor:
        if len(self.order) < self.batch_size:
            self.order = torch.randperm(len(self.split), generator=self.generator)
        indices, self.order = self.order[: self.batch_size], self.order[self.batch_size :]
        return as_floats(self.split.images(indices.numpy(), self.augmentation), self.device)

    def state_dict(self) -> dict[str, Any]:
        """Where it is in its pass."""
        augmented = None if self.augmentation is None else self.augmentation.bit_generator.state
        return {"generator": self.generator.get_state(), "order": self.order.clone(), "augmentation": augmented}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.generator.set_state(state["generator"])
        self.order = state["order"]
        if self.augmentation is not None:
            self.augmentation.bit_generator.state = state["augmentation"]


def _point(step: int, **terms: Tensor) -> dict[str, float | int]:
    values = {name: term.item() for name, term in terms.items()}
    if not all(map(math.isfinite, values.values())):
        raise FloatingPointError(f"the tokenizer's loss is not finite at step {step}: lower its learning rate")
    return {"step": step, **values}
