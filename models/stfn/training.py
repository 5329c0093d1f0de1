"""Semi-supervised training: every node is seen, the loss is that of the labelled ones (eq. 13)."""

from __future__ import annotations

import math
from copy import deepcopy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from retable.models.common.resume import Resume
from retable.models.stfn.classifier import GraphClassifier
from retable.models.stfn.features import SparseFeatures, sparse
from retable.models.stfn.recipe import Recipe
from retable.progress import tell

CURVE_POINTS = 20


def fit_classifier(model: GraphClassifier, data: Any, recipe: Recipe, *, device: str) -> dict[str, Any]:
    """Fit `model` in place to `data.train`, choose the epoch by `data.validation`, and return the log.

    A set of graphs is one batch, as one graph of many parts. Dropout draws from torch's own generator. Raises ValueError
    where a part of the data is empty, FloatingPointError when the loss is not finite.
    """
    for name in ("train", "validation"):
        if not len(getattr(data, name)):
            raise ValueError(f"{data.name} has no {name} labels")
    train, validation = (torch.from_numpy(part).to(device) for part in (data.train, data.validation))
    y = torch.from_numpy(data.labels).to(device)
    model.to(device)
    dense_NC, graph = model.prepare(data, device)
    x = sparse(dense_NC)
    network = model.network
    optimizer = torch.optim.Adam(network.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay)
    resume = Resume(network=network, optimizer=optimizer)
    before = resume.take_up()
    best, best_epoch = before.get("best", (-1.0, 0))
    best_state = before.get("best_state", network.state_dict())
    losses: list[float] = before.get("losses", [])
    accuracies: list[float] = before.get("accuracies", [])
    for epoch in range(len(losses), recipe.epochs):
        losses.append(_step(network, optimizer, x, graph, y, train, recipe, epoch))
        accuracies.append(_accuracy(network, x, graph, y, validation))
        if accuracies[-1] > best:
            best, best_epoch, best_state = accuracies[-1], epoch, deepcopy(network.state_dict())
        tell(epoch + 1, recipe.epochs, losses[-1], epoch=epoch + 1, epochs=recipe.epochs)
        resume.offer(losses=losses, accuracies=accuracies, best=(best, best_epoch), best_state=dict(best_state))
    model.last.load_state_dict(network.state_dict())
    network.load_state_dict(best_state)
    model.eval()
    return {
        "epochs": recipe.epochs,
        "best_epoch": best_epoch + 1,
        "validation_accuracy": best,
        "validation_accuracy_last": accuracies[-1],
        "loss": losses[-1],
        "curve": _curve(losses, accuracies),
    }


def labelled_loss(logits: Tensor, y: Tensor, labelled: Tensor, reduction: str = "sum") -> Tensor:
    """Softmax cross-entropy over the labelled nodes or graphs (indices), summed as in eq. 13 or averaged."""
    return F.cross_entropy(logits[labelled], y[labelled], reduction=reduction)


def _step(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    x: SparseFeatures | Tensor,
    graph: Any,
    y: Tensor,
    train: Tensor,
    recipe: Recipe,
    epoch: int,
) -> float:
    network.train()
    loss = labelled_loss(network(x, graph), y, train, recipe.loss)
    value = float(loss.detach())
    if not math.isfinite(value):
        raise FloatingPointError(f"the loss is {value} in epoch {epoch + 1}: lower the learning rate")
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    return value


@torch.no_grad()
def _accuracy(network: nn.Module, x: SparseFeatures | Tensor, graph: Any, y: Tensor, part: Tensor) -> float:
    """Per cent of a part whose class is named after all steps."""
    network.eval()
    classes_TN, _ = network.decide(network.steps(x, graph))  # type: ignore[operator]
    return 100 * float((classes_TN[-1, part] == y[part]).double().mean())


def _curve(losses: list[float], accuracies: list[float]) -> list[dict[str, float | int]]:
    every = max(len(losses) // CURVE_POINTS, 1)
    return [
        {"epoch": i + 1, "loss": loss, "validation_accuracy": accuracy}
        for i, (loss, accuracy) in enumerate(zip(losses, accuracies, strict=True))
        if i % every == 0 or i == len(losses) - 1
    ]
