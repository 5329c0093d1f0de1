"""Published PRIME state dicts (arXiv 2407.18625): the classifier's keys are ours; the autoencoder's are renamed and flattened.

The released autoencoder keeps time as the last axis, so its convolutions are 5-D (out, in, 3, 3, 1) and its readout's
coefficients (1, 1, 1, 1, T); a block's synapses stand beside its `bn`, where ours have a name of their own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from retable.models.common.checkpoint import load_strictly, read_tensors
from retable.models.prime.vae import SpikingVAE

_LAST = "final_layer.1"
"""Synapses without a block around them."""


def load_published(path: Path, network: nn.Module) -> None:
    """Fill a `Network` or a `SpikingVAE` from a released state dict, saved on whichever device.

    Raises CheckpointError that names the file and the first key that does not fit.
    """
    state: Mapping[str, Tensor] = read_tensors(path)
    load_strictly(path, network, own_keys(state) if isinstance(network, SpikingVAE) else state)


def own_keys(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A released autoencoder's state dict in our layout."""
    return {_own_key(key): _flattened(key, tensor) for key, tensor in state.items()}


def _own_key(key: str) -> str:
    key = re.sub(r"^(prior|posterior)\.layers\.", r"\1.layers.layers.", key)
    if key.startswith(_LAST):
        return key
    return re.sub(r"(?<!\.bn)\.(weight|bias|scores)$", r".synapses.\1", key)


def _flattened(key: str, tensor: Tensor) -> Tensor:
    if key.endswith((".coef", ".initial_input")):
        return tensor.flatten()
    return tensor.squeeze(-1) if tensor.dim() == 5 else tensor
