"""Which implementation of an operator runs: `reference`, `numba`, `triton` or `mamba_ssm`.

An explicit name is a contract: the operator runs there or raises `BackendError`. `auto` follows one rule, the first of the
device's list that can take the call:

    CPU    numba, reference
    CUDA   mamba_ssm, triton, reference

What an operator's fast backends cannot take (float16, complex A) is stated next to the operator and goes to the reference;
a backend that is missing from the machine is announced once in the log. `observe` tells which backends ran.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import TYPE_CHECKING, Literal, get_args

from retable.models.common.errors import BackendError

if TYPE_CHECKING:
    from torch import Tensor

Backend = Literal["auto", "reference", "numba", "triton", "mamba_ssm"]
NAMES: tuple[str, ...] = get_args(Backend)
RULE: dict[str, tuple[str, ...]] = {"cpu": ("numba", "reference"), "cuda": ("mamba_ssm", "triton", "reference")}
"""What `auto` tries, by device type; any other device runs the reference."""

Refusal = Callable[[], str | None]
"""Why a backend cannot take this call, or None."""

_default: ContextVar[str] = ContextVar("retable_backend", default="auto")
_observed: ContextVar[dict[str, set[str]] | None] = ContextVar("retable_backends_observed", default=None)
_log = logging.getLogger(__name__)


def choose(operator: str, requested: str | None, device: str, refusals: Mapping[str, Refusal]) -> str:
    """The backend of one call; `refusals` has an entry for every backend that implements the operator.

    `requested` None means the one set with `using`, which is `auto` unless somebody said otherwise.
    """
    name = requested or _default.get()
    if name == "auto":
        name = _automatic(operator, device, refusals)
    else:
        _check(operator, name, device, refusals)
    seen = _observed.get()
    if seen is not None:
        seen.setdefault(operator, set()).add(name)
    return name


def _automatic(operator: str, device: str, refusals: Mapping[str, Refusal]) -> str:
    for name in RULE.get(device, ("reference",)):
        if name not in refusals:
            continue
        reason = missing(name, device)
        if reason is not None:
            _announce(name, device, reason)
        elif refusals[name]() is None:
            return name
    return "reference"


def _check(operator: str, name: str, device: str, refusals: Mapping[str, Refusal]) -> None:
    if name not in NAMES:
        raise BackendError(f"backend is one of {', '.join(NAMES)}, not {name!r}")
    if name not in refusals:
        raise BackendError(f"{operator} has no backend {name!r}; it has {', '.join(refusals)}")
    reason = missing(name, device) or refusals[name]()
    if reason is not None:
        raise BackendError(f"{operator} cannot run on the backend {name!r}: {reason}")


@cache
def missing(name: str, device: str) -> str | None:
    """Why a backend cannot run on this machine and device at all, or None."""
    if name == "reference":
        return None
    if name == "numba":
        if device != "cpu":
            return f"it runs on the CPU, the tensors are on {device}"
        return None if importlib.util.find_spec("numba") else "numba is not installed"
    if name == "triton":
        return _triton_missing(device)
    from retable.models.ssm import mamba_ssm_backend

    return mamba_ssm_backend.missing(device)


def _triton_missing(device: str) -> str | None:
    import os

    if importlib.util.find_spec("triton") is None:
        return "triton is not installed"
    if device == "cuda" or os.environ.get("TRITON_INTERPRET") == "1":
        return None
    return f"it runs on CUDA, the tensors are on {device}"


@cache
def _announce(name: str, device: str, reason: str) -> None:
    """Once a process: the rule passes over a backend of its list."""
    if not (device == "cuda" and name == "mamba_ssm"):  # an optional package, whose absence is the usual case
        _log.warning("the backend %s is passed over on %s: %s", name, device, reason)


@contextmanager
def using(name: Backend) -> Iterator[None]:
    """Calls inside that name no backend use this one."""
    if name not in NAMES:
        raise BackendError(f"backend is one of {', '.join(NAMES)}, not {name!r}")
    token = _default.set(name)
    try:
        yield
    finally:
        _default.reset(token)


@contextmanager
def observe() -> Iterator[dict[str, set[str]]]:
    """A dictionary, operator -> backends that ran it, which fills while the block runs."""
    seen: dict[str, set[str]] = {}
    token = _observed.set(seen)
    try:
        yield seen
    finally:
        _observed.reset(token)


def device_of(*tensors: Tensor | None) -> str:
    """The one device type of the arguments; a ValueError names both when they are on two."""
    devices = {tensor.device for tensor in tensors if tensor is not None and tensor.dim() > 0}
    if len(devices) > 1:
        raise ValueError(f"all arguments must be on one device, not on {' and '.join(sorted(map(str, devices)))}")
    return next(iter(devices)).type if devices else "cpu"
