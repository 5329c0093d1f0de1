"""Registration of functions as torch operators of the namespace `retable`.

As `torch.library.custom_op` does, in the library's lower-level form: that one loads the compiler (a second) in the first
call of a process. What it would check in every call (aliases, mutation) the tests check with `torch.library.opcheck`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

NAMESPACE = "retable"
_library = torch.library.Library(NAMESPACE, "FRAGMENT")


class Operator:
    """A registered function; calling it goes through torch's dispatcher."""

    def __init__(
        self, name: str, function: Callable[..., Any], mutates: Sequence[str] = (), differentiable: bool = True
    ) -> None:
        self.name = f"{NAMESPACE}::{name}"
        _library.define(name + torch.library.infer_schema(function, mutates_args=mutates))
        _library.impl(name, function, "CompositeExplicitAutograd")
        self._call = getattr(getattr(torch.ops, NAMESPACE), name).default
        if not differentiable:
            self.register_autograd(self._refuse, lambda ctx, inputs, output: None)

    def __call__(self, *arguments: Any) -> Any:
        return self._call(*arguments)

    def register_fake(self, function: Callable[..., Any]) -> None:
        """What the outputs look like, for tracing without data."""
        torch.library.register_fake(self.name, function, lib=_library)

    def register_autograd(self, backward: Callable[..., Any], setup_context: Callable[..., None]) -> None:
        """The gradient, from the context that `setup_context(ctx, inputs, output)` fills."""
        torch.library.register_autograd(self.name, backward, setup_context=setup_context, lib=_library)

    def _refuse(self, ctx: Any, *grads: Any) -> None:
        raise RuntimeError(f"{self.name} has no derivative: second derivatives of its operator are not implemented")


def operator(
    name: str, mutates: Sequence[str] = (), differentiable: bool = True
) -> Callable[[Callable[..., Any]], Operator]:
    """Decorator: the annotated function becomes `retable::name`.

    `mutates` names the tensors that it changes in place; one that is not `differentiable` says so when it is asked to be.
    """
    return lambda function: Operator(name, function, mutates, differentiable)
