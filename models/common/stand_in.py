"""Containers of published checkpoints, as official training scripts write them, for weights that stand in for them."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

Container = Literal["plain", "torchvision", "timm", "mae"]
SEED = 20240707


def random_state(model: nn.Module) -> dict[str, Tensor]:
    """The tensors of a freshly built model, on the CPU; batch norms are shifted upwards, or spiking networks stay silent."""
    state = {key: tensor.detach().cpu().clone() for key, tensor in model.state_dict().items()}
    for key in [key for key in state if key.endswith("running_mean")]:
        if (bias := key.removesuffix("running_mean") + "bias") in state:
            state[bias] += 1.0
    return state


def write(path: Path, state: Mapping[str, Tensor], container: Container = "plain") -> None:
    """A state dict in its container; folders are made. Settings of the training lie beside the weights, as published."""
    args = Namespace(model="stand-in", batch_size=64, lr=1e-3, output_dir="", distributed=True)
    optimizer = {"state": {}, "param_groups": [{"lr": 1e-3, "betas": (0.9, 0.999), "params": [0]}]}
    wrapped: dict[Container, Any] = {
        "plain": dict(state),
        "torchvision": {"model": dict(state), "optimizer": optimizer, "epoch": 319, "args": args, "max_test_acc1": 0.1},
        "timm": {
            "epoch": 309,
            "arch": "stand-in",
            "state_dict": dict(state),
            "optimizer": optimizer,
            "version": 2,
            "args": args,
            "metric": 0.1,
        },
        "mae": {"model": dict(state), "optimizer": optimizer, "epoch": 199, "scaler": {"scale": 65536.0}, "args": args},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(wrapped[container], path)
