"""Training of SpikeVoice and its twins (arXiv 2408.00788, released code)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import torch

from retable.models.common.resume import Resume
from retable.models.spikevoice.losses import Losses, losses
from retable.models.spikevoice.recipe import Recipe
from retable.models.spikevoice.speech import Synthesizer
from retable.progress import tell

GROUP = 4
"""So many batches are drawn together and sorted by length, so that utterances of like length meet."""
CLIP = 1.0
CURVE_POINTS = 20
TERMS = ("mel", "mel_post", "pitch", "energy", "duration")


def fit_speech(model: Synthesizer, data: Any, recipe: Recipe, *, seed: int, device: str) -> dict[str, Any]:
    """Fit `model` in place to `data.train`, leave it in eval mode, and return the log: the last losses, points of the curve.

    The order of utterances comes from a generator of its own. Raises FloatingPointError when a loss is not finite.
    """
    if not len(data.train):
        raise ValueError(f"{data.name} has no training utterances")
    if recipe.standardise:
        model.standardise_by(data.train)
    model.to(device).train()
    config = model.network.config
    optimizer = torch.optim.Adam(model.parameters(), betas=(0.9, 0.98), eps=1e-9)
    order = batches([len(utterance.phonemes) for utterance in data.train], recipe.batch_size, seed)
    resume = Resume(model=model, optimizer=optimizer)
    before = resume.take_up()
    done: int = before.get("done", 0)
    curve: list[dict[str, float | int]] = before.get("curve", [])
    terms: dict[str, float] = before.get("terms", {})
    for n, chosen in zip(range(done + 1, recipe.steps + 1), islice(order, done, None), strict=False):
        batch = model.prepare([data.train[i] for i in chosen])
        found = losses(model(batch), model.standardised(batch.mel), batch.targets, config)
        for group in optimizer.param_groups:
            group["lr"] = recipe.rate(n, config.d)
        total = update(model, optimizer, found, n)
        if n % max(recipe.steps // CURVE_POINTS, 1) == 0 or n == recipe.steps:
            curve.append({"step": n, "loss": total})
        tell(n, recipe.steps, total)
        if resume.due or n == recipe.steps:
            terms = {name: float(getattr(found, name).detach()) for name in TERMS}
            resume.offer(done=n, curve=curve, terms=terms)
    model.eval()
    return {"steps": recipe.steps, "loss": terms, "curve": curve}


def update(model: Synthesizer, optimizer: torch.optim.Optimizer, found: Losses, n: int) -> float:
    """One step; the total loss. Raises FloatingPointError when it is not finite."""
    total = float(found.total.detach())
    if not math.isfinite(total):
        raise FloatingPointError(f"the loss is {total} at step {n}: lower the learning rate")
    optimizer.zero_grad(set_to_none=True)
    found.total.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
    optimizer.step()
    return total


def batches(lengths: Sequence[int], size: int, seed: int) -> Iterator[list[int]]:
    """Places of utterances, epoch after epoch without end: groups in random order, each sorted from long to short and split."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        for group in torch.randperm(len(lengths), generator=generator).split(GROUP * size):
            longest_first = sorted(group.tolist(), key=lambda i: -lengths[i])
            yield from (longest_first[start : start + size] for start in range(0, len(longest_first), size))
