"""Pulse: what a running stage tells of itself: steps of its optimizers and the last loss, as a small file beside the store.

Nothing has to be told by a method: steps are counted where torch's optimizers make them, and the loss is what `backward` was
called on. A driver that wants to see them makes the folder; without it nothing is watched. Numbers do not change.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

FOLDER = "running"
EVERY = 1.0
"""Seconds between two beats."""


def read(folder: Path, key: str) -> dict[str, Any]:
    """The last beat of a stage: `steps`, and `loss` where there is one; empty before the first."""
    with suppress(OSError, ValueError):
        beat = json.loads((folder / f"{key}.json").read_bytes())
        return beat if isinstance(beat, dict) else {}
    return {}


@contextmanager
def beating(folder: Path, key: str) -> Iterator[None]:
    """Writes a beat a second while the stage runs, and nothing where the folder is not there."""
    if not folder.is_dir():
        yield
        return
    from torch import Tensor
    from torch.optim.optimizer import register_optimizer_step_post_hook

    seen: dict[str, Any] = {"steps": 0, "loss": None}

    def count(*ignored: Any) -> None:
        seen["steps"] += 1

    backward = Tensor.backward

    def noted(self: Tensor, *arguments: Any, **options: Any) -> None:
        seen["loss"] = self.detach() if self.numel() == 1 else None
        backward(self, *arguments, **options)

    hook, done = register_optimizer_step_post_hook(count), threading.Event()
    writer = threading.Thread(target=_write, args=(folder / f"{key}.json", seen, done), daemon=True)
    Tensor.backward = noted  # type: ignore[method-assign]
    writer.start()
    try:
        yield
    finally:
        Tensor.backward = backward  # type: ignore[method-assign]
        hook.remove()
        done.set()
        writer.join()
        with suppress(OSError):
            (folder / f"{key}.json").unlink()


def _write(path: Path, seen: dict[str, Any], done: threading.Event) -> None:
    while not done.wait(EVERY):
        beat = {"steps": seen["steps"]}
        with suppress(Exception):  # a loss that cannot be read now is not worth a training
            if seen["loss"] is not None:
                beat["loss"] = float(seen["loss"])
        with suppress(OSError, ValueError):
            fresh = path.with_name(f".{path.name}.{os.getpid()}")
            fresh.write_text(json.dumps(beat), encoding="utf-8")
            fresh.replace(path)
