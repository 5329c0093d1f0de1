"""One dispatched operator: its name, its arguments by name, its outputs, and the marks of its tensors."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from retable.bench.accountant.marks import Book, Mark
from retable.bench.accountant.tally import Tally, tally
from retable.bench.accountant.work import Work


@cache
def _signature(func: Any) -> tuple[str, str, tuple[tuple[str, Any, bool], ...], bool]:
    """(namespace, name without a trailing underscore, arguments as (name, default, written), writes at all)."""
    schema = func._schema
    namespace, _, name = schema.name.partition("::")
    arguments = tuple(
        (argument.name, argument.default_value, bool(argument.alias_info and argument.alias_info.is_write))
        for argument in schema.arguments
    )
    in_place = name.endswith("_") and not name.endswith("__")
    return namespace, name[:-1] if in_place else name, arguments, any(written for _, _, written in arguments)


@dataclass(frozen=True)
class Meeting:
    """One product inside an operator: activations `left` with `weight`, or with other activations `right`.

    `sides` are the products that one element of the left and one of the right operand is in; `on_left` False says that the
    activations stand on the right of their weights.
    """

    left: Tensor
    work: Work
    weight: Tensor | None = None
    right: Tensor | None = None
    sides: tuple[int, int] = (1, 1)
    on_left: bool = True
    seen: Tally | None = None
    """What was counted on `left`."""


Connected = Callable[[object], Tensor | None]
"""Which synapses of a weight are there, 0 or 1 in its shape; None where all are."""


def _whole(weight: object) -> None:
    return None


class Call:
    """`call["dim"]` is an argument by its name in the schema; `call.out` is there once the operator has run."""

    def __init__(
        self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], book: Book, connected: Connected = _whole
    ) -> None:
        self.func, self.book, self.connected = func, book, connected
        self.namespace, self.name, self.arguments, self.writes = _signature(func)
        self._values = dict(zip((name for name, _, _ in self.arguments), args, strict=False)) | kwargs
        self.inputs = tuple(_tensors(self._values.values()))
        """The tensors among the arguments, those in lists too."""
        self.out: Any = None
        self.meetings: list[Meeting] = []
        self.seen: Tally | None = None
        """What was counted last on an operand."""

    def again(self, first: Tensor, **others: Any) -> Any:
        """The same operator with other tensors, the first argument and named ones; nothing of it is counted."""
        names = [name for name, _, _ in self.arguments]
        values = {name: self[name] for name in names} | {names[0]: first} | others
        return self.func(**values)

    @property
    def title(self) -> str:
        """As torch prints it, without the overload: `aten.add`, `aten.add_`."""
        namespace, _, name = self.func._schema.name.partition("::")
        return f"{namespace}.{name}"

    def __getitem__(self, name: str) -> Any:
        if name in self._values:
            return self._values[name]
        for argument, default, _ in self.arguments:
            if argument == name:
                return default
        raise KeyError(name)

    def has(self, name: str) -> bool:
        return any(argument == name for argument, _, _ in self.arguments)

    def outputs(self) -> Iterator[Tensor]:
        return _tensors((self.out,))

    def written(self) -> Iterator[Tensor]:
        """The tensors that the operator writes to."""
        return _tensors(self._values.get(name) for name, _, written in self.arguments if written)

    def mark(self, value: Any) -> Mark | None:
        return self.book.of(value) if isinstance(value, Tensor) else None

    def tally(self, tensor: Tensor, last: int = 0) -> Tally:
        return tally(tensor, self.book, last)


def _tensors(values: Any) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)


def stored_elements(tensor: Tensor) -> int:
    """Elements that have to be read: an expanded axis is one; of a sparse tensor its stored values."""
    if tensor.layout != torch.strided:
        return tensor._nnz()
    return math.prod(size for size, stride in zip(tensor.shape, tensor.stride(), strict=True) if stride or not size)
