"""Files of a report: every name made fit for a file system, every file complete or not there, none outside its folder."""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path

from retable.bench.errors import BenchError

_PLAIN = re.compile(r"(?!(con|prn|aux|nul|com[0-9]|lpt[0-9])(\.|$))[a-z0-9][a-z0-9._-]{0,99}", re.ASCII)


def safe_name(name: str) -> str:
    """The name itself where every file system takes it, else a digest of it: no separator, no `..`, nothing reserved."""
    if _PLAIN.fullmatch(name) and not name.endswith("."):
        return name
    return f"x-{sha256(name.encode(errors='surrogatepass')).hexdigest()[:20]}"


def put(root: Path, *names: str, content: str | bytes) -> Path:
    """Write `content` under `root`, in folders and a file named after `names`, and return the path.

    A link that stands where the file goes is replaced, not followed; a folder that leads out of `root` is refused. Raises
    BenchError that names the path for a disk that is full and whatever else keeps it from being written.
    """
    path = root.joinpath(*map(safe_name, names))
    with _named(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.parent.resolve().is_relative_to(root.resolve()):
            raise BenchError(f"{path.parent} leads out of {root}")
        _replace(path, content)
    return path


def write(path: Path, content: str | bytes) -> None:
    """Write a file that a user named, links followed; what is no plain file (a pipe, /dev/stdout) is written to as it is.

    Raises BenchError, as `put`; then the file is what it was, or not there.
    """
    with _named(path):
        if path.exists() and not path.is_file():
            with path.open("wb") as device:
                device.write(_bytes(content))
        else:
            _replace(path.resolve(), content)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BenchError(f"{path}: cannot be written: {error.strerror or error}") from error


def _replace(path: Path, content: str | bytes) -> None:
    temporary = path.with_name(f".{path.name[:100]}.{secrets.token_hex(4)}")
    try:
        temporary.write_bytes(_bytes(content))
        if path.is_file():
            shutil.copymode(path, temporary)
        os.replace(temporary, path)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _bytes(content: str | bytes) -> bytes:
    return content.encode() if isinstance(content, str) else content
