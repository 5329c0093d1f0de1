"""Logits as a fitted model gives them: their shape is checked where they enter, since another one can pass for the right one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from retable.bench.errors import BenchError

if TYPE_CHECKING:
    from torch import Tensor


def prepared(model: Any, pixels: Tensor) -> Tensor:
    """`model.prepare(pixels)`. Raises BenchError for a model without `prepare` and for what does not begin with the batch."""
    if not callable(getattr(model, "prepare", None)):
        raise BenchError(f"{type(model).__name__} has no prepare(pixels); the task needs it to turn uint8 into input")
    x: Tensor = model.prepare(pixels)
    shape = tuple(getattr(x, "shape", ()))
    if shape[:1] != (len(pixels),):
        told = f"of shape {shape}" if hasattr(x, "shape") else f"a {type(x).__name__}"
        raise BenchError(
            f"prepare of {type(model).__name__} returned input {told}; wanted is ({len(pixels)}, ...), a row a sample"
        )
    return x


def over_time(model: Any, x: Tensor, classes: int, steps: int | None = None) -> Tensor:
    """`model.steps(x)`, (T, B, K), T being `steps` where that is known from other batches.

    Raises BenchError for a model without `steps` and for any other shape.
    """
    if not callable(getattr(model, "steps", None)):
        raise BenchError(f"{type(model).__name__} has no steps(x); the task needs its logits (time, batch, classes)")
    logits_TBK = model.steps(x)
    _require(f"steps of {type(model).__name__}", logits_TBK, ("time" if steps is None else steps, len(x), classes))
    return logits_TBK


def of_images(logits_BK: Any, model: Any, batch: int, classes: int) -> Tensor:
    """What calling the model gave, (B, K). Raises BenchError for any other shape."""
    _require(f"a call of {type(model).__name__}", logits_BK, (batch, classes))
    checked: Tensor = logits_BK
    return checked


def _require(who: str, logits: Any, wanted: tuple[int | str, ...]) -> None:
    shape = tuple(getattr(logits, "shape", ()))
    free = [isinstance(size, str) and found > 0 for size, found in zip(wanted, shape, strict=False)]
    same = [size == found for size, found in zip(wanted, shape, strict=False)]
    if len(shape) != len(wanted) or not all(a or b for a, b in zip(free, same, strict=True)):
        told = f"of shape {shape}" if hasattr(logits, "shape") else f"a {type(logits).__name__}"
        asked = ", ".join(map(str, wanted))
        raise BenchError(f"{who} returned logits {told}; wanted are ({asked})")
