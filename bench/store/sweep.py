"""Sweep: what processes that were killed long ago left unfinished is removed; all that is unfinished is named for its process."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import time
from contextlib import suppress
from pathlib import Path

ABANDONED = 24 * 3600.0
"""Seconds after which a file that nobody finished is taken for a killed process's."""
_NAME = re.compile(r"([0-9]+)-[0-9a-f]+")


def unfinished_name() -> str:
    """A name that nobody else has, and that tells whose it is."""
    return f"{os.getpid()}-{secrets.token_hex(8)}"


def sweep(folder: Path) -> None:
    """Remove what is old and whose process is gone: a clock can be wrong, and a process can stand still for days.

    A link that stands where the folder should be leads to somebody else's, and is left alone with all behind it.
    """
    with suppress(OSError):
        if folder.is_symlink():
            return
        for entry in os.scandir(folder):
            old = entry.stat(follow_symlinks=False).st_mtime < time.time() - ABANDONED
            if old and not _alive(entry.name):
                _remove(entry)


def _remove(entry: os.DirEntry[str]) -> None:
    if entry.is_dir(follow_symlinks=False):
        shutil.rmtree(entry, ignore_errors=True)
    else:
        os.unlink(entry)


def _alive(name: str) -> bool:
    match = _NAME.fullmatch(name)
    if match is None:
        return False
    try:
        os.kill(int(match[1]), 0)
    except PermissionError:
        return True
    except (ProcessLookupError, OverflowError):
        return False
    return True
