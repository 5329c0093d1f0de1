"""Post-training quantisation of a LLaMA in place, one decoder layer after the other.

Beyond the model itself there are two copies of the calibration windows' hidden states and what one layer needs, so that the
peak grows with a layer, not with the depth. With `device` only the present layer is on it.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from retable.models.spikellm import omniquant, saliency, transform
from retable.models.spikellm.gptq import Hessian, gptq
from retable.models.spikellm.layers import (
    LINEARS,
    MATMULS,
    KeyRange,
    Neurons,
    Observer,
    SpikingLinear,
    SpikingMatmul,
    check_llama,
    make_spiking,
    set_quantising,
)
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


def neurons_of(recipe: Recipe) -> Neurons:
    """The neurons that a recipe asks for."""
    key_range: KeyRange = "token" if recipe.protocol == "corrected" else "sequence"
    return Neurons(bits=recipe.abits, addbit=recipe.addbit, key_range=key_range)


@dataclass
class LayerLog:
    """What happened to one layer: its squared error against full precision before learning's epochs and after, and names."""

    losses: list[float] = field(default_factory=list)
    error: float = 0.0
    salient: dict[str, int] = field(default_factory=dict)
    learned: dict[str, Tensor] = field(default_factory=dict)


@torch.no_grad()
def quantise(
    model: Any,
    tokens_SN: Tensor,
    recipe: Recipe,
    *,
    seed: int = 0,
    device: str | torch.device | None = None,
) -> list[LayerLog]:
    """Quantise `model` (a LLaMA causal LM) in place on the calibration windows tokens_SN.

    Raises NotLlamaError, ValueError for a recipe that the model cannot follow, FloatingPointError when learning diverges.
    """
    check_llama(model)
    home = model.model.embed_tokens.weight.device
    device = torch.device(device) if device is not None else home
    layers = list(model.model.layers)[: recipe.layers]
    x_full = model.model.embed_tokens(tokens_SN.to(home)).to(device)
    x_quant = x_full.clone()
    indices = torch.arange(tokens_SN.shape[1], device=home)[None]
    cos, sin = model.model.rotary_emb(x_full.to(home), position_ids=indices)
    positions = (cos.to(device), sin.to(device))
    generator = torch.Generator().manual_seed(seed)
    logs = []
    for layer in layers:
        layer.to(device)
        logs.append(_Layer(layer, recipe, positions, generator).run(x_full, x_quant))
        layer.to(home)
    model.config.use_cache = model.config.use_cache and recipe.protocol == "corrected"
    model.eval()
    return logs


