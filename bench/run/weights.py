"""Weights of a fitted model as one safetensors file, whatever its state is made of, and back; nothing in it is ever run.

A plain state dict is the file of its tensors. What safetensors cannot hold stands in the file's metadata as JSON that refers
to tensors: names that share one tensor, sparse tensors by their parts, and the extra state of modules, which may be numbers,
texts, tensors, arrays, and lists and mappings of these.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from retable.bench.errors import BenchError

if TYPE_CHECKING:
    from torch import Tensor, nn

KEY = "retable"
"""The entry of the file's metadata."""
SPARSE = {
    "sparse_coo": ("indices", "values"),
    "sparse_csr": ("crow_indices", "col_indices", "values"),
    "sparse_csc": ("ccol_indices", "row_indices", "values"),
    "sparse_bsr": ("crow_indices", "col_indices", "values"),
    "sparse_bsc": ("ccol_indices", "row_indices", "values"),
}
"""The parts of a sparse tensor, by its layout."""


def dump(model: nn.Module, who: str) -> bytes:
    """The file of a model's state. Raises BenchError, naming `who` and the entry, for what cannot be stored."""
    from safetensors.torch import save

    writer = _Writer(who)
    for name, value in model.state_dict().items():
        writer.add(name, value)
    try:
        return save(writer.tensors, {KEY: json.dumps(writer.others)} if writer.others else None)
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise BenchError(f"{who}: the weights cannot be stored: {reason}") from error


def read(content: bytes) -> dict[str, Any]:
    """The state dict that `dump` was given."""
    import struct

    from safetensors.torch import load

    tensors: dict[str, Any] = load(content)
    (size,) = struct.unpack("<Q", content[:8])
    held = json.loads(content[8 : 8 + size]).get("__metadata__", {}).get(KEY)
    if held is None:
        return tensors
    others = json.loads(held)
    parts = {part for value in others.values() for part in _parts(value)}
    state = {name: tensor for name, tensor in tensors.items() if name not in parts}
    return state | {name: _decoded(value, tensors) for name, value in others.items()}


class _Writer:
    """Tensors that safetensors takes, and what it does not as JSON."""

    def __init__(self, who: str) -> None:
        self.who = who
        self.tensors: dict[str, Tensor] = {}
        self.others: dict[str, Any] = {}
        self._views: dict[Any, str] = {}
        self._storages: set[int] = set()

    def add(self, name: str, value: Any) -> None:
        from torch import Tensor

        if isinstance(value, Tensor) and _layout(value) == "strided":
            view = self._view(name, value)
            if view in self._views:
                self.others[name] = {"same": self._views[view]}
                return
            self._put(name, value)
            self._views[view] = name
        else:
            self.others[name] = self._encoded(name, value, name)

    def _view(self, name: str, tensor: Tensor) -> Any:
        """What two names of one tensor have in common; no other tensor has it."""
        try:
            place = tensor.data_ptr() if tensor.numel() else id(tensor)
            return place, tuple(tensor.shape), tensor.stride(), tensor.dtype
        except Exception as error:
            raise self._refusal(name, tensor, str(error)) from error

    def _put(self, name: str, tensor: Tensor) -> None:
        try:
            if tensor.is_meta:
                raise ValueError("it has no values (its device is meta)")
            plain = tensor.detach().cpu().contiguous()
            place = plain.untyped_storage().data_ptr()
            if place and place in self._storages:  # another view of the same memory
                plain = plain.clone()
        except Exception as error:
            raise self._refusal(name, tensor, str(error)) from error
        self._storages.add(plain.untyped_storage().data_ptr())
        self.tensors[name] = plain

    def _encoded(self, name: str, value: Any, place: str) -> Any:
        """JSON of a value at `place`; its tensors go into the file under names of their own."""
        import numpy as np
        from torch import Tensor

        if value is None or isinstance(value, bool | str | int):
            return {"plain": value}
        if isinstance(value, float):
            return {"plain": value} if math.isfinite(value) else {"float": repr(value)}
        if isinstance(value, Tensor):
            return self._tensor(name, value, place)
        if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "biufc":
            return {"array": self._part(name, _from_numpy(value), place), "scalar": isinstance(value, np.generic)}
        if isinstance(value, list | tuple):
            items = [self._encoded(name, item, f"{place}[{i}]") for i, item in enumerate(value)]
            return {"tuple" if isinstance(value, tuple) else "list": items}
        if isinstance(value, Mapping):
            pairs = [
                [self._encoded(name, key, f"{place} key"), self._encoded(name, item, f"{place}[{key!r}]")]
                for key, item in value.items()
            ]
            return {"mapping": pairs}
        raise self._refusal(place, value, "only tensors, arrays, numbers, texts, and lists and mappings of them can be")

    def _tensor(self, name: str, tensor: Tensor, place: str) -> Any:
        layout = _layout(tensor)
        if layout == "strided":
            return {"tensor": self._part(name, tensor, place)}
        if layout not in SPARSE:
            raise self._refusal(place, tensor, f"its layout is {layout}")
        whole = tensor.coalesce() if layout == "sparse_coo" else tensor
        parts = {part: self._part(name, getattr(whole, part)(), f"{place} {part}") for part in SPARSE[layout]}
        return {"sparse": layout, "parts": parts, "size": list(tensor.shape)}

    def _part(self, name: str, tensor: Tensor, place: str) -> str:
        part = f"{name}#{len(self.tensors)}"
        self._put(part, tensor)
        return part

    def _refusal(self, place: str, value: Any, reason: str) -> BenchError:
        return BenchError(
            f"{self.who}: {place} of its state is a {type(value).__name__} and cannot be stored: {reason}"
        )


def _layout(tensor: Tensor) -> str:
    return str(tensor.layout).removeprefix("torch.")


def _from_numpy(value: Any) -> Tensor:
    import numpy as np
    import torch

    return torch.from_numpy(np.array(value))


def _parts(value: Any) -> list[str]:
    """The tensors that an encoded value refers to and that are no entries of the state themselves."""
    if isinstance(value, list):
        return [part for item in value for part in _parts(item)]
    if not isinstance(value, dict):
        return []
    found = [value[kind] for kind in ("tensor", "array") if isinstance(value.get(kind), str)]
    found += value["parts"].values() if "sparse" in value else []
    return found + [part for kind in ("list", "tuple", "mapping") for part in _parts(value.get(kind, []))]


def _decoded(value: dict[str, Any], tensors: Mapping[str, Any]) -> Any:
    kind, held = next(iter(value.items()))
    match kind:
        case "same" | "tensor":
            return tensors[held]
        case "array":
            array = tensors[held].numpy()
            return array[()] if value["scalar"] else array
        case "sparse":
            return _sparse(value, tensors)
        case "float":
            return float(held)
        case "list":
            return [_decoded(item, tensors) for item in held]
        case "tuple":
            return tuple(_decoded(item, tensors) for item in held)
        case "mapping":
            return {_decoded(key, tensors): _decoded(item, tensors) for key, item in held}
        case _:
            return held


def _sparse(value: dict[str, Any], tensors: Mapping[str, Any]) -> Any:
    import torch

    parts = [tensors[name] for name in value["parts"].values()]
    if value["sparse"] == "sparse_coo":
        indices, values = parts
        return torch.sparse_coo_tensor(indices, values, value["size"], is_coalesced=True)
    return getattr(torch, f"{value['sparse']}_tensor")(*parts, value["size"])
