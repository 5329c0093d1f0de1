"""Progress: what a run tells on stderr: a live display on a terminal, plain lines elsewhere, nothing if quiet."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from retable.bench.record import Record
    from retable.bench.run.expect import Expectations
    from retable.bench.run.job import Event
    from retable.bench.run.pulse import Beat


@dataclass(frozen=True, kw_only=True)
class Watch:
    """What a live display knows of the stages: their records without an outcome by key, how long they take, where they beat."""

    templates: Mapping[str, Record] = field(default_factory=dict)
    expectations: Expectations | None = None
    pulses: Path | None = None
    workers: int = 1


class Progress:
    """A sink of executor events, used as a context manager. rich is imported for a terminal only; it heeds NO_COLOR."""

    def __init__(
        self, *, total: int, quiet: bool = False, stream: TextIO | None = None, watch: Watch | None = None
    ) -> None:
        self._total, self._quiet = total, quiet
        self._watch = watch or Watch()
        self._stream = sys.stderr if stream is None else stream
        self._done = 0
        self._live: _Live | None = None
        self._lines: Lines | None = None

    def __enter__(self) -> Progress:
        if self._quiet or not self._total:
            return self
        if self._watch.pulses is not None:
            self._watch.pulses.mkdir(parents=True, exist_ok=True)
        if _is_terminal(self._stream):
            self._live = _Live(self._total, self._stream, self._watch)
        elif self._watch.pulses is not None:
            self._lines = Lines(self._watch.pulses, self._stream)
            self._lines.start()
        return self

    def __exit__(self, *exception: object) -> None:
        for shown in (self._live, self._lines):
            if shown is not None:
                shown.close()
        self._live = self._lines = None
        if self._watch.pulses is not None:
            with suppress(OSError):  # it is not there, or another run still has stages in it
                self._watch.pulses.rmdir()

    def __call__(self, event: Event) -> None:
        name = _printable(event.job.name)
        if event.kind == "waits":  # said even if quiet: nothing else would tell why nothing happens
            line = f"waits for {name}, which {_holder(event.holder)} has taken"
            self._live.say(line) if self._live is not None else print(line, file=self._stream, flush=True)
            return
        if event.record is None:
            if self._live is not None:
                self._live.started(event.job.key, name, event.job.template)
            if self._lines is not None:
                self._lines.started(event.job.key, name)
            return
        self._done += 1
        if self._lines is not None:
            self._lines.ended(event.job.key)
        line = f"{name}: {_outcome(event.record)}"
        if self._live is not None:
            self._live.ended(event.job.key, event.record, None if event.record.ok else line)
        elif not self._quiet:
            width = len(str(self._total))
            print(f"[{self._done:{width}}/{self._total}] {line}", file=self._stream, flush=True)


class Lines:
    """Without a terminal: how far each running stage is, a line now and then: after a minute, later a tenth of its time apart."""

    AFTER, SHARE, LOOKS = 60.0, 0.1, 5.0
    """Seconds before the first line, share of a stage's time between two, seconds between two looks."""

    def __init__(self, pulses: Path, stream: TextIO) -> None:
        self._pulses, self._stream = pulses, stream
        self._running: dict[str, tuple[str, float, float]] = {}
        self._lock, self._done = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def started(self, key: str, name: str) -> None:
        now = time.monotonic()
        with self._lock:
            self._running[key] = (name, now, now)

    def ended(self, key: str) -> None:
        with self._lock:
            self._running.pop(key, None)

    def look(self, now: float) -> None:
        """Print the lines that are due."""
        from retable.bench.run.pulse import read

        with self._lock:
            for key, (name, since, last) in self._running.items():
                if now - last < max(self.AFTER, self.SHARE * (now - since)):
                    continue
                self._running[key] = (name, since, now)
                beat = read(self._pulses, key)
                if beat.words:
                    left = "" if beat.left is None else f", {clock(beat.left)} left"
                    print(
                        f"  {name}: {_printable(beat.words)} after {clock(now - since)}{left}",
                        file=self._stream,
                        flush=True,
                    )

    def close(self) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(self.LOOKS):
            self.look(time.monotonic())


