"""Published weights of the backbone: the official layout (MMClassification) and timm's names for the same tensors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

from torch import Tensor

from retable.models.common.checkpoint import load_strictly, read_tensors
from retable.models.common.errors import CheckpointError
from retable.models.ept.vit import VisionTransformer, resized

_FROM_TIMM = (
    (re.compile(r"blocks\.(\d+)\.norm([12])\."), r"layers.\1.ln\2."),
    (re.compile(r"blocks\.(\d+)\.attn\."), r"layers.\1.attn."),
    (re.compile(r"blocks\.(\d+)\.mlp\.fc1\."), r"layers.\1.ffn.layers.0.0."),
    (re.compile(r"blocks\.(\d+)\.mlp\.fc2\."), r"layers.\1.ffn.layers.1."),
    (re.compile(r"norm\."), "ln1."),
    (re.compile(r"patch_embed\.proj\."), "patch_embed.projection."),
)
_HEADS = ("head.", "head_drop.", "fc_norm.", "pre_logits.")
PROMPT = "prompt"
"""The published code keeps a tuning's prompts among the backbone's keys."""


def official_keys(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The backbone's tensors of a classifier's or backbone's state dict under their official names; heads are left out."""
    ours = {}
    for key, tensor in state.items():
        key = key.removeprefix("module.").removeprefix("backbone.")
        if key.startswith(_HEADS):
            continue
        for pattern, name in _FROM_TIMM:
            if pattern.match(key):
                key = pattern.sub(name, key, count=1)
                break
        ours[key] = tensor
    return ours


def load_backbone(path: Path, backbone: VisionTransformer) -> None:
    """Fill a backbone with published weights; a position table of another image size is resized to this one's.

    Prompts of a tuning are left out. Raises CheckpointError.
    """
    state = official_keys(read_tensors(path))
    state.pop(PROMPT, None)
    table = state.get("pos_embed")
    if table is not None:
        try:
            state["pos_embed"] = resized(table.float(), backbone.size.side, backbone.size.side)
        except (ValueError, IndexError) as error:
            raise CheckpointError(f"{path}: pos_embed cannot be resized: {error}") from error
    load_strictly(path, backbone, state)


def digest(state: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, shapes and bits of tensors, in the order of their names."""
    total = sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        total.update(tensor.numpy().tobytes())
    return total.hexdigest()
