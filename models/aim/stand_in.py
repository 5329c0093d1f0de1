"""Random weights of AiM in the published folder: `config.json` and one `model.safetensors` of both stages."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from retable.models.common.stand_in import SEED, random_state
from retable.models.common.weights import CONFIG, WEIGHTS


def tokenizer(method: Any, root: Path, data: Any) -> None:
    """The first stage, under `vqvae.`."""
    if method.weights is not None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            _add(root / method.weights, {f"vqvae.{key}": t for key, t in random_state(method.build(data)).items()})


def stage2(method: Any, root: Path, data: Any) -> None:
    """The second stage, under `mamba.`, for the tokens of `data`; its tokenizer's codes are the parameters' or 16384."""
    if method.weights is None:
        return
    from retable.models.aim.stage2 import AiM

    side = data.image_shape[-1] // 16
    config = method.config(data, _Tokens(method.codes or 64, side * side))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        state = random_state(AiM(config))
    folder = root / method.weights
    _add(folder, {f"mamba.{key}": tensor for key, tensor in state.items()})
    (folder / CONFIG).write_text(json.dumps(config.to_official()))


class _Tokens:
    """What sizes ask of a tokenizer."""

    def __init__(self, codes: int, tokens: int) -> None:
        self.vocab_size, self._tokens = codes, tokens

    def num_tokens(self, pixels: int) -> int:
        return self._tokens


def _add(folder: Path, state: dict[str, Tensor]) -> None:
    path = folder / WEIGHTS
    folder.mkdir(parents=True, exist_ok=True)
    known = load_file(path) if path.is_file() else {}
    save_file({**known, **{key: tensor.contiguous().clone() for key, tensor in state.items()}}, path)


STAND_INS: Mapping[str, Callable[..., None]] = {"vq-tokenizer": tokenizer, "aim": stage2}
