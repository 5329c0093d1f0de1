"""OmniQuant (arXiv 2308.13137) of one decoder layer: learn the transformation and the clipping against its own output."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call

from retable.models.spikellm.layers import LINEARS, set_quantising
from retable.models.spikellm.recipe import Recipe
from retable.models.spikellm.transform import Weights, clipping_of, keep_from_zero, transformed

Rounding = Callable[[str, Tensor, Tensor | None, Tensor | None], Tensor]
"""(linear, its weight, upper and lower clipping) -> the quantised weight, differentiable."""


def quantised(
    weights: Mapping[str, Tensor], scales: nn.ParameterDict, clips: nn.ParameterDict, rounding: Rounding
) -> Weights:
    """The layer's tensors after transformation and quantisation."""
    out = transformed(weights, scales)
    for name in LINEARS:
        out[f"{name}.weight"] = rounding(name, out[f"{name}.weight"], *clipping_of(clips, name))
    return out


def learn(
    layer: nn.Module,
    weights: Mapping[str, Tensor],
    scales: nn.ParameterDict,
    clips: nn.ParameterDict,
    rounding: Rounding,
    inputs: Tensor,
    targets: Tensor,
    positions: tuple[Tensor, Tensor],
    recipe: Recipe,
) -> list[float]:
    """AdamW, one window a step, in order; changes `scales` and `clips`. Returns the mean squared error of each epoch.

    inputs (S, N, C) come from the quantised layers before, targets (S, N, C) from the layer itself at full precision.
    """
    groups = [
        {"params": list(scales.values()), "lr": recipe.let_lr},
        {"params": list(clips.values()), "lr": recipe.lwc_lr},
    ]
    optimizer = torch.optim.AdamW([group for group in groups if group["params"]], weight_decay=0.0)
    set_quantising(layer, True)
    epochs = []
    for _ in range(recipe.epochs):
        losses = []
        for x, target in zip(inputs.split(1), targets.split(1), strict=True):
            keep_from_zero(scales)
            with torch.enable_grad():
                tensors = quantised(weights, scales, clips, rounding)
                y = functional_call(layer, tensors, (x,), {"position_embeddings": positions})
                loss = nn.functional.mse_loss(target, y)
            if not bool(loss.isfinite()):
                raise FloatingPointError(
                    "calibration diverged: the layer's error is not finite; lower `let_lr` or `lwc_lr`"
                )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        epochs.append(sum(losses) / len(losses))
    set_quantising(layer, False)
    return epochs
