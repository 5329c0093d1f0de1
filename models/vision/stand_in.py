"""Random weights in the files that the survey's networks are published as: key prefixes and containers included."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from retable.models.common.stand_in import SEED, Container, random_state, write

CONTAINERS: Mapping[str, Container] = {
    "spikformer": "timm",
    "sdt": "timm",
    "meta-spikeformer": "mae",
    "qkformer": "mae",
    "sew-resnet": "torchvision",
    "ms-resnet": "torchvision",
}
_LAYER_OF_PAIR = re.compile(r"\.([01])\.([a-z_]+)$")


def network(method: Any, root: Path, data: Any) -> None:
    """The network's tensors under official keys, in its authors' container."""
    if method.weights is None:
        return
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        state = random_state(method.build(data).network)
    if method.NAME == "meta-spikeformer" and method.kd:  # the distilled file has a second head, whatever is built here
        state |= {key.replace("head.", "head_kd."): state[key].clone() for key in ("head.weight", "head.bias")}
    if method.NAME == "sew-resnet":  # SpikingJelly's containers of a convolution and its norm
        state = {_LAYER_OF_PAIR.sub(r".module.\1.\2", key): tensor for key, tensor in state.items()}
    if method.NAME == "ms-resnet":  # trained by data-parallel processes
        state = {f"module.{key}": tensor for key, tensor in state.items()}
    write(root / method.weights, state, CONTAINERS[method.NAME])


STAND_INS: Mapping[str, Callable[..., None]] = dict.fromkeys(CONTAINERS, network)
