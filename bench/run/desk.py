"""Desk: what one stage may read of the stages before it, and where it leaves its files. Plain data that travels with a job.

No worker opens the store. The driver looks up what a stage builds on, the stage reads it by digest from its inbox and leaves
files in its outbox, and the driver takes them over. So a stage is the same in this process, on this machine and elsewhere.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from retable.bench.record import Artefact
from retable.bench.store.artefacts import Artefacts
from retable.bench.store.sweep import sweep, unfinished_name

Inputs = Mapping[str, Mapping[str, Artefact]]
"""The artefacts of earlier stages, by key and name."""


@dataclass(frozen=True, kw_only=True)
class Desk:
    """`inbox` is a folder with the files of `inputs`, `outbox` one for what the stage makes; paths where the stage runs.

    `away` says that this is not the driver's machine, so that its data need not be the driver's.
    """

    inbox: str
    outbox: str
    away: bool = False
    inputs: Inputs = field(default_factory=dict)

    def read(self, key: str, name: str) -> bytes:
        """A file of an earlier stage, checked against its digest. Raises LookupError where there is none, or StoreError."""
        try:
            artefact = self.inputs[key][name]
        except KeyError:
            raise LookupError(f"{name} of stage {key[:12]} are not in the store") from None
        return Artefacts(Path(self.inbox)).read(artefact)

    def put(self, name: str, content: bytes | Callable[[BinaryIO], object]) -> Artefact:
        """Leave a file: its bytes, or a function that writes them to an open file; `name` lends its suffix."""
        return Artefacts(Path(self.outbox)).put(name, content)


@dataclass(frozen=True, kw_only=True)
class Room:
    """The folders of all desks of one executor, and of what their jobs print (`logs`, a file a key)."""

    inbox: Path
    outboxes: Path
    logs: Path
    away: bool = False

    @classmethod
    def beside(cls, store: Path) -> Room:
        """Desks of this machine: they read the store's artefacts in place, and each driver has outboxes of its own."""
        sweep(store / "outboxes")
        mine = store / "outboxes" / unfinished_name()
        return cls(inbox=store / "artefacts", outboxes=mine, logs=store / "logs")

    def desk(self, key: str, inputs: Inputs) -> Desk:
        return Desk(inbox=str(self.inbox), outbox=str(self.outbox(key)), away=self.away, inputs=inputs)

    def outbox(self, key: str) -> Path:
        return self.outboxes / key

    def log(self, key: str) -> Path:
        return self.logs / f"{key}.log"

    def clear(self, key: str) -> None:
        """Let go of what a desk has left."""
        shutil.rmtree(self.outbox(key), ignore_errors=True)

    def close(self) -> None:
        """Let go of all desks; logs stay."""
        shutil.rmtree(self.outboxes, ignore_errors=True)
