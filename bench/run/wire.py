"""Wire: what a worker answers, as lines of JSON. The driver takes what has come and never waits for the rest of a line.

A job can write to any descriptor of its process, so a line that is no answer is passed over.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

LIMIT = 64 << 20
"""Bytes of one answer; a record has no more."""


class FloodError(Exception):
    """More came than an answer may have."""


class Wire:
    """The driver's end."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._come = bytearray()

    def read(self) -> dict[str, Any] | None:
        """The next answer if it has come as a whole. Raises EOFError when the other end is closed, FloodError."""
        while self._connection.poll():
            chunk = os.read(self._connection.fileno(), 1 << 16)
            if not chunk:
                raise EOFError
            start = len(self._come)
            self._come += chunk
            while (end := self._come.find(b"\n", start)) >= 0:
                line, start = bytes(self._come[:end]), 0
                del self._come[: end + 1]
                if (answer := _answer(line)) is not None:
                    return answer
            if len(self._come) > LIMIT:
                raise FloodError
        return None


def send(descriptor: int, answer: dict[str, Any]) -> None:
    """The worker's end: a line of its own, whatever was written before it."""
    left = memoryview(b"\n" + json.dumps(answer).encode() + b"\n")
    while left:
        left = left[os.write(descriptor, left) :]


def _answer(line: bytes) -> dict[str, Any] | None:
    with suppress(ValueError, RecursionError):
        found = json.loads(line)
        if isinstance(found, dict) and ("record" in found or "failure" in found):
            return found
    return None
