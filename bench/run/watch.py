"""Watch: which files beside a plug-in a stage read although no key covers them; what code reads cannot all be known before."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from retable.bench.store.sources import source_files

_watching: list[set[str]] = []
_hooked: list[bool] = []


@contextmanager
def reading() -> Iterator[set[str]]:
    """The paths that this process opens for reading meanwhile."""
    if not _hooked:  # an audit hook stays for the life of the process
        sys.addaudithook(_note)
        _hooked.append(True)
    found: set[str] = set()
    _watching.append(found)
    try:
        yield found
    finally:
        _watching.remove(found)


def _note(event: str, arguments: tuple[object, ...]) -> None:
    if _watching and event == "open":
        path, mode = arguments[0], arguments[1]
        if isinstance(path, str) and (mode is None or "r" in str(mode)):
            _watching[-1].add(path)


def unkeyed(modules: Iterable[str], read: Iterable[str], known: Iterable[Path]) -> tuple[str, ...]:
    """Of the files that were read, those in the folders of plug-ins that belong to no source digest.

    `modules` hold the stage's components; what lies below `known` folders (data, the store) has digests of its own.
    """
    covered = {path.resolve() for module in modules for path in source_files(module)}
    folders = {path.parent for path in covered if not _shared(path)}
    kept = [folder.resolve() for folder in known]
    found = {_source(Path(os.path.abspath(path)).resolve()) for path in read}
    return tuple(
        sorted(
            str(path)
            for path in found - covered
            if any(folder in path.parents for folder in folders)
            and not any(folder == path or folder in path.parents for folder in kept)
            and not _shared(path)
            and path.is_file()
        )
    )


def _shared(path: Path) -> bool:
    """Whether a file is Retable's own or an installed package's."""
    package = Path(__file__).resolve().parents[2]
    inside = any(folder in path.parents for folder in (package / "bench", package / "models"))
    return inside or any(part in ("site-packages", "dist-packages", ".git") for part in path.parts)


def _source(path: Path) -> Path:
    """`helper.py` for its compiled form."""
    if path.parent.name == "__pycache__":
        return path.parent.with_name(f"{path.name.partition('.')[0]}.py")
    return path
