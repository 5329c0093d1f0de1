"""Shelf: loaded data sets, kept because the cases that a worker gets in a row mostly share them, and watched for that."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import ModuleType
from typing import Any

MOST = 2


class Shelf:
    """Data sets by name. One that a stage wrote into is loaded again for the next."""

    def __init__(self) -> None:
        self._held: OrderedDict[str, tuple[Any, dict[str, int]]] = OrderedDict()
        self._used: set[str] = set()

    def get(self, name: str, load: Callable[[], Any]) -> Any:
        """What is held under a name, or what `load` gives."""
        if name not in self._held:
            data = load()
            self._held[name] = data, fingerprint(data)
        self._held.move_to_end(name)
        while len(self._held) > MOST:
            self._held.popitem(last=False)
        self._used.add(name)
        return self._held[name][0]

    def written(self) -> list[str]:
        """Those that were taken since the last call and are not what was loaded any more; they are let go of."""
        changed = [name for name in sorted(self._used & self._held.keys()) if not self._intact(name)]
        for name in changed:
            del self._held[name]
        self._used.clear()
        return changed

    def _intact(self, name: str) -> bool:
        """What was added (an image decoded and kept, say) is nobody's number."""
        data, before = self._held[name]
        now = fingerprint(data)
        return all(now.get(place) == checksum for place, checksum in before.items())


def fingerprint(value: Any) -> dict[str, int]:
    """A checksum of every array and tensor that can be reached from a value, and of the plain values beside them, by place.

    Arrays that are mapped from files are left out: they may be larger than memory.
    """
    found: dict[str, int] = {}
    seen: set[int] = set()
    waiting: list[tuple[str, Any]] = [("", value)]
    while waiting:
        place, one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        with suppress(Exception):  # what cannot be looked at is nobody's shared data
            inside = _inside(one)
            if inside is None:
                found[place] = _checksum(one)
            else:
                waiting += [(f"{place}/{name}", part) for name, part in inside]
    return found


def _inside(one: Any) -> list[tuple[Any, Any]] | None:
    """The parts of a container or an object by name; None of what has a checksum of its own."""
    import numpy as np
    import torch

    if isinstance(one, np.ndarray | torch.Tensor | str | bytes | bytearray | int | float | complex | None):
        return None
    if isinstance(one, Mapping):
        return list(one.items())
    if isinstance(one, list | tuple):
        if all(isinstance(part, str | bytes | int | float) for part in one):
            return None
        return list(enumerate(one))
    slots = [name for kind in type(one).__mro__ for name in getattr(kind, "__slots__", ()) if isinstance(name, str)]
    fields = {**{name: getattr(one, name) for name in slots if hasattr(one, name)}, **getattr(one, "__dict__", {})}
    return list(fields.items()) if not isinstance(one, type | ModuleType) else []


def _checksum(one: Any) -> int:
    from zlib import crc32

    import numpy as np
    import torch

    if isinstance(one, torch.Tensor):
        one = one.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy() if one.numel() else ()
    if isinstance(one, np.memmap):
        return 0
    if isinstance(one, np.ndarray) and one.dtype != object:
        return crc32(np.ascontiguousarray(one).view(np.uint8).reshape(-1).data) if one.size else 0
    if isinstance(one, np.ndarray):
        one = one.tolist()
    return crc32(repr(one).encode(errors="replace"))
