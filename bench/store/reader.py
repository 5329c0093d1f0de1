"""Reader: what tables, verdicts and pages ask of records, wherever these lie: in a store, or in a published version."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from retable.bench.record import Artefact, Record


class Reader(Protocol):
    """Records by key or by suite, machines by id, certificates, and the files that evaluations left."""

    @property
    def name(self) -> str: ...

    @property
    def folder(self) -> Path: ...

    def get(self, key: str) -> Record | None: ...

    def records(self, suite: str, profile: str | None = None) -> list[Record]: ...

    def find(self, prefix: str) -> list[Record]: ...

    def others(self, key: str) -> list[Record]: ...

    def environment(self, identity: str) -> dict[str, Any] | None: ...

    def certificates(self, key: str) -> list[dict[str, Any]]: ...

    def read_artefact(self, artefact: Artefact) -> bytes: ...
