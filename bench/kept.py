"""Kept: outcomes that are remembered by the digest of all they depend on, so that light commands are light.

They lie in `$XDG_CACHE_HOME/retable` (or `~/.cache/retable`) as files that hold data, never code; deleting them is always
safe, and where nothing can be written nothing is kept.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar, cast

MOST = 1000
"""Files that are kept of each sort; beyond it the older half goes."""
PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
Stamp = tuple[str, int, int, int]
T = TypeVar("T")


def kept(sort: str, depends_on: Sequence[str], make: Callable[[], T], **how: Any) -> T:
    """What `make` gives, or gave before for the same installation and the same `depends_on`."""
    return remembered(sort, [installation(), *depends_on], make, **how)


def remembered(
    sort: str,
    depends_on: Sequence[str],
    make: Callable[[], T],
    *,
    write: Callable[[T], bytes] = lambda value: json.dumps(value).encode(),
    read: Callable[[bytes], T] = json.loads,
) -> T:
    """As `kept`, of outcomes that outlive a change of the installation. JSON, unless said otherwise."""
    path = _place(sort, depends_on)
    with suppress(Exception):  # absent, unreadable, torn or of another shape: it is made again
        return read(path.read_bytes())
    value = make()
    with suppress(OSError):
        _put(path, write(value))
    return value


def kept_by_modules(sort: str, depends_on: Sequence[str], make: Callable[[], T]) -> T:
    """As `kept`, and also after changes of modules of Retable that were not loaded when it was made. JSON.

    `make` has to load in this process whatever it decides by: it asks for nothing that is kept of that.
    """
    return kept_by_files(sort, depends_on, lambda: (make(), _loaded()))


def kept_by_files(sort: str, depends_on: Sequence[str], make: Callable[[], tuple[T, Iterable[str]]]) -> T:
    """As `kept`, of an outcome that comes with the sources which decided it: other sources may change, none may come or go."""
    path = _place(sort, [_but_for_sources(), *depends_on])
    with suppress(Exception):  # as above
        sources, before = json.loads(path.read_bytes())
        now = _files()
        if all(list(now.get(file, ())) == then for file, then in sources.items()):
            return cast("T", before)
    value, decided = make()
    real = set(map(os.path.realpath, decided))
    sources = {file: stamped for file, stamped in _files().items() if file in real}
    with suppress(OSError):
        _put(path, json.dumps([sources, value]).encode())
    return value


def _loaded() -> list[str]:
    return [file for module in [*sys.modules.values()] if (file := getattr(module, "__file__", None))]


def folder() -> Path:
    """Where they lie."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base and os.path.isabs(base) else Path(os.path.expanduser("~/.cache"))) / "retable"


@cache
def installation() -> str:
    """What every outcome depends on: Retable's own files as they lie on the disk, Python, the installed packages."""
    return sha256(repr([packages(), PACKAGE, sorted(_files().values())]).encode()).hexdigest()


@cache
def _but_for_sources() -> str:
    """The installation, where the content of a module does not count."""
    facts = sorted(path if path.endswith(".py") else repr(stamped) for path, stamped in _files().items())
    return sha256(repr([packages(), PACKAGE, facts]).encode()).hexdigest()


def packages() -> str:
    """Python, and what is installed beside Retable."""
    facts: list[Any] = [sys.version]
    for place in sys.path:
        with suppress(OSError):
            if os.path.basename(place) in ("site-packages", "dist-packages"):
                facts.append((place, os.stat(place).st_mtime_ns))
            else:
                facts.append(
                    sorted(name for name in os.listdir(place or ".") if name.endswith(("dist-info", "egg-info")))
                )
    return sha256(repr(facts).encode()).hexdigest()


def stamp(path: str, status: os.stat_result) -> Stamp:
    """What changes with a file's content, without reading it."""
    return path, status.st_size, status.st_mtime_ns, status.st_ino


@cache
def _files() -> Mapping[str, Stamp]:
    """Retable's own, by their real paths."""
    rooms = [os.path.realpath(os.path.join(PACKAGE, room)) for room in (".", "bench", "models")]
    found: dict[str, Stamp] = {}
    waiting = list(rooms)
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    if entry.name != "__pycache__" and entry.path not in rooms:
                        waiting.append(entry.path)
                elif entry.is_file() and not entry.name.endswith((".nbi", ".nbc")):
                    found[entry.path] = stamp(entry.path, entry.stat())
    return found


def _place(sort: str, depends_on: Sequence[str]) -> Path:
    return folder() / sort / sha256("\n".join(depends_on).encode()).hexdigest()


def _put(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        fresh.write_bytes(content)
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
    if len(os.listdir(path.parent)) > MOST:
        files = sorted(path.parent.iterdir(), key=lambda file: file.stat().st_mtime)
        for file in files[: -MOST // 2]:
            file.unlink(missing_ok=True)
