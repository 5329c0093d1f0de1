"""Progress: what a run tells on stderr: a live display on a terminal, plain lines elsewhere, nothing if quiet."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from retable.bench.record import Record
    from retable.bench.run.job import Event


class Progress:
    """A sink of executor events, used as a context manager. rich is imported for a terminal only; it heeds NO_COLOR."""

    def __init__(self, *, total: int, quiet: bool = False, stream: TextIO | None = None) -> None:
        self._total, self._quiet = total, quiet
        self._stream = sys.stderr if stream is None else stream
        self._done = 0
        self._live: _Live | None = None

    def __enter__(self) -> Progress:
        if not self._quiet and self._total and _is_terminal(self._stream):
            self._live = _Live(self._total, self._stream)
        return self

    def __exit__(self, *exception: object) -> None:
        if self._live is not None:
            self._live.close()
            self._live = None

    def __call__(self, event: Event) -> None:
        name = _printable(event.job.name)
        if event.record is None:
            if self._live is not None:
                self._live.started(event.job.key, name)
            return
        self._done += 1
        line = f"{name}: {_outcome(event.record)}"
        if self._live is not None:
            self._live.ended(event.job.key, None if event.record.ok else line)
        elif not self._quiet:
            width = len(str(self._total))
            print(f"[{self._done:{width}}/{self._total}] {line}", file=self._stream, flush=True)


class _Live:
    """One bar for the whole with the time left, one line for each job that runs, failures above them."""

    def __init__(self, total: int, stream: TextIO) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as Bars

        self._bars = Bars(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(compact=True),
            console=Console(file=stream),
            transient=True,
            speed_estimate_period=24 * 3600.0,
            refresh_per_second=4,
        )
        self._whole = self._bars.add_task("stages", total=total)
        self._running: dict[str, Any] = {}
        self._bars.start()

    def started(self, key: str, name: str) -> None:
        self._running[key] = self._bars.add_task(f"  {name}", total=None)

    def ended(self, key: str, failure: str | None) -> None:
        if key in self._running:
            self._bars.remove_task(self._running.pop(key))
        self._bars.advance(self._whole)
        if failure is not None:
            self._bars.console.print(failure, markup=False, highlight=False)

    def close(self) -> None:
        self._bars.stop()


def _outcome(record: Record) -> str:
    wall = record.timings.get("wall")
    after = f" after {wall:.1f} s" if wall is not None else ""
    if record.ok:
        return f"ok{after}"
    message = _printable(record.failure.message.partition("\n")[0]) if record.failure else ""
    return f"{record.status}{after}{f': {message}' if message else ''}"


def _is_terminal(stream: TextIO) -> bool:
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def _printable(text: str) -> str:
    """Text that cannot move the cursor or recolour the terminal, whatever a suite calls its entries."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
