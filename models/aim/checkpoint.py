"""Published AiM checkpoints, read as they are (arXiv 2408.12245; `hp-l33/aim-*`).

A checkpoint is a folder with `config.json` and `model.safetensors`, or one file: `.safetensors`, or an older `.bin`,
`.pt` or `.pth` state dict, which is only ever unpickled as plain tensors. Stage 2 stands below `mamba.` (or bare), the
tokenizer below `vqvae.` (or bare). Older names of some keys are understood.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path

import torch
from torch import Tensor, nn

from retable.models.aim.config import AiMConfig
from retable.models.aim.stage2 import HEAD, TOKEN_TABLE
from retable.models.common.checkpoint import load_strictly, read_tensors
from retable.models.common.errors import CheckpointError
from retable.models.common.weights import CONFIG, locate, weights_file

POSITION_TABLE = "backbone.embeddings.position_embeddings.weight"
OPTIONAL = frozenset({"quantize.codebook_used"})
"""Usage statistics of the codebook, without which the tokenizer works as well."""

_RENAMED = ((r"^vq_vae\.", "vqvae."), (r"\b(shared_adaln|adaln_single)\.", "adaln_group."))
_RENAMED_LAST = (r"\badaLN_parameters$", "scale_shift_table")
_TOKENIZER_TOPS = ("encoder", "decoder", "quantize", "quant_conv", "post_quant_conv")


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint holds, under the modules' own key names; `config` where it came with one."""

    path: Path
    config: AiMConfig | None = None
    stage2: Mapping[str, Tensor] = field(default_factory=dict)
    vqvae: Mapping[str, Tensor] = field(default_factory=dict)

    def load_stage2(self, model: nn.Module) -> None:
        """Fill a second stage. Raises CheckpointError that names the first key that does not fit."""
        state = dict(self.stage2)
        own = model.state_dict()
        table, rows = state.get(POSITION_TABLE), own.get(POSITION_TABLE)
        if table is not None and rows is not None and table.dim() == 2 and len(table) > len(rows):
            state[POSITION_TABLE] = table[: len(rows)]  # older files have rows that nothing reads
        head = state.pop(HEAD, None)
        if head is not None and TOKEN_TABLE in state and not torch.equal(head, state[TOKEN_TABLE]):
            raise CheckpointError(f"{self.path}: {HEAD} differs from the token table that it is tied to")
        load_strictly(self.path, model, state)

    def load_vqvae(self, model: nn.Module) -> None:
        """Fill a tokenizer. Raises CheckpointError that names the first key that does not fit."""
        load_strictly(self.path, model, self.vqvae, OPTIONAL)


def read_checkpoint(weights: str | PathLike[str]) -> Checkpoint:
    """The checkpoint at a path, a relative one below $BENCH_DATA (default `data/`); nothing of it is executed.

    Raises MissingWeights where there is none, CheckpointError for a damaged or unsafe one.
    """
    path = weights_file(weights)
    beside = path.with_name(CONFIG)
    config = _read_config(beside) if locate(weights).is_dir() and beside.is_file() else None
    stage2: dict[str, Tensor] = {}
    vqvae: dict[str, Tensor] = {}
    for key, tensor in _renamed(read_tensors(path), path).items():
        part, name = _part(key)
        (stage2 if part == "mamba" else vqvae)[name] = tensor
    return Checkpoint(path, config, stage2, vqvae)


def _read_config(path: Path) -> AiMConfig:
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(raw, dict):
            raise ValueError("not a mapping")
        return AiMConfig.from_official(raw)
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(f"{path}: not a configuration of AiM: {error}") from error


def _renamed(state: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """The state under today's key names. Raises CheckpointError when an old and a new name hold the same key."""
    renamed: dict[str, Tensor] = {}
    for old, tensor in state.items():
        key = re.sub(*_RENAMED_LAST, old)
        for pattern, name in _RENAMED:
            key = re.sub(pattern, name, key)
        if key in renamed:
            raise CheckpointError(f"{path}: {key} is there twice, once under an older name")
        renamed[key] = tensor
    return renamed


def _part(key: str) -> tuple[str, str]:
    """("mamba" or "vqvae", the key below it)."""
    for prefix in ("mamba", "vqvae"):
        if key.startswith(prefix + "."):
            return prefix, key.removeprefix(prefix + ".")
    return ("vqvae" if key.partition(".")[0] in _TOKENIZER_TOPS else "mamba"), key
