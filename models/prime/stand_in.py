"""Random weights of PRIME in the released layout: the autoencoder's keys and its time axis are those of its authors."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from retable.models.common.stand_in import SEED, random_state, write


def network(method: Any, root: Path, data: Any) -> None:
    """A plain state dict, as saved by `torch.save(net.state_dict())`."""
    from retable.models.prime.vae import SpikingVAE

    if method.weights is None:
        return
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        inner = method.build(data).network
    state = random_state(inner)
    write(root / method.weights, released(state) if isinstance(inner, SpikingVAE) else state)


def released(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our layout of the autoencoder as its authors have it."""
    found = {}
    for key, tensor in state.items():
        name = re.sub(r"^(prior|posterior)\.layers\.layers\.", r"\1.layers.", key.replace(".synapses.", "."))
        if key.endswith(".coef"):
            tensor = tensor.reshape(1, 1, 1, 1, -1)
        elif tensor.dim() == 4:
            tensor = tensor[..., None]
        found[name] = tensor
    return found


STAND_INS: Mapping[str, Callable[..., None]] = {"prime": network, "prime-inpainting": network}
