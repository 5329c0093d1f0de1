"""Pulse: what a running stage tells of itself, as a small file beside the store: step, epoch, loss, the time that is left.

Reference trainings tell it (`retable.progress`). Of others steps are counted where torch's optimizers make them, and the loss
is what `backward` was called on. A driver that wants to see them makes the folder; without it nothing is watched.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from retable.progress import Told, listening

FOLDER = "running"
EVERY = 1.0
"""Seconds between two beats."""


@dataclass(frozen=True, kw_only=True)
class Beat:
    """`step` of `of` (0: not known) in `epoch` of `epochs`, the last loss, and seconds for what is left of this part."""

    step: int = 0
    of: int = 0
    epoch: int = 0
    epochs: int = 0
    what: str = ""
    loss: float | None = None
    left: float | None = None

    @property
    def words(self) -> str:
        """`masked words, epoch 2/10, step 1,240/4,000, loss 0.3125`, as far as it is known; empty before the first step."""
        if not self.step:
            return ""
        step = f"step {self.step:,}" + (f"/{self.of:,}" if self.of else "")
        epoch = f"epoch {self.epoch}/{self.epochs}" if self.epochs else ""
        loss = "" if self.loss is None else f"loss {self.loss:.4g}"
        return ", ".join(filter(None, (self.what, epoch, step, loss)))


def read(folder: Path, key: str) -> Beat:
    """The last beat of a stage; one of nothing before the first, and for a file that is none."""
    with suppress(OSError, ValueError, TypeError):
        beat = Beat(**json.loads((folder / f"{key}.json").read_bytes()))
        beat.words  # noqa: B018 - of the right types, or none of ours
        return beat
    return Beat()


@contextmanager
def beating(folder: Path, key: str) -> Iterator[None]:
    """Writes a beat a second while the stage runs, and nothing where the folder is not there."""
    if not folder.is_dir():
        yield
        return
    from torch import Tensor
    from torch.optim.optimizer import register_optimizer_step_post_hook

    seen, backward = Seen(), Tensor.backward

    def noted(self: Tensor, *arguments: Any, **options: Any) -> None:
        seen.loss = self.detach() if self.numel() == 1 else None
        backward(self, *arguments, **options)

    hook, done = register_optimizer_step_post_hook(seen.count), threading.Event()
    writer = threading.Thread(target=_write, args=(folder / f"{key}.json", seen, done), daemon=True)
    Tensor.backward = noted  # type: ignore[method-assign]
    writer.start()
    try:
        with listening(seen.hear):
            yield
    finally:
        Tensor.backward = backward  # type: ignore[method-assign]
        hook.remove()
        done.set()
        writer.join()
        with suppress(OSError):
            (folder / f"{key}.json").unlink()


class Seen:
    """What was heard or counted last, and when a part of it began here: a training that is taken up began elsewhere."""

    def __init__(self) -> None:
        self.steps = 0
        self.loss: Any = None
        self.told: Told | None = None
        self.first: tuple[Told, float] | None = None
        self.heard = 0.0

    def count(self, *ignored: Any) -> None:
        self.steps += 1

    def hear(self, told: Told) -> None:
        self.heard = time.monotonic()
        if (
            self.first is None
            or (told.what, told.of) != (self.first[0].what, self.first[0].of)
            or told.step < self.first[0].step
        ):
            self.first = told, self.heard
        self.told = told

    def beat(self) -> Beat:
        """At this moment. A loss that cannot be read now is left out: it is not worth a training."""
        told, loss = self.told, None
        with suppress(Exception):
            source = self.loss if told is None else told.loss
            loss = None if source is None else float(source)
        if told is None:
            return Beat(step=self.steps, loss=loss)
        beat = Beat(step=told.step, of=told.of, epoch=told.epoch, epochs=told.epochs, what=told.what, loss=loss)
        return replace(beat, left=self._left(told))

    def _left(self, told: Told) -> float | None:
        if self.first is None or told.step <= self.first[0].step:
            return None
        begun, since = self.first
        return (self.heard - since) / (told.step - begun.step) * max(0, told.of - told.step)


def _write(path: Path, seen: Seen, done: threading.Event) -> None:
    while not done.wait(EVERY):
        with suppress(OSError, ValueError):
            fresh = path.with_name(f".{path.name}.{os.getpid()}")
            fresh.write_text(json.dumps(vars(seen.beat())), encoding="utf-8")
            fresh.replace(path)
