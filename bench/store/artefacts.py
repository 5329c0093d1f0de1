"""Artefacts: the files beside the records, each named by the digest of its content.

Content addressing lets two processes that fit the same key write at once: each record keeps pointing at its own bytes.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from errno import EXDEV
from pathlib import Path
from shutil import copyfileobj
from typing import Any, BinaryIO

from retable.bench.errors import StoreError
from retable.bench.record import Artefact
from retable.bench.store.sweep import sweep, unfinished_name

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,199}")


class Artefacts:
    """A folder of files that are complete or not there; made on the first `put`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.unfinished = folder / "unfinished"

    def put(self, name: str, content: bytes | Callable[[BinaryIO], object]) -> Artefact:
        """Write, flush to disk, then rename: a crash at any moment leaves the old state or the new one."""
        if not NAME.fullmatch(name) or name.endswith("."):
            raise StoreError(f"{self.folder}: {name[:80]!r} cannot name an artefact")
        temporary = self.unfinished / unfinished_name()
        try:
            self.unfinished.mkdir(parents=True, exist_ok=True)
            with temporary.open("xb+") as file:
                file.write(content) if isinstance(content, bytes) else content(file)
                file.flush()
                os.fsync(file.fileno())
                size = file.seek(0, os.SEEK_END)
                file.seek(0)
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            path = f"{digest}{Path(name).suffix}"
            temporary.replace(self.folder / path)
            sync(self.folder)
        except OSError as error:
            raise StoreError(f"{self.folder}: {name!r} cannot be stored: {error.strerror or error}") from error
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
        return Artefact(path=path, sha256=digest, bytes=size)

    def adopt(self, artefact: Artefact, folder: Path) -> None:
        """Take over a file that was made elsewhere, if it is what it is said to be: by a rename where the disk is the same."""
        source, target = folder / artefact.path, self.path(artefact)
        if target.parent != self.folder.resolve():
            raise StoreError(f"{self.folder}: {artefact.path[:80]!r} leads out of the store")
        try:
            with source.open("rb") as file:
                os.fsync(file.fileno())
                if hashlib.file_digest(file, "sha256").hexdigest() != artefact.sha256:
                    raise StoreError(f"{source}: the file arrived damaged (its digest differs)")
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                source.replace(target)
            except OSError as error:
                if error.errno != EXDEV:
                    raise
                self._copy(source, target)
            sync(self.folder)
        except OSError as error:
            raise StoreError(f"{source}: the file cannot be taken over: {error.strerror or error}") from error

    def _copy(self, source: Path, target: Path) -> None:
        self.unfinished.mkdir(parents=True, exist_ok=True)
        temporary = self.unfinished / unfinished_name()
        try:
            with source.open("rb") as file, temporary.open("xb") as copy:
                copyfileobj(file, copy)
                copy.flush()
                os.fsync(copy.fileno())
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)

    def path(self, artefact: Artefact) -> Path:
        """Where an artefact lies; a path that leads out of the folder, by name or by link, is refused."""
        try:
            path = (self.folder / artefact.path).resolve()
        except (OSError, ValueError):
            raise StoreError(f"{self.folder}: {artefact.path[:80]!r} is not a path") from None
        if self.folder.resolve() not in path.parents:
            raise StoreError(f"{self.folder}: {artefact.path[:80]!r} leads out of the store")
        return path

    def holds(self, artefact: Artefact) -> bool:
        """Whether a file of the right size is there; its digest is checked when it is read."""
        try:
            return self.path(artefact).stat().st_size == artefact.bytes
        except (OSError, StoreError):
            return False

    def read(self, artefact: Artefact) -> bytes:
        """The bytes of an artefact; a file that fails its digest is set aside, so that the next run makes it again."""
        path = self.path(artefact)
        try:
            if path.exists() and not path.is_file():  # a pipe would wait for ever
                raise OSError(0, "it is no file")
            content = path.read_bytes()
        except OSError as error:
            raise StoreError(
                f"{path}: the artefact cannot be read ({error.strerror}); the next run makes it again"
            ) from error
        if hashlib.sha256(content).hexdigest() != artefact.sha256:
            with suppress(OSError):
                path.replace(path.with_name(path.name + ".damaged"))
            raise StoreError(f"{path}: the artefact is damaged (its digest differs); the next run makes it again")
        return content

    def damage(self, artefacts: Iterable[Artefact]) -> list[str]:
        """One line for each artefact that is not there or not what was written."""
        lines = []
        for artefact in artefacts:
            try:
                if not self.path(artefact).is_file():
                    raise FileNotFoundError
                with self.path(artefact).open("rb") as file:
                    intact = hashlib.file_digest(file, "sha256").hexdigest() == artefact.sha256
            except (OSError, StoreError):
                lines.append(f"artefact {artefact.path} is missing")
            else:
                lines += [] if intact else [f"artefact {artefact.path} is damaged"]
        return lines

    def statistics(self) -> dict[str, Any]:
        """Number and total size of the files."""
        sizes = (
            [entry.stat().st_size for entry in os.scandir(self.folder) if entry.is_file()]
            if self.folder.is_dir()
            else []
        )
        unfinished = len(list(self.unfinished.iterdir())) if self.unfinished.is_dir() else 0
        return {"artefacts": len(sizes), "artefact_bytes": sum(sizes), "unfinished_artefacts": unfinished}

    def sweep(self) -> None:
        """Remove what processes that were killed long ago left unfinished."""
        sweep(self.unfinished)


def sync(folder: Path) -> None:
    """Make a rename durable; file systems that cannot open folders keep their own promise."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
