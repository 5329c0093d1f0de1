"""A tiny LLaMA of random weights in the folder that a published one is (sharded half-precision tensors, index, tokenizer), and
OmniQuant's parameters of its layers in the file that its authors publish."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from retable.models.common.stand_in import SEED
from retable.models.spikellm.layers import LINEARS
from retable.models.spikellm.published import quiet, require
from retable.models.spikellm.quantizer import IDENTITY_BITS
from retable.models.spikellm.tiny_llama import character_tokenizer, new
from retable.models.spikellm.transform import CLIP, FIRST, PARAMETER

WIDTH, LAYERS, HEADS, HIDDEN = 64, 2, 4, 128


def folder(method: Any, root: Path, data: Any) -> None:
    """Below `root`, what `method.weights` names. A size with grouped queries has two heads a key; BOS begins a text."""
    from retable.models.spikellm.method import SIZES

    place = root / method.weights
    if place.exists():
        return
    kv_heads = HEADS // 2 if "num_key_value_heads" in SIZES.get(method.size or "", {}) else HEADS
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        lm = new(WIDTH, LAYERS, HEADS, kv_heads, HIDDEN).lm.half()
    with quiet():
        lm.save_pretrained(place, max_shard_size="60KB")
        tokenizer = character_tokenizer()
        processors = require("tokenizers").processors
        tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{tokenizer.bos_token} $A", special_tokens=[(tokenizer.bos_token, tokenizer.bos_token_id)]
        )
        tokenizer.save_pretrained(place)
    assert len(json.loads((place / "model.safetensors.index.json").read_text())["weight_map"]) == len(lm.state_dict())


def parameters(method: Any, root: Path, data: Any) -> None:
    """Below `root`, what `method.parameters` names: a mapping by layer of clippings, as learned for weights alone.

    Where activations are quantised too the authors learn the transformation, and shifts, which LLaMA leaves at zero.
    """
    place = root / method.parameters
    if place.exists():
        return
    drawn = torch.Generator().manual_seed(SEED)
    layers = []
    for _ in range(LAYERS):
        found = {}
        for name in LINEARS:
            rows = HIDDEN if name in ("mlp.up_proj", "mlp.gate_proj") else WIDTH
            for side in ("upbound", "lowbound"):
                found[f"{name}.weight_quantizer.{side}_factor"] = CLIP + torch.randn(rows, 1, generator=drawn) / 10
        if method.abits < IDENTITY_BITS:
            found |= {name: 1 + torch.rand(WIDTH, generator=drawn) for name in PARAMETER.values()}
            found |= {f"{pair}_smooth_shift": torch.zeros(WIDTH) for pair in FIRST}
        layers.append(found)
    place.parent.mkdir(parents=True, exist_ok=True)
    torch.save(dict(enumerate(layers)), place)


STAND_INS: Mapping[str, Callable[..., None]] = {"hf-lm": folder, "omniquant-published": parameters}