class _Layer:
    """One decoder layer on its way."""

    def __init__(
        self, layer: Any, recipe: Recipe, positions: tuple[Tensor, Tensor], generator: torch.Generator
    ) -> None:
        self.layer, self.recipe, self.positions, self.generator = layer, recipe, positions, generator
        make_spiking(layer, neurons_of(recipe))
        self.log = LayerLog()

    def run(self, x_full: Tensor, x_quant: Tensor) -> LayerLog:
        """Quantise; both inputs (S, N, C) become the outputs, in place."""
        x_max = self._largest_inputs(x_full) if self.recipe.let else {}
        targets = torch.empty_like(x_full)
        self._forward(x_full, targets)
        inverses = self._measure_saliency(x_quant)
        weights = {name: tensor.detach() for name, tensor in self.layer.named_parameters()}
        scales = transform.initial_scales(weights, x_max, self.recipe.let, self.recipe.alpha)
        clips = nn.ParameterDict()
        if self.recipe.lwc and self.recipe.wbits < IDENTITY_BITS:
            clips = transform.initial_clipping(weights, self.recipe.group_size)
        rounding = self._rounding(weights, inverses)
        if self.recipe.epochs:
            learn = (self.layer, weights, scales, clips, rounding, x_quant, targets, self.positions, self.recipe)
            self.log.losses = omniquant.learn(*learn)
        transform.keep_from_zero(scales)
        for name, tensor in omniquant.quantised(weights, scales, clips, rounding).items():
            self.layer.get_parameter(name).data.copy_(tensor)
        self.log.learned = transform.omni_names(scales, clips)
        set_quantising(self.layer, True)
        self._forward(x_quant, x_quant)
        x_full.copy_(targets)
        self.log.error = float((x_quant - x_full).square().mean())
        return self.log

    def _forward(self, inputs: Tensor, outputs: Tensor) -> None:
        """The layer on every window, one at a time; `outputs` may be `inputs`."""
        for i in range(len(inputs)):
            outputs[i : i + 1] = self.layer(inputs[i : i + 1], position_embeddings=self.positions)

    def _largest_inputs(self, x_full: Tensor) -> dict[str, Tensor]:
        """max |x| over all tokens for each channel, by linear layer."""
        found: dict[str, Tensor] = {}
        for name in set(transform.FIRST.values()):

            def see(_: nn.Module, x: Tensor, __: Tensor, name: str = name) -> None:
                largest = x.abs().flatten(0, -2).amax(0)
                found[name] = torch.maximum(found[name], largest) if name in found else largest

            self.layer.get_submodule(name).observer = see
        with self._observed():
            self._forward(x_full, torch.empty_like(x_full))
        return found

    @contextmanager
    def _observed(self) -> Iterator[None]:
        """Observers are gone afterwards."""
        try:
            yield
        finally:
            for module in self.layer.modules():
                if isinstance(module, SpikingLinear | SpikingMatmul):
                    module.observer = None

    def _measure_saliency(self, x_quant: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
        """Set the masks of the neurons; the (inverse Hessian, dead inputs) of each linear where the weights need them."""
        spiking = self.recipe.abits < IDENTITY_BITS and self.recipe.low_p < 1
        second = self.recipe.gptq or self.recipe.weight_salient > 0
        if not (spiking or second):
            return {}
        sums: dict[str, Tensor] = {}
        hessians: dict[str, Hessian] = {}
        for name in (*LINEARS, *MATMULS):
            module = self.layer.get_submodule(name)
            module.observer = self._observer(name, sums if spiking else None, hessians if second else None)
        with self._observed():
            self._forward(x_quant, torch.empty_like(x_quant))
        for name, total in sums.items():
            mask = self._mask(total / len(x_quant))
            self.layer.get_submodule(name).mask_low_mse.copy_(mask)
            self.log.salient[name] = int((~mask).sum())
        return {name: saliency.inverse_hessian(hessian.mean) for name, hessian in hessians.items()}

    def _observer(self, name: str, sums: dict[str, Tensor] | None, hessians: dict[str, Hessian] | None) -> Observer:
        def see(module: nn.Module, first: Tensor, second: Tensor) -> None:
            if sums is not None:
                channel = channel_saliency(module, first, second)
                sums[name] = sums[name] + channel if name in sums else channel
            if hessians is not None and isinstance(module, SpikingLinear):
                hessians.setdefault(name, Hessian(first.shape[-1], first.device)).add(first)

        return see

    def _mask(self, channel: Tensor) -> Tensor:
        if self.recipe.channels == "random":
            return saliency.random_mask(channel, self.recipe.low_p, self.generator)
        return saliency.ordinary_mask(channel, self.recipe.low_p)

    def _rounding(self, weights: transform.Weights, inverses: dict[str, tuple[Tensor, Tensor]]) -> omniquant.Rounding:
        recipe = self.recipe
        if recipe.weights == "uniform" and recipe.wbits == IDENTITY_BITS and not recipe.weight_salient:
            return lambda name, weight, upper, lower: weight
        plain = Quantizer(bits=recipe.wbits, group_size=recipe.group_size)
        if not recipe.gptq and not recipe.weight_salient and recipe.weights == "uniform":
            return lambda name, weight, upper, lower: plain(weight, upper, lower)
        masks = {name: self._weight_mask(weights[f"{name}.weight"], inverses.get(name)) for name in LINEARS}

        def rounding(name: str, weight: Tensor, upper: Tensor | None, lower: Tensor | None) -> Tensor:
            grid = self._grid(weight, masks[name], upper, lower)
            return gptq(weight, *inverses[name], grid) if recipe.gptq else grid.nearest(weight)

        return rounding

    def _weight_mask(self, weight: Tensor, second: tuple[Tensor, Tensor] | None) -> Tensor:
        """True on ordinary weights: (1, C), or (O, C) by element."""
        recipe = self.recipe
        if not recipe.weight_salient or second is None:
            return torch.ones(1, weight.shape[1], dtype=torch.bool, device=weight.device)
        loss = saliency.weight_saliency(weight, second[0])
        if not recipe.by_element:
            loss = loss.sum(0, keepdim=True)
        if recipe.channels == "random":
            return saliency.random_mask(loss, 1 - recipe.weight_salient, self.generator)
        return saliency.ordinary_mask(loss, 1 - recipe.weight_salient)

    def _grid(self, weight: Tensor, mask: Tensor, upper: Tensor | None, lower: Tensor | None) -> WeightGrid:
        """Each kind of weight on a range of its own; a salient one's has as many levels as its steps or bits say."""
        recipe, wide = self.recipe, mask.expand_as(weight)
        T = recipe.weight_steps
        high: Range
        low: Range | Signs
        if recipe.salient_bits is not None:
            high = uniform_range(weight, ~wide, recipe.salient_bits)
        elif recipe.weights == "uniform":
            high = uniform_range(weight, ~wide, recipe.wbits + T.bit_length() - 1, upper, lower)
        else:
            high = symmetric_range(weight, ~wide, T)
        if recipe.weights == "ternary":
            low = symmetric_range(weight, wide, 1)
        elif recipe.weights == "binary":
            low = binary_range(weight, wide)
        else:
            low = uniform_range(weight, wide, recipe.wbits, upper, lower)
        return WeightGrid(mask, low, high)


def channel_saliency(module: nn.Module, first: Tensor, second: Tensor) -> Tensor:
    """The mean over tokens and the batch of what enters a product, in the shape of its mask."""
    if isinstance(module, SpikingLinear):
        return saliency.linear_saliency(first, second).mean((0, 1))[None, None]
    assert isinstance(module, SpikingMatmul)
    if module.kind == "qk":
        return saliency.key_saliency(first, second).mean((0, -1), keepdim=True)
    return saliency.value_saliency(first, second).mean((0, -2), keepdim=True)


def calibration_windows(tokenizer: Any, text: str, samples: int, window: int, seed: int) -> Tensor:
    """Random windows (samples, window) of a text that is tokenised once, as the released code draws them.

    Raises ValueError for a text shorter than one window.
    """
    if tokenizer is None:
        raise ValueError("the model has no tokenizer: give the one that it was trained with")
    tokens = tokenizer(text)["input_ids"]
    if len(tokens) <= window:
        raise ValueError(
            f"the calibration text has {len(tokens)} tokens, fewer than one window of {window}: give a longer text or a "
            "smaller `window`"
        )
    draw = random.Random(seed)
    starts = [draw.randint(0, len(tokens) - window - 1) for _ in range(samples)]
    return torch.tensor([tokens[start : start + window] for start in starts])
