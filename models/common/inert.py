"""Pickles of strangers, read without running anything that they name.

Only torch's own functions that rebuild tensors are called. Every other class or function becomes an inert shell that keeps
attributes: the options, optimisers and metrics beside a published state dict, and the live modules of some trainers.
"""

from __future__ import annotations

import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from retable.models.common.errors import CheckpointError

REBUILDS = ("_rebuild_tensor_v2", "_rebuild_parameter", "_rebuild_parameter_with_state")


class Shell:
    """Stands for an object of a class that is not loaded: keeps attributes, ignores everything else."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            vars(self).update(state)

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def append(self, value: Any) -> None:
        pass

    def extend(self, values: Any) -> None:
        pass

    def add(self, value: Any) -> None:
        pass


class Inert(pickle.Unpickler):
    """Resolves tensors, dictionaries and sets, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch._utils" and name in REBUILDS:
            return getattr(torch._utils, name)
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) in (("builtins", "set"), ("__builtin__", "set")):
            return set
        return type(name, (Shell,), {})


def read_pickled(path: Path) -> Any:
    """What a file of `torch.save` holds. Raises CheckpointError for a damaged file, and for TorchScript, which is code."""
    if _is_torchscript(path):
        raise CheckpointError(f"{path}: is a TorchScript archive, which is code: save its state dict instead")
    reader = SimpleNamespace(
        __name__="inert", Unpickler=Inert, load=lambda file, **options: Inert(file, **options).load()
    )
    try:
        return torch.load(path, map_location="cpu", pickle_module=reader, weights_only=False)
    except Exception as error:  # torch and pickle raise many types for what is one thing here
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise CheckpointError(f"{path}: cannot be read as a checkpoint of tensors: {reason[:200]}") from error


def _is_torchscript(path: Path) -> bool:
    """torch.load hands an archive with `constants.pkl` to the interpreter of TorchScript."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.rpartition("/")[2] == "constants.pkl" for name in archive.namelist())
    except (zipfile.BadZipFile, OSError):
        return False


def tensors_of(module: Any, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    """Named parameters and buffers of a module's shell and its children, as `state_dict` names them."""
    held = vars(module)
    for kind in ("_parameters", "_buffers"):
        for name, value in held.get(kind, {}).items():
            if isinstance(value, Tensor):
                yield prefix + name, value.detach()
    for name, child in held.get("_modules", {}).items():
        if isinstance(child, Shell):
            yield from tensors_of(child, f"{prefix}{name}.")
