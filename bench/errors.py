"""The errors that a user can meet, each with the exit status it ends in."""

from __future__ import annotations

OK, CONTRADICTED, USAGE, UNMEASURED, INTERNAL, INTERRUPTED = 0, 1, 2, 3, 4, 130
"""Exit statuses of `bench`: as expected, a measured one differs, usage or declaration, not measured, a fault of ours, stopped."""


class BenchError(Exception):
    """One sentence for the user; never shown with a traceback."""

    exit_status = USAGE


class DeclarationError(BenchError):
    """A suite file that does not say what it must; the message starts with `file:line`."""


class UnknownNameError(BenchError):
    """A name that no registry holds; the message names the nearest known one."""


class BrokenComponentError(BenchError):
    """A registered component whose module does not import."""


class StoreError(BenchError):
    """The record store cannot be read or written; the message names the path."""


class MissingDataError(BenchError, FileNotFoundError):
    """Data or weights that the user has to provide; the message says what to put where."""

    exit_status = UNMEASURED


def nearest(name: str, known: list[str] | tuple[str, ...]) -> str:
    """`; did you mean 'x'?` for the known name closest to `name`, or the empty string."""
    from difflib import get_close_matches

    close = get_close_matches(name, known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""
