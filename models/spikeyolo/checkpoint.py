"""The released checkpoints: a pickle of live module objects, read without running anything that it names.

Only torch's own functions that rebuild tensors are called; every other class becomes an inert shell, and the state dict is
what the shells' `_parameters`, `_buffers` and `_modules` hold.
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
from torch import Tensor, nn

from retable.models.common.checkpoint import PICKLED, load_strictly, read_tensors
from retable.models.common.errors import CheckpointError
from retable.models.common.weights import weights_file

REBUILDS = ("_rebuild_tensor_v2", "_rebuild_parameter", "_rebuild_parameter_with_state")
COUNTERS = "num_batches_tracked"


class Shell:
    """Stands for an object of a class that is not loaded: keeps attributes, ignores everything else."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def append(self, value: Any) -> None:
        pass

    def extend(self, values: Any) -> None:
        pass


class Inert(pickle.Unpickler):
    """Resolves tensors, dictionaries and sets, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch._utils" and name in REBUILDS:
            return getattr(torch._utils, name)
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("builtins", "set"):
            return set
        return type(name, (Shell,), {})


def load_published(network: nn.Module, weights: str) -> None:
    """Fill a network with a released checkpoint, or with a plain state dict of the same keys, below $BENCH_DATA.

    Raises MissingWeights, or CheckpointError naming the first key that does not fit.
    """
    path = weights_file(weights)
    state = read_published(path)
    load_strictly(path, network, state, optional=[key for key in network.state_dict() if key.endswith(COUNTERS)])


def read_published(path: Path) -> dict[str, Tensor]:
    """The state dict, floating-point values as float32: of `ema` where there is one, else of `model`.

    Raises CheckpointError for a file that is neither of modules nor of tensors.
    """
    try:
        state = read_tensors(path)
    except CheckpointError:
        if path.suffix not in PICKLED:
            raise
        state = dict(tensors_of(_root(path)))
        if not state:
            raise CheckpointError(f"{path}: the module that it holds has no tensors") from None
    return {key: value.float() if value.is_floating_point() else value for key, value in state.items()}


def _root(path: Path) -> Shell:
    reader = SimpleNamespace(
        __name__="inert", Unpickler=Inert, load=lambda file, **options: Inert(file, **options).load()
    )
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(
                path
            ) as archive:  # torch hands a TorchScript archive to a loader that runs what is in it
                if any(Path(name).name == "constants.pkl" for name in archive.namelist()):
                    raise CheckpointError(
                        f"{path}: is a TorchScript program, of which nothing is run: save its state dict"
                    )
        loaded = torch.load(path, map_location="cpu", pickle_module=reader, weights_only=False)
    except CheckpointError:
        raise
    except Exception as error:  # torch and pickle raise many types for what is one thing here
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise CheckpointError(f"{path}: cannot be read as a checkpoint of modules: {reason[:200]}") from error
    found = (loaded.get("ema") or loaded.get("model")) if isinstance(loaded, dict) else loaded
    if not isinstance(found, Shell):
        raise CheckpointError(f"{path}: holds no module under `ema` or `model`")
    return found


def tensors_of(module: Any, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    """Named parameters and buffers of a shell and its children, as `state_dict` names them."""
    held = vars(module)
    for kind in ("_parameters", "_buffers"):
        for name, value in held.get(kind, {}).items():
            if isinstance(value, Tensor):
                yield prefix + name, value.detach()
    for name, child in held.get("_modules", {}).items():
        if isinstance(child, Shell):
            yield from tensors_of(child, f"{prefix}{name}.")
