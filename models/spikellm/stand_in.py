"""A tiny LLaMA of random weights in the folder that a published one is: sharded half-precision tensors, index, tokenizer."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from retable.models.common.stand_in import SEED
from retable.models.spikellm.published import quiet, require
from retable.models.spikellm.tiny_llama import character_tokenizer, new

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


STAND_INS: Mapping[str, Callable[..., None]] = {"hf-lm": folder}
