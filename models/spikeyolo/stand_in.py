"""Random weights of a detector in the container that its authors released: live module objects in half precision."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch

from retable.models.common.stand_in import SEED, random_state


def detector(method: Any, root: Path, data: Any) -> None:
    """`{"model": module, "ema": module, ...}` of the unmerged network."""
    if method.weights is None:
        return
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        network: Any = method.build(data).network
    network.load_state_dict(random_state(network))
    path = root / method.weights
    path.parent.mkdir(parents=True, exist_ok=True)
    half = network.half()
    content = {"epoch": -1, "best_fitness": None, "model": half, "ema": deepcopy(half), "updates": 0, "optimizer": None}
    torch.save(content | {"train_args": {"imgsz": 640, "batch": 40}, "version": "8.0.0"}, path)


STAND_INS: Mapping[str, Callable[..., None]] = {"spikeyolo": detector}
