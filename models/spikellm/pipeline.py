"""Post-training quantisation of a LLaMA in place, one decoder layer after the other.

Beyond the model itself there are two copies of the calibration windows' hidden states and what one layer needs, so that the
peak grows with a layer, not with the depth. With `device` only the present layer is on it.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from retable.models.common.errors import CheckpointError
from retable.models.common.inert import read_pickled
from retable.models.common.resume import Resume
from retable.models.common.weights import weights_file
from retable.models.spikellm import omniquant, saliency, transform
from retable.models.spikellm.gptq import Hessian
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
from retable.models.spikellm.quantizer import IDENTITY_BITS
from retable.models.spikellm.recipe import Recipe
from retable.models.spikellm.weights import Inverses, rounding_of
from retable.progress import tell

HALF = (torch.float16, torch.bfloat16)


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
    published = published_parameters(recipe.parameters, len(layers)) if recipe.parameters else {}
    resume = Resume(generator=generator)
    before = resume.take_up()
    logs = [LayerLog(**log) for log in before.get("logs", ())]
    for layer, state in zip(layers, before.get("layers", ()), strict=False):
        make_spiking(layer, neurons_of(recipe))
        layer.load_state_dict(state)
        set_quantising(layer, True)
    if before:
        x_full.copy_(before["x_full"])
        x_quant.copy_(before["x_quant"])
    for i, layer in list(enumerate(layers))[len(logs) :]:
        layer.to(device)
        logs.append(_Layer(layer, recipe, positions, generator, published.get(i)).run(x_full, x_quant))
        layer.to(home)
        tell(len(logs), len(layers), logs[-1].error, what="layers")
        if resume.due:
            done = [dict(one.state_dict()) for one in layers[: len(logs)]]
            resume.offer(layers=done, x_full=x_full, x_quant=x_quant, logs=[asdict(log) for log in logs])
    model.config.use_cache = model.config.use_cache and recipe.protocol == "corrected"
    model.eval()
    return logs


class _Layer:
    """One decoder layer on its way: target, saliency, learning, freezing.

    It is in float32 until its weights are written; a layer of half precision computes under autocast meanwhile.
    """

    def __init__(
        self,
        layer: Any,
        recipe: Recipe,
        positions: tuple[Tensor, Tensor],
        generator: torch.Generator,
        published: Mapping[str, Tensor] | None = None,
    ) -> None:
        self.layer, self.recipe, self.positions, self.generator = layer, recipe, positions, generator
        self.published = published
        self.precision: torch.dtype = layer.mlp.up_proj.weight.dtype
        if self.precision in HALF:
            layer.float()
        make_spiking(layer, neurons_of(recipe))
        self.log = LayerLog()

    def run(self, x_full: Tensor, x_quant: Tensor) -> LayerLog:
        """Quantise; both inputs (S, N, C) become the outputs, in place."""
        x_max = self._largest_inputs(x_full) if self.recipe.let else {}
        target = self._target(x_full)
        second = self._target(x_quant) if self.recipe.aug_loss else None
        inverses = self._saliency(x_quant)
        self._freeze(self._learn(x_quant, target, second, x_max, inverses))
        self._forward(x_quant, x_quant)
        x_full.copy_(target)
        self.log.error = float((x_quant.float() - x_full.float()).square().mean())
        return self.log

    def _target(self, x_full: Tensor) -> Tensor:
        """What the layer makes of full-precision inputs in full precision."""
        target = torch.empty_like(x_full)
        self._forward(x_full, target)
        return target

    def _learn(
        self, x_quant: Tensor, target: Tensor, second: Tensor | None, x_max: dict[str, Tensor], inverses: Inverses
    ) -> transform.Weights:
        """The quantised weights, after the transformation's scales and the clipping's shares have learned the target."""
        recipe = self.recipe
        weights = {name: tensor.detach() for name, tensor in self.layer.named_parameters()}
        scales = transform.initial_scales(weights, x_max, recipe.let, recipe.alpha)
        clips = nn.ParameterDict()
        if recipe.lwc and recipe.wbits < IDENTITY_BITS:
            clips = transform.initial_clipping(weights, recipe.group_size)
        if self.published is not None:
            transform.take_published(self.published, scales, clips)
        rounding = rounding_of(recipe, weights, inverses, self.generator)
        if recipe.epochs:
            learn = (self.layer, weights, scales, clips, rounding, x_quant, target, self.positions, recipe)
            self.log.losses = omniquant.learn(*learn, self.precision, second)
        transform.keep_from_zero(scales)
        self.log.learned = transform.omni_names(scales, clips)
        return omniquant.quantised(weights, scales, clips, rounding)

    def _freeze(self, weights: transform.Weights) -> None:
        """Write the weights into the layer; its neurons quantise from now on."""
        for name, tensor in weights.items():
            self.layer.get_parameter(name).data.copy_(tensor)
        self.layer.to(self.precision)
        set_quantising(self.layer, True)

    def _forward(self, inputs: Tensor, outputs: Tensor) -> None:
        """The layer on every window, one at a time; `outputs` may be `inputs`."""
        now = self.layer.mlp.up_proj.weight.dtype
        with omniquant.half_precision(inputs.device, self.precision) if now != self.precision else nullcontext():
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

    def _saliency(self, x_quant: Tensor) -> Inverses:
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


def published_parameters(weights: str, layers: int) -> dict[int, dict[str, Tensor]]:
    """What `omni_parameters.pth` holds for the first `layers` layers. Raises MissingWeights, CheckpointError."""
    path = weights_file(weights)
    found = read_pickled(path)
    if not isinstance(found, dict) or not all(isinstance(found.get(i), dict) for i in range(layers)):
        raise CheckpointError(f"{path}: holds no learned parameters for each of the layers 0 to {layers - 1}")
    return {i: found[i] for i in range(layers)}


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
