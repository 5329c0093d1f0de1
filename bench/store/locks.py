"""Locks: which process works on which key, so that two runs over one store share the work instead of doubling it."""

from __future__ import annotations

import os
import struct
from contextlib import suppress
from pathlib import Path

_FLOCK = "hhqqi4x"
"""Linux's record of a lock: type, origin, start, length, process."""


class Locks:
    """Advisory locks on single bytes of one file, at an offset given by the key.

    The kernel drops them when the process ends, however it ends: there is nothing to time out and nothing to clean up.
    Where locks are not supported every lock is granted: work may be doubled then, never lost.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._file: int | None = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError:
            self._file = None

    def take(self, key: str) -> bool:
        """Take a key; False when another process holds it."""
        return self._lock(key, exclusive=True)

    def release(self, key: str) -> None:
        """Give a key back."""
        self._lock(key, exclusive=False)

    def holder(self, key: str) -> int | None:
        """The process that holds a key, where the system tells."""
        if self._file is None:
            return None
        with suppress(ImportError, OSError, struct.error):
            import fcntl

            wanted = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, _offset(key), 1, 0)
            kind, *_, process = struct.unpack(_FLOCK, fcntl.fcntl(self._file, fcntl.F_GETLK, wanted))
            return process if kind != fcntl.F_UNLCK and process > 0 else None
        return None

    def close(self) -> None:
        """Give everything back."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _lock(self, key: str, *, exclusive: bool) -> bool:
        if self._file is None:
            return True
        try:
            import fcntl
        except ImportError:
            return True
        operation = fcntl.LOCK_EX | fcntl.LOCK_NB if exclusive else fcntl.LOCK_UN
        try:
            fcntl.lockf(self._file, operation, 1, _offset(key))
        except (BlockingIOError, PermissionError):
            return False
        except OSError:
            return True
        return True


def _offset(key: str) -> int:
    import hashlib

    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:7], "big")
