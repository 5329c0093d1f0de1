"""Settings: what a stage changes of its process is put back after it, and told.

A worker runs one case after the other, so what one leaves behind would reach the next one's numbers.
"""

from __future__ import annotations

import os
import random
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any

Setting = tuple[str, Callable[[], Any], Callable[[Any], object]]
"""Its name in a sentence, how it is read, how it is set. What libraries set when they are imported has no name, and is not told."""


@contextmanager
def restored() -> Iterator[list[str]]:
    """Puts everything back at the end of the block; by then the list names what had been changed."""
    before = [(name, put, get, get()) for name, get, put in (*_process(), *_torch(), *_functions())]
    changed: list[str] = []
    try:
        yield changed
    finally:
        for name, put, get, value in before:
            if not _same(get(), value):
                put(value)
                changed += [name] if name else []


def _same(now: Any, then: Any) -> bool:
    return bool(now is then or now == then)


def _process() -> Iterator[Setting]:
    import numpy as np

    yield "", lambda: dict(os.environ), _set_environment
    yield "the working folder", os.getcwd, os.chdir
    yield "the permissions of new files", _umask, os.umask
    yield "", lambda: list(sys.path), lambda value: sys.path.__setitem__(slice(None), value)
    yield "the recursion limit", sys.getrecursionlimit, sys.setrecursionlimit
    yield "", lambda: list(warnings.filters), _set_filters
    yield "NumPy's handling of errors", np.geterr, lambda value: np.seterr(**value)


def _torch() -> Iterator[Setting]:
    import torch

    yield "torch's default type", torch.get_default_dtype, torch.set_default_dtype
    yield "torch's default device", torch.get_default_device, _set_device
    yield "torch's gradients", torch.is_grad_enabled, torch.set_grad_enabled
    yield "torch's search for anomalies", torch.is_anomaly_enabled, torch.set_anomaly_enabled
    yield "torch's precision of products", torch.get_float32_matmul_precision, torch.set_float32_matmul_precision
    yield "torch's threads", torch.get_num_threads, torch.set_num_threads
    yield (
        "torch's choice of algorithms",
        lambda: (torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()),
        lambda value: torch.use_deterministic_algorithms(value[0], warn_only=value[1]),
    )
    for name, place, field in (
        ("torch's use of oneDNN", torch.backends.mkldnn, "enabled"),
        ("cuDNN's search for algorithms", torch.backends.cudnn, "benchmark"),
    ):
        yield name, _reader(place, field), _writer(place, field)


def _functions() -> Iterator[Setting]:
    """Functions that everybody calls; what an installed package replaced when it was imported stays, for it does so once."""
    import numpy as np
    import torch

    places = {
        **{"random": random, "numpy": np, "numpy.random": np.random, "torch": torch, "torch.random": torch.random},
        **{"torch.nn.functional": torch.nn.functional, "torch.nn.init": torch.nn.init, "torch.Tensor": torch.Tensor},
        **{"torch.nn.Module": torch.nn.Module, "torch.optim.Optimizer": torch.optim.Optimizer},
    }
    for name, place in places.items():
        before = {
            key: value
            for key, value in vars(place).items()
            if callable(value) and not isinstance(value, ModuleType) and (key == "__call__" or key[:2] != "__")
        }
        yield name, _Replaced(place, before), _Replacing(place, before)


class _Replaced:
    """Reads which functions of a module or class are not what they were; none at first."""

    def __init__(self, place: Any, before: Mapping[str, Any]) -> None:
        self.place, self.before = place, before

    def __call__(self) -> list[str]:
        now = vars(self.place)
        return [key for key, value in self.before.items() if now.get(key) is not value and not _installed(now.get(key))]


class _Replacing(_Replaced):
    """Puts them back."""

    def __call__(self, value: object = None) -> list[str]:
        found = super().__call__()
        for key in found:
            setattr(self.place, key, self.before[key])
        return found


def _installed(function: Any) -> bool:
    file = getattr(getattr(function, "__code__", None), "co_filename", "")
    return "site-packages" in file or "dist-packages" in file


def _set_environment(value: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(value)


def _set_filters(value: list[Any]) -> None:
    warnings.filters[:] = value  # type: ignore[index]
    warnings._filters_mutated()  # type: ignore[attr-defined]


def _set_device(value: Any) -> None:
    import torch

    torch.set_default_device(None if value == torch.device("cpu") else value)


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _reader(place: Any, field: str) -> Callable[[], Any]:
    return lambda: getattr(place, field)


def _writer(place: Any, field: str) -> Callable[[Any], object]:
    return lambda value: setattr(place, field, value)
