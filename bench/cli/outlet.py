"""Outlet: stdout and stderr that never end a command: one that nobody reads, that is full or cannot show a character."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO, cast


class Outlet:
    """A stream whose first failed writing is kept in `failure`, and which says nothing more then."""

    def __init__(self, stream: TextIO | None) -> None:
        self.failure: OSError | None = None
        # a caller may have closed it
        self._stream = cast(Any, open(os.devnull, "w", encoding="utf-8") if stream is None else stream)  # noqa: SIM115
        with contextlib.suppress(
            AttributeError, ValueError
        ):  # a character that it cannot encode becomes a question mark
            self._stream.reconfigure(errors="replace")

    def write(self, text: str) -> int:
        self._try(lambda: self._stream.write(text))
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        self._try(self._stream.flush)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _try(self, act: Any) -> None:
        if self.failure is not None:
            return
        try:
            act()
        except OSError as error:
            self.failure = error
            with contextlib.suppress(OSError, ValueError):  # what Python still holds goes nowhere, at its exit too
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, self._stream.fileno())
                os.close(nowhere)


@contextlib.contextmanager
def outlets() -> Iterator[tuple[Outlet, Outlet]]:
    """stdout and stderr as outlets inside."""
    out, err = Outlet(sys.stdout), Outlet(sys.stderr)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            yield out, err
        finally:
            out.flush()
            err.flush()
