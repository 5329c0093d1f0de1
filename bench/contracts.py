"""What a component must have and what its parts must return, checked where it is registered and where a suite
uses it.

A broken contract is one sentence with the component's name. What evidence must look like is each task's own affair.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import is_dataclass
from typing import TYPE_CHECKING, Any, get_args

from retable.bench.errors import BenchError
from retable.bench.record import Direction, Measurement

if TYPE_CHECKING:
    from torch import nn

CALLABLE = {
    "method": ("build", "fit", "load"),
    "dataset": ("digest", "load"),
    "task": ("evidence",),
    "metric": ("measure",),
}
"""Methods that a class of each kind must have."""
FACTS: Mapping[str, Mapping[str, tuple[type, str]]] = {
    "method": {},
    "dataset": {},
    "task": {"FITS": (bool, "True where it works on fitted weights")},
    "metric": {
        "UNIT": (str, "its unit, '' for none"),
        "DIRECTION": (str, f"one of {', '.join(map(repr, get_args(Direction)))}"),
        "VERSION": (str, "raised when the number changes its meaning"),
    },
}
"""Class attributes that a class of each kind must have, with their type and what they say."""


def registrable(kind: str, name: str, component: type) -> None:
    """Raises BenchError for what is not a frozen dataclass."""
    who = _who(kind, name, component)
    if not (isinstance(component, type) and is_dataclass(component)):
        raise BenchError(f"{who} is not a dataclass; put @dataclass(frozen=True, kw_only=True) under @register")
    if not component.__dataclass_params__.frozen:  # type: ignore[attr-defined]
        raise BenchError(f"{who} is a dataclass that can change; say @dataclass(frozen=True, kw_only=True)")


def usable(kind: str, name: str, component: type) -> None:
    """Raises BenchError for a component that a suite uses and that lacks what its kind must have."""
    who = _who(kind, name, component)
    for method in CALLABLE[kind]:
        if not callable(getattr(component, method, None)):
            raise BenchError(f"{who} has no method {method}(); a {kind} needs {', '.join(CALLABLE[kind])}")
    for fact, (wanted, meaning) in FACTS[kind].items():
        if not isinstance(getattr(component, fact, None), wanted):
            raise BenchError(f"{who} has no {fact}: ClassVar[{wanted.__name__}], {meaning}")
    if kind == "metric" and (direction := component.DIRECTION) not in get_args(Direction):  # type: ignore[attr-defined]
        raise BenchError(f"{who} has the DIRECTION {direction!r}; it is {FACTS[kind]['DIRECTION'][1]}")


def fitted(who: str, outcome: Any) -> tuple[nn.Module, Mapping[str, Any]]:
    """What `fit` returned, if it is (module, log). Raises BenchError."""
    from torch import nn

    if not (isinstance(outcome, tuple) and len(outcome) == 2):
        raise BenchError(f"{who}: fit() returned {_told(outcome)} instead of (module, log)")
    model, log = outcome
    _module(who, "fit", model, nn.Module)
    if not isinstance(log, Mapping):
        raise BenchError(f"{who}: fit() returned {_told(log)} as its log, which is a mapping of names to numbers")
    return model, log


def loaded(who: str, model: Any) -> nn.Module:
    """What `load` returned, if it is a module. Raises BenchError."""
    from torch import nn

    _module(who, "load", model, nn.Module)
    checked: nn.Module = model
    return checked


def _module(who: str, method: str, model: Any, kind: type) -> None:
    if not isinstance(model, kind):
        raise BenchError(f"{who}: {method}() returned {_told(model)} instead of a torch.nn.Module")


def measurement(who: str, outcome: Any) -> Measurement:
    """What `measure` returned, if it is a Measurement. Raises BenchError."""
    if not isinstance(outcome, Measurement):
        raise BenchError(f"{who}: measure() returned {_told(outcome)} instead of a Measurement")
    return outcome


def _who(kind: str, name: str, component: type) -> str:
    return f"{kind} {name!r} ({getattr(component, '__qualname__', component)})"


def _told(value: Any) -> str:
    return "None" if value is None else f"a {type(value).__name__}"
