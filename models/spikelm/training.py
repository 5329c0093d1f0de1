"""Both stages of spiking BERT: amplitudes measured on the first batch, masked words, then a task of sentences."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from retable.models.common.resume import Resume
from retable.models.spikelm.bert import BertForPreTraining, task_loss
from retable.models.spikelm.classifier import SentenceClassifier, epochs
from retable.models.spikelm.neurons import measured_rate, measuring
from retable.models.spikelm.recipe import Keep, Recipe
from retable.models.spikelm.tokenizer import Tokenizer
from retable.progress import tell

MASKED, KEPT_SHARE, RANDOM_SHARE = 0.15, 0.1, 0.1
"""Of the words; of the masked ones, as BERT does (arXiv 1810.04805), a tenth stays and a tenth becomes another word."""
WARMUP_SHARE = 0.01
IGNORED = -100
CURVE_POINTS = 20

Batch = tuple[Tensor, Tensor, Tensor]


def fit_sentences(
    model: SentenceClassifier, data: Any, recipe: Recipe, *, seed: int, device: str
) -> tuple[nn.Module, dict[str, Any]]:
    """Fit `model` in place to `data.train`; what `recipe.keep` keeps of it, in eval mode, and the log.

    The order of sentences and the masks come from generators of their own, seeded with `seed`. The log has points of both
    loss curves, and the spikes a neuron and step as the amplitudes were measured. Raises FloatingPointError, ValueError.
    """
    if not len(data.train):
        raise ValueError("the data set has no training sentences")
    log: dict[str, Any] = {}
    generator = torch.Generator().manual_seed(seed)
    if recipe.pretrain_steps:
        log["masked_words"] = pretrain(model, data.unlabelled, recipe, generator, device)
    judge = None if recipe.keep == "last" else (lambda: score(model, data, recipe.batch_size, device))
    log["task"], best = fine_tune(model, data.train, recipe, generator, device, judge)
    return kept(model, best, recipe.keep).eval(), log


def pretrain(
    model: SentenceClassifier, sentences: Sequence[str], recipe: Recipe, generator: torch.Generator, device: str
) -> dict[str, Any]:
    """Masked words alone: sentences that do not follow each other have no second task. Masks are drawn once."""
    if not sentences:
        raise ValueError("`pretrain_steps` needs unlabelled sentences, and the data set has none")
    ids, mask, types = model.tokenizer(sentences)
    hidden_ids, targets = masked(ids, model.tokenizer, generator)
    network = BertForPreTraining(model.config, model.neurons)
    network.bert = model.network.bert
    network.to(device).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=recipe.pretrain_lr, weight_decay=0.0)
    resume = Resume("masked_words.pt", network=network, optimizer=optimizer, order=generator)
    before = resume.take_up()
    losses: list[float] = before.get("losses", [])
    log: dict[str, Any] = before.get("log", {})
    while len(losses) < recipe.pretrain_steps:
        for chosen in torch.randperm(len(ids), generator=generator).split(recipe.pretrain_batch):
            if len(losses) == recipe.pretrain_steps:
                break
            batch = tuple(part[chosen].to(device) for part in (hidden_ids, mask, types))
            if not losses:
                log = measure_amplitudes(model, batch)
            schedule = recipe.pretrain_schedule or recipe.pretrain_steps
            set_rate(optimizer, recipe.pretrain_lr * rate_at(len(losses), schedule))
            places = targets[chosen].to(device)
            states_BNC = network.bert(*batch)
            wanted = places != IGNORED
            total = F.cross_entropy(network.words(states_BNC[wanted]), places[wanted], reduction="sum")
            loss = total / wanted.sum().clamp(min=1)  # a small batch may have no masked word
            losses.append(step(optimizer, loss, len(losses)))
            tell(len(losses), recipe.pretrain_steps, losses[-1], what="masked words")
        resume.offer(losses=losses, log=log)
    return {**log, "steps": len(losses), "loss": losses[-1], "curve": curve(losses)}


def fine_tune(
    model: SentenceClassifier,
    split: Any,
    recipe: Recipe,
    generator: torch.Generator,
    device: str,
    judge: Callable[[], float] | None = None,
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The log, and with a `judge` the weights of its best epoch, the first of equals; `model` is left at the last one."""
    ids, mask, types = model.tokenizer(split.first, split.second)
    labels = torch.from_numpy(split.labels)
    model.to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.lr, weight_decay=0.0)
    resume = Resume(model=model, optimizer=optimizer, order=generator)
    before = resume.take_up()
    losses: list[float] = before.get("losses", [])
    scores: list[float] = before.get("scores", [])
    best: dict[str, Tensor] = before.get("best", {})
    log: dict[str, Any] = before.get("log", {})
    steps = recipe.epochs * -(-len(ids) // recipe.batch_size)
    for epoch in range(before.get("epochs", 0), recipe.epochs):
        for chosen in torch.randperm(len(ids), generator=generator).split(recipe.batch_size):
            batch = tuple(part[chosen].to(device) for part in (ids, mask, types))
            if not losses and not recipe.pretrain_steps:
                log = measure_amplitudes(model, batch)
            loss = task_loss(model(*batch), labels[chosen].to(device))
            losses.append(step(optimizer, loss, len(losses)))
            tell(len(losses), steps, losses[-1], epoch=epoch + 1, epochs=recipe.epochs, what="sentences")
        if judge is not None:
            scores.append(judge())
            if scores[-1] == max(scores) and scores.index(scores[-1]) == len(scores) - 1:
                best = {name: value.clone() for name, value in model.state_dict().items()}
        resume.offer(losses=losses, scores=scores, best=best, log=log, epochs=epoch + 1)
    if judge is not None:
        log["scores"] = scores
    return {**log, "steps": len(losses), "loss": losses[-1], "curve": curve(losses)}, best


def kept(model: SentenceClassifier, best: Mapping[str, Tensor], keep: Keep) -> nn.Module:
    """`model`, which is at its last epoch, or taken back to its best one; or both by name."""
    if keep == "both":
        both = epochs(model)
        both["best"].load_state_dict(best)
        return both
    if keep == "best":
        model.load_state_dict(best)
    return model


@torch.no_grad()
def score(model: SentenceClassifier, data: Any, batch_size: int, device: str) -> float:
    """What GLUE names first of a task's held-out part: Pearson of ratings, Matthews of CoLA, else accuracy; -1 if undefined."""
    split = data.held_out
    ids, mask, types = model.tokenizer(split.first, split.second)
    model.eval()
    parts = zip(*(part.split(batch_size) for part in (ids, mask, types)), strict=True)
    outputs_NK = torch.cat([model(*(part.to(device) for part in batch)).double().cpu() for batch in parts])
    model.train()
    labels_N = torch.from_numpy(split.labels)
    if data.num_classes > 1 and "cola" not in data.name:
        return float((outputs_NK.argmax(1) == labels_N).double().mean())
    found_N = outputs_NK[:, 0] if data.num_classes == 1 else outputs_NK.argmax(1).double()
    pair = torch.corrcoef(torch.stack([found_N, labels_N.double()]))  # of 0 and 1 it is Matthews' coefficient
    return float(pair[0, 1].nan_to_num(-1.0))


@torch.no_grad()
def measure_amplitudes(model: SentenceClassifier, batch: Sequence[Tensor]) -> dict[str, float]:
    """Those that are not measured yet, on the first training batch; the rate is there where there are such neurons."""
    with measuring(model):
        model(*batch)
    rate = measured_rate(model)
    return {} if math.isnan(rate) else {"rate_as_measured": rate}


def masked(ids_BN: Tensor, tokenizer: Tokenizer, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Ids with 15 % of the words masked, and the words to find (B, N), IGNORED elsewhere."""
    draws_BN, kinds_BN = (torch.rand(ids_BN.shape, generator=generator) for _ in range(2))
    others_BN = torch.randint(len(tokenizer), ids_BN.shape, generator=generator)
    chosen_BN = (draws_BN < MASKED) & ~torch.isin(ids_BN, tokenizer.special)
    hidden_BN = torch.where(chosen_BN & (kinds_BN >= KEPT_SHARE), tokenizer.mask, ids_BN)
    hidden_BN = torch.where(chosen_BN & (kinds_BN >= 1 - RANDOM_SHARE), others_BN, hidden_BN)
    return hidden_BN, torch.where(chosen_BN, ids_BN, IGNORED)


def rate_at(number: int, steps: int) -> float:
    """Share of the learning rate at step `number` of a schedule of `steps`."""
    warmup = max(1, round(WARMUP_SHARE * steps))
    return min((number + 1) / warmup, (steps - number) / max(1, steps - warmup))


def set_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = lr


def step(optimizer: torch.optim.Optimizer, loss: Tensor, number: int) -> float:
    """One update; the loss. Raises FloatingPointError when it is not finite."""
    value = float(loss.detach())
    if not math.isfinite(value):
        raise FloatingPointError(f"the loss is {value} at step {number}: lower the learning rate")
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    return value


def curve(losses: Sequence[float]) -> list[dict[str, float | int]]:
    every = max(len(losses) // CURVE_POINTS, 1)
    return [{"step": i, "loss": loss} for i, loss in enumerate(losses) if i % every == 0 or i == len(losses) - 1]