class _Live:
    """One bar for the whole, one for each stage that runs with epoch, step and loss, failures above them.

    A stage's bar fills by the steps that it tells, else by what the same row took at other seeds; one that tells nothing and
    was never seen has none, and only its time.
    """

    def __init__(self, total: int, stream: TextIO, watch: Watch) -> None:
        from rich.console import Console
        from rich.progress import Progress as Bars

        self._watch = watch
        self._total, self._open = total, dict(watch.templates)
        self._beats: dict[str, tuple[float, Beat]] = {}
        columns = _columns(self._tells, self._left, self._filled)
        self._bars = Bars(*columns, console=Console(file=stream), transient=True, refresh_per_second=4)
        self._whole = self._bars.add_task("stages", total=total, key="")
        self._running: dict[str, Any] = {}
        self._bars.start()

    def started(self, key: str, name: str, template: Record) -> None:
        expected = self._watch.expectations.seconds(template) if self._watch.expectations else None
        self._running[key] = self._bars.add_task(f"  {name}", total=None, key=key, expected=expected)

    def ended(self, key: str, record: Record, failure: str | None) -> None:
        if key in self._running:
            self._bars.remove_task(self._running.pop(key))
        self._open.pop(key, None)
        if self._watch.expectations is not None:
            self._watch.expectations.add(record)
        self._bars.advance(self._whole)
        if failure is not None:
            self.say(failure)

    def say(self, line: str) -> None:
        self._bars.console.print(line, markup=False, highlight=False)

    def close(self) -> None:
        self._bars.stop()

    def _tells(self, task: Any) -> str:
        """How many of all have ended; of a stage its epoch, step and loss."""
        if not task.fields["key"]:
            return f"{int(task.completed)}/{self._total}"
        return _printable(self._beat(task).words)

    def _beat(self, task: Any) -> Beat:
        """The stage's last beat, read at most twice a second."""
        from retable.bench.run.pulse import Beat, read

        if self._watch.pulses is None:
            return Beat()
        key, now = task.fields["key"], time.monotonic()
        at, beat = self._beats.get(key, (-1.0, Beat()))
        if now - at > 0.5:
            beat = read(self._watch.pulses, key)
            self._beats[key] = (now, beat)
        return beat

    def _filled(self, task: Any) -> tuple[float, float] | None:
        """(done, of all) of a stage's bar; None where nothing tells."""
        beat, expected = self._beat(task), task.fields.get("expected")
        if beat.of:
            return beat.step, beat.of
        return (min(task.elapsed or 0.0, expected), expected) if expected else None

    def _elapsed(self) -> float:
        """Of what running stages are expected to take, the seconds that are behind them."""
        running = [task for task in self._bars.tasks if task.fields.get("expected")]
        return sum(min(task.elapsed or 0.0, task.fields["expected"]) for task in running)

    def _left(self, task: Any) -> str:
        elapsed = task.elapsed or 0.0
        if not task.fields["key"]:
            known = self._watch.expectations
            left = known.left(self._open.values(), self._watch.workers, self._elapsed()) if known else None
            return (
                f"{clock(elapsed)}, time left unknown"
                if left is None
                else f"{clock(elapsed)}, about {clock(left)} left"
            )
        beat, expected = self._beat(task), task.fields.get("expected")
        if beat.left is not None:
            return f"{clock(elapsed)}, {clock(beat.left)} left"
        if expected is None:
            return clock(elapsed)
        over = elapsed > expected
        return (
            f"{clock(elapsed)}, longer than before" if over else f"{clock(elapsed)}, {clock(expected - elapsed)} left"
        )


def _columns(tells: Any, left: Any, filled: Any) -> list[Any]:
    from rich.progress import BarColumn, ProgressColumn, TextColumn
    from rich.progress_bar import ProgressBar
    from rich.text import Text

    class Told(ProgressColumn):
        max_refresh = 0.5

        def __init__(self, tell: Any) -> None:
            super().__init__()
            self.tell = tell

        def render(self, task: Any) -> Text:
            return Text(self.tell(task))

    class Filled(BarColumn):
        """By stages that ended; of one of them by its steps or its time."""

        def render(self, task: Any) -> ProgressBar:
            known = filled(task) if task.fields["key"] else None
            return super().render(task) if known is None else ProgressBar(total=known[1], completed=known[0], width=24)

    return [TextColumn("{task.description}", markup=False), Filled(bar_width=24), Told(tells), Told(left)]


def clock(seconds: float) -> str:
    """`0:07`, `12:30`, `3:04:10`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _holder(process: int | None) -> str:
    """Another run's process, and what to do where it is stopped."""
    if process is None:
        return "another run"
    with suppress(Exception):  # it has just ended, or nobody may look at it
        import psutil

        if psutil.Process(process).status() == psutil.STATUS_STOPPED:
            return (
                f"process {process}, which is stopped (`kill -CONT {process}` lets it go on, `kill {process}` ends it),"
            )
    return f"process {process}"


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
