"""How weights are rounded: to nearest, by GPTQ, and with salient weights on a grid of their own.

The published method (arXiv 2407.04752) rounds uniformly and gives salient columns more merged steps. Ternary weights with
spiking salient columns are ours; binary weights with salient elements in more bits follow PB-LLM (arXiv 2310.00034).
"""

from __future__ import annotations

import torch
from torch import Tensor

from retable.models.spikellm import omniquant, saliency, transform
from retable.models.spikellm.gptq import gptq
from retable.models.spikellm.layers import LINEARS
from retable.models.spikellm.quantizer import (
    IDENTITY_BITS,
    Quantizer,
    Range,
    Signs,
    WeightGrid,
    binary_range,
    symmetric_range,
    uniform_range,
)
from retable.models.spikellm.recipe import Recipe

Inverses = dict[str, tuple[Tensor, Tensor]]
"""The (inverse Hessian, dead inputs) of each linear layer, where its weights need them."""


def rounding_of(
    recipe: Recipe, weights: transform.Weights, inverses: Inverses, generator: torch.Generator
) -> omniquant.Rounding:
    """What makes quantised weights of transformed ones, as a recipe asks."""
    if recipe.weights == "uniform" and recipe.wbits == IDENTITY_BITS and not recipe.weight_salient:
        return lambda name, weight, upper, lower: weight
    plain = Quantizer(bits=recipe.wbits, group_size=recipe.group_size)
    if not recipe.gptq and not recipe.weight_salient and recipe.weights == "uniform":
        return lambda name, weight, upper, lower: plain(weight, upper, lower)
    masks = {
        name: ordinary_weights(recipe, weights[f"{name}.weight"], inverses.get(name), generator) for name in LINEARS
    }

    def rounding(name: str, weight: Tensor, upper: Tensor | None, lower: Tensor | None) -> Tensor:
        grid = grid_of(recipe, weight, masks[name], upper, lower)
        return gptq(weight, *inverses[name], grid) if recipe.gptq else grid.nearest(weight)

    return rounding


def ordinary_weights(
    recipe: Recipe, w_OC: Tensor, second: tuple[Tensor, Tensor] | None, generator: torch.Generator
) -> Tensor:
    """True on ordinary weights: (1, C), or (O, C) by element."""
    if not recipe.weight_salient or second is None:
        return torch.ones(1, w_OC.shape[1], dtype=torch.bool, device=w_OC.device)
    loss = saliency.weight_saliency(w_OC, second[0])
    if not recipe.by_element:
        loss = loss.sum(0, keepdim=True)
    if recipe.channels == "random":
        return saliency.random_mask(loss, 1 - recipe.weight_salient, generator)
    return saliency.ordinary_mask(loss, 1 - recipe.weight_salient)


def grid_of(recipe: Recipe, w_OC: Tensor, mask: Tensor, upper: Tensor | None, lower: Tensor | None) -> WeightGrid:
    """Each kind of weight on a range of its own; a salient one's has as many levels as its steps or bits say."""
    wide, T = mask.expand_as(w_OC), recipe.weight_steps
    high: Range
    low: Range | Signs
    if recipe.salient_bits is not None:
        high = uniform_range(w_OC, ~wide, recipe.salient_bits)
    elif recipe.weights == "uniform":
        high = uniform_range(w_OC, ~wide, recipe.wbits + T.bit_length() - 1, upper, lower)
    else:
        high = symmetric_range(w_OC, ~wide, T)
    if recipe.weights == "ternary":
        low = symmetric_range(w_OC, wide, 1)
    elif recipe.weights == "binary":
        low = binary_range(w_OC, wide)
    else:
        alone = recipe.gptq and not recipe.weight_salient
        low = uniform_range(w_OC, wide, recipe.wbits, upper, lower, with_zero=alone)
    return WeightGrid(mask, low, high)
