"""Which module is running: hooks that keep the path of the innermost one, and tell others of every finished call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn


class Layers:
    """`path` is where the model is. `finished(module, inputs, output, fired)` is called after every module's forward.

    A module that is called twice is there twice; one with two names goes by the first. `fired` says that a neuron operator
    ran in this call, in this module itself and not in a child.
    """

    def __init__(
        self, model: nn.Module, finished: Callable[[nn.Module, tuple[Any, ...], Any, bool], None] | None
    ) -> None:
        self._model, self._finished = model, finished
        self._paths = {module: path for path, module in model.named_modules()}
        self._stack: list[str] = []
        self._fired: list[bool] = []
        self._handles: list[Any] = []
        self.model_calls = 0

    @property
    def path(self) -> str:
        return self._stack[-1] if self._stack else ""

    def path_of(self, module: nn.Module) -> str:
        return self._paths[module]

    def fire(self) -> None:
        if self._fired:
            self._fired[-1] = True

    def attach(self) -> None:
        for module in self._paths:
            self._handles.append(module.register_forward_pre_hook(self._enter))
            self._handles.append(module.register_forward_hook(self._leave, always_call=True))

    def detach(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._stack.clear()
        self._fired.clear()

    def _enter(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        self.model_calls += module is self._model and not self._stack
        self._stack.append(self._paths[module])
        self._fired.append(False)

    def _leave(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if not self._stack:
            return
        self._stack.pop()
        fired = self._fired.pop()
        if self._finished is not None and output is not None:  # None after an exception
            self._finished(module, inputs, output, fired)
