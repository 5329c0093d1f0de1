"""Contents: SHA-256 of what files hold, remembered for as long as nobody has touched them, so that content decides and a
second run is fast.

What is remembered lies in `$XDG_CACHE_HOME/retable/contents.sqlite` (or `~/.cache/retable`); deleting it is always safe, and
where nothing can be written nothing is remembered.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3

BLOCK = 1 << 20
SETTLED = 3.0
"""Seconds after which a file system's time tells one writing from the next."""
Stamp = tuple[str, int, int, int, int]
"""Path, size, time of change in ns, inode, and the time in ns that no program can set back."""


def file_digest(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file. Raises OSError for one that cannot be read."""
    return _remembered([stamp_of(path)], lambda: sha256_of(path))


def files_digest(folder: str | os.PathLike[str], names: Sequence[str]) -> str:
    """SHA-256 over the names and the contents of files of a folder, in this order. Raises OSError as above."""
    from concurrent.futures import ThreadPoolExecutor

    paths = [os.path.join(folder, name) for name in names]

    def make() -> str:
        with ThreadPoolExecutor(os.cpu_count()) as pool:  # hashing lets go of the interpreter lock
            found = list(pool.map(sha256_of, paths))
        return sha256("".join(f"{name} {one}\n" for name, one in zip(names, found, strict=True)).encode()).hexdigest()

    return _remembered([stamp_of(path) for path in paths], make)


def once(what: str, paths: Sequence[str | os.PathLike[str]], check: Callable[[], None]) -> None:
    """Run a check of files that raises where they do not pass it; what passed is not checked again while nobody touches it.

    `what` names the check and its version. Raises what it raises.
    """

    def passed() -> str:
        check()
        return "passed"

    _remembered([stamp_of(path) for path in paths], passed, what)


def forget() -> None:
    """Every file is read again the next time."""
    import sqlite3

    with suppress(sqlite3.Error), closing(_connected()) as memory, memory:
        memory.execute("DELETE FROM contents")


def sha256_of(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file, read now."""
    total = sha256()
    with open(path, "rb") as file:
        while block := file.read(BLOCK):
            total.update(block)
    return total.hexdigest()


def stamp_of(path: str | os.PathLike[str]) -> Stamp:
    """What changes whenever a file does."""
    status = os.stat(path)
    return os.path.abspath(path), status.st_size, status.st_mtime_ns, status.st_ino, status.st_ctime_ns


def _remembered(stamps: Sequence[Stamp], make: Callable[[], str], what: str = "sha256") -> str:
    """What `make` gives, or gave as `what` when the files had these stamps; of files that are still being written, always anew."""
    import sqlite3

    settled = time.time_ns() - int(SETTLED * 1e9)
    if any(max(changed, status) > settled for _, _, changed, _, status in stamps):
        return make()
    key = sha256(f"{what} {list(stamps)}".encode(errors="surrogateescape")).hexdigest()
    with suppress(sqlite3.Error), closing(_connected()) as memory:
        found = memory.execute("SELECT digest FROM contents WHERE stamps = ?", (key,)).fetchone()
        if found is not None:
            return str(found[0])
    made = make()
    with suppress(sqlite3.Error), closing(_connected()) as memory, memory:
        memory.execute("INSERT OR REPLACE INTO contents VALUES (?, ?)", (key, made))
    return made


def _connected() -> sqlite3.Connection:
    """The memory, opened. Raises sqlite3.Error where it cannot be."""
    import sqlite3

    base = os.environ.get("XDG_CACHE_HOME", "")
    folder = (Path(base) if os.path.isabs(base) else Path(os.path.expanduser("~/.cache"))) / "retable"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise sqlite3.OperationalError(str(error)) from error
    memory = sqlite3.connect(folder / "contents.sqlite", timeout=5.0)
    memory.execute("CREATE TABLE IF NOT EXISTS contents (stamps TEXT PRIMARY KEY, digest TEXT NOT NULL)")
    return memory
