"""Published state dicts: read as plain tensors, loaded strictly, with an error that names the file and the first key."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from retable.models.common.errors import CheckpointError
from retable.models.common.inert import Shell, read_pickled, tensors_of

PICKLED = (".bin", ".pt", ".pth", ".tar")
CONTAINERS = ("state_dict_ema", "model_ema", "ema", "state_dict", "model_state_dict", "model", "net", "generator")
"""Names under which training scripts save a state dict; an average of the weights comes before the weights themselves."""
PREFIXES = ("module.", "_orig_mod.", "model.")
"""What data-parallel training, the compiler and wrappers put before every key."""


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The state dict of a `.safetensors` file or of a pickle, of which only tensors are taken: nothing is executed.

    Training scripts save it beside options, optimisers and metrics, some as a live module; the first of CONTAINERS that is
    there is taken, and one in it. Raises CheckpointError for a damaged or unsafe file.
    """
    if path.suffix in PICKLED:
        loaded: Any = read_pickled(path)
    elif path.suffix == ".safetensors":
        loaded = _read_safetensors(path)
    else:
        known = ", ".join((".safetensors", *PICKLED))
        raise CheckpointError(f"{path}: a checkpoint is a folder or one of {known}")
    while isinstance(loaded, dict) and (held := next((name for name in CONTAINERS if _holds(loaded, name)), None)):
        loaded = loaded[held]
    if isinstance(loaded, Shell):
        loaded = dict(tensors_of(loaded))
    if not isinstance(loaded, dict) or not loaded:
        raise CheckpointError(f"{path}: holds no state dict and no module with tensors")
    for key, tensor in loaded.items():
        if not isinstance(key, str) or not isinstance(tensor, Tensor):
            raise CheckpointError(f"{path}: {str(key)[:80]!r} is not a named tensor")
    return {key: tensor.detach() for key, tensor in loaded.items()}


def _holds(loaded: dict[Any, Any], name: str) -> bool:
    return isinstance(loaded.get(name), dict | Shell)


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except Exception as error:  # the library raises many types for what is one thing here
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise CheckpointError(f"{path}: cannot be read as plain tensors: {reason[:200]}") from error


def without_prefixes(state: Mapping[str, Tensor], own: Collection[str]) -> dict[str, Tensor]:
    """The state with those of PREFIXES taken off that stand before every key, as far as that makes more keys `own`."""
    candidates = [dict(state)]
    while prefix := next((p for p in PREFIXES if all(key.startswith(p) for key in candidates[-1])), None):
        candidates.append({key.removeprefix(prefix): tensor for key, tensor in candidates[-1].items()})
    return max(candidates, key=lambda named: len(named.keys() & set(own)))


def load_strictly(path: Path, model: nn.Module, state: Mapping[str, Tensor], optional: Collection[str] = ()) -> None:
    """Fill `model` with the state that `path` held, without prefixes; only `optional` keys may be missing.

    Raises CheckpointError that names the first key that does not fit.
    """
    own = model.state_dict()
    state = without_prefixes(state, own)
    missing = [key for key in own if key not in state and key not in optional]
    unexpected = [key for key in state if key not in own]
    if missing:
        raise CheckpointError(
            f"{path}: {missing[0]} is missing{_more(missing)}; it holds {min(state, default='nothing')}"
        )
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
