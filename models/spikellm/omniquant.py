"""OmniQuant (arXiv 2308.13137) of one decoder layer: learn the transformation and the clipping against its own output."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

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


def half_precision(device: torch.device, precision: torch.dtype) -> AbstractContextManager[Any]:
    """Autocast to `precision`, or nothing where it is single or double."""
    half = precision in (torch.float16, torch.bfloat16)
    return torch.autocast(device.type, precision) if half else nullcontext()


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
    precision: torch.dtype,
    second_targets: Tensor | None = None,
) -> list[float]:
    """AdamW, one window a step, in order; changes `scales` and `clips`. Returns the mean squared error of each epoch.

    inputs (S, N, C) come from the quantised layers before, targets (S, N, C) from the layer itself at full precision; with
    `second_targets`, what it makes of `inputs`, the error against those is added. Weights are float32; where the model's
    `precision` is half, the layer runs under autocast, and float16 has its gradients scaled (released code).
    """
    scaler = torch.amp.GradScaler(inputs.device.type, enabled=precision == torch.float16)
    groups = [
        {"params": list(scales.values()), "lr": recipe.let_lr},
        {"params": list(clips.values()), "lr": recipe.lwc_lr},
    ]
    optimizer = torch.optim.AdamW([group for group in groups if group["params"]], weight_decay=0.0)
    set_quantising(layer, True)
    epochs = []
    for _ in range(recipe.epochs):
        losses = []
        for i, x in enumerate(inputs.split(1)):
            keep_from_zero(scales)
            with torch.enable_grad(), half_precision(inputs.device, precision):
                tensors = quantised(weights, scales, clips, rounding)
                y = functional_call(layer, tensors, (x,), {"position_embeddings": positions}).float()
                loss = nn.functional.mse_loss(targets[i : i + 1].float(), y)
                if second_targets is not None:
                    loss = loss + nn.functional.mse_loss(second_targets[i : i + 1].float(), y)
                scaled = scaler.scale(loss)
            if not bool(loss.isfinite()):
                raise FloatingPointError(
                    "calibration diverged: the layer's error is not finite; lower `let_lr` or `lwc_lr`"
                )
            optimizer.zero_grad()
            scaled.backward()
            scaler.step(optimizer)
            scaler.update()
            losses.append(loss.item())
        epochs.append(sum(losses) / len(losses))
    set_quantising(layer, False)
    return epochs
