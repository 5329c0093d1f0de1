"""Elsewhere: where a run sends its jobs, as the command line says it, and the executor that this makes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from retable.bench.errors import BenchError
from retable.bench.run.desk import Room
from retable.bench.run.job import Executor
from retable.bench.run.remote import Engine, Remote

Kind = Literal["ray", "slurm"]
MOST = {"ray": 1000, "slurm": 100}
"""Jobs at once, unless the user says how many."""


@dataclass(frozen=True, kw_only=True)
class Elsewhere:
    """`address` is a Ray cluster's, or `local`; `spool` is a folder that driver and SLURM's nodes see under one path."""

    kind: Kind
    address: str = ""
    partition: str = ""
    spool: str = ""
    most: int = 0

    def plain(self) -> dict[str, Any]:
        return asdict(self)

    def engine(self, store: Path, room: Room, *, lasting: bool = True) -> Engine:
        """The engine over a store; one that is not `lasting` ends with this process where it can."""
        if self.kind == "ray":
            from retable.bench.run.ray_engine import RayEngine

            return RayEngine(store, room, address=self.address, lasting=lasting)
        from retable.bench.run.slurm_engine import SlurmEngine

        if self.address not in ("", "local"):
            raise BenchError(f"with SLURM an address is `local` or nothing, not {self.address!r}")
        if not self.spool and self.address != "local":
            raise BenchError("SLURM's nodes and this machine need a folder that both see: --spool DIR")
        spool = Path(self.spool) if self.spool else store / "spool"
        cluster = self.address or "slurm"
        return SlurmEngine(store, room, spool=spool, cluster=cluster, partition=self.partition, most=self._most)

    def executor(
        self, store: Path, run: str, *, plugins: Sequence[str] = (), lasting: bool = True
    ) -> Callable[[Room], Executor]:
        """What `execute` takes."""

        def make(room: Room) -> Executor:
            engine = self.engine(store, room, lasting=lasting)
            absolute = [str(Path(plugin).resolve()) if plugin.endswith(".py") else plugin for plugin in plugins]
            return Remote(engine, run, room, most=self._most, plugins=absolute)

        return make

    @property
    def _most(self) -> int:
        return self.most or MOST[self.kind]
