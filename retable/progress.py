"""Progress: how far a training is, told where it runs and heard by whoever listens. Numbers do not change by it.

`tell` costs a look at one variable where nobody listens; a loss may be a tensor on any device, and is read by the listener alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Told:
    """`step` of `of` steps are done (of the part called `what`), `epoch` of `epochs` runs, and `loss` was the last one."""

    step: int
    of: int
    loss: Any = None
    epoch: int = 0
    epochs: int = 0
    what: str = ""


Listener = Callable[[Told], None]
_LISTENER: ContextVar[Listener | None] = ContextVar("listener", default=None)


def tell(step: int, of: int, loss: Any = None, *, epoch: int = 0, epochs: int = 0, what: str = "") -> None:
    """`step` of `of` are done. Epochs count from 1."""
    listener = _LISTENER.get()
    if listener is not None:
        listener(Told(step=step, of=of, loss=loss, epoch=epoch, epochs=epochs, what=what))


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """What is told inside reaches `listener`."""
    token = _LISTENER.set(listener)
    try:
        yield
    finally:
        _LISTENER.reset(token)
