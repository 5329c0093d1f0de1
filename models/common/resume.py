"""Checkpoints of a training: a fit that was killed goes on where it was, to the bit.

Where they lie says the environment, $BENCH_CHECKPOINTS: a folder of this fit alone, which whoever runs it empties once its
result is stored. Without it nothing is written. A training offers its state at every place it can go on from; the state is
written where the last one is older than $BENCH_CHECKPOINT_SECONDS (600), by a temporary file and a rename.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import torch

FOLDER, SECONDS = "BENCH_CHECKPOINTS", "BENCH_CHECKPOINT_SECONDS"
OFTEN = 600.0
NAME = "training.pt"


class Resume:
    """`parts` are what moves while a training runs, by name: models, optimisers, scalers, generators of torch and NumPy.

    torch's own generators belong to it too. A part of None is left out.
    """

    def __init__(self, name: str = NAME, /, **parts: Any) -> None:
        folder = os.environ.get(FOLDER)
        self.path = Path(folder) / name if folder else None
        self.every = float(os.environ.get(SECONDS, OFTEN))
        self.parts = {key: part for key, part in parts.items() if part is not None}
        self.saved = time.monotonic()

    def take_up(self) -> dict[str, Any]:
        """Bring the parts to where the last checkpoint left them; what `offer` was given then, empty without one."""
        if self.path is None or not self.path.is_file():
            return {}
        held = torch.load(self.path, map_location="cpu", weights_only=True)
        for key, part in self.parts.items():
            _set(part, held["parts"][key])
        torch.set_rng_state(held["torch"])
        if held["cuda"]:
            torch.cuda.set_rng_state_all(held["cuda"])
        plain: dict[str, Any] = held["plain"]
        return plain

    @property
    def due(self) -> bool:
        """Whether what is offered now would be written: to be asked where putting the offer together costs something."""
        return self.path is not None and time.monotonic() - self.saved >= self.every

    def offer(self, **plain: Any) -> None:
        """The training can go on from here, given these numbers, lists, and mappings of tensors."""
        if not self.due:
            return
        assert self.path is not None
        held = {
            "parts": {key: _get(part) for key, part in self.parts.items()},
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
            "plain": plain,
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = self.path.with_suffix(f".{os.getpid()}")
        with unfinished.open("wb") as file:
            torch.save(held, file)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(self.path)
        self.saved = time.monotonic()


def _get(part: Any) -> Any:
    if isinstance(part, torch.Generator):
        return part.get_state()
    if hasattr(part, "bit_generator"):
        return part.bit_generator.state
    return part.state_dict()


def _set(part: Any, state: Any) -> None:
    if isinstance(part, torch.Generator):
        part.set_state(state)
    elif hasattr(part, "bit_generator"):
        part.bit_generator.state = state
    else:
        part.load_state_dict(state)
