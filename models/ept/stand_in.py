"""Random weights of the backbone in MMClassification's container: `state_dict` with `backbone.` keys, and `meta`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from retable.models.common.stand_in import SEED, random_state


def backbone(method: Any, root: Path, data: Any) -> None:
    """As published for ImageNet, a head of other classes included."""
    if method.weights is None:
        return
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        network = method.build(data).network
        state = {f"backbone.{key}": tensor for key, tensor in random_state(network).items()}
    width = state["backbone.cls_token"].shape[-1]
    state |= {"head.layers.head.weight": torch.zeros(1000, width), "head.layers.head.bias": torch.zeros(1000)}
    path = root / method.weights
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"meta": {"epoch": 300, "mmcls_version": "0.20.0"}, "state_dict": state}, path)


STAND_INS: Mapping[str, Callable[..., None]] = {"vit": backbone}
