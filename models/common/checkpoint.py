"""Published state dicts: read as plain tensors, loaded strictly, with an error that names the file and the first key."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from retable.models.common.errors import CheckpointError

PICKLED = (".bin", ".pt", ".pth", ".tar")
PARALLEL = ("module.", "_orig_mod.")
"""What DataParallel and torch.compile put before every name."""


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The state dict of a `.safetensors` file or of a pickle, of which only tensors are taken: nothing is executed.

    Raises CheckpointError for a damaged or unsafe file.
    """
    try:
        if path.suffix in PICKLED:
            loaded: Any = torch.load(path, map_location="cpu", weights_only=True)
        elif path.suffix == ".safetensors":
            from safetensors.torch import load_file

            loaded = load_file(path)
        else:
            known = ", ".join((".safetensors", *PICKLED))
            raise CheckpointError(f"{path}: a checkpoint is a folder or one of {known}")
    except CheckpointError:
        raise
    except Exception as error:  # torch and safetensors raise many types for what is one thing here
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise CheckpointError(f"{path}: cannot be read as plain tensors: {reason[:200]}") from error
    for wrapper in ("model", "state_dict", "generator"):
        if isinstance(loaded, dict) and isinstance(loaded.get(wrapper), dict):
            loaded = loaded[wrapper]
    if not isinstance(loaded, dict) or not loaded:
        raise CheckpointError(f"{path}: holds no state dict")
    for prefix in (*PARALLEL, *PARALLEL):  # a compiled model may have been wrapped, or the other way round
        if all(isinstance(key, str) and key.startswith(prefix) for key in loaded):
            loaded = {key.removeprefix(prefix): value for key, value in loaded.items()}
    for key, tensor in loaded.items():
        if not isinstance(key, str) or not isinstance(tensor, Tensor):
            raise CheckpointError(f"{path}: {str(key)[:80]!r} is not a named tensor")
    return loaded


def load_strictly(path: Path, model: nn.Module, state: Mapping[str, Tensor], optional: Collection[str] = ()) -> None:
    """Fill `model` with the state that `path` held; only `optional` keys may be missing.

    Raises CheckpointError that names the first key that does not fit.
    """
    own = model.state_dict()
    missing = [key for key in own if key not in state and key not in optional]
    unexpected = [key for key in state if key not in own]
    if missing:
        raise CheckpointError(f"{path}: {missing[0]} is missing{_more(missing)}")
    if unexpected:
        raise CheckpointError(f"{path}: {unexpected[0]} belongs to no parameter of this model{_more(unexpected)}")
    for key, tensor in state.items():
        if tensor.shape != own[key].shape:
            shapes = f"{tuple(tensor.shape)} and not {tuple(own[key].shape)}"
            raise CheckpointError(f"{path}: {key} has the shape {shapes}")
        if not tensor.isfinite().all():
            raise CheckpointError(f"{path}: {key} holds values that are not finite")
    model.load_state_dict(state, strict=False)


def _more(keys: Iterable[str]) -> str:
    others = len(list(keys)) - 1
    return f" (and {others} more)" if others else ""
