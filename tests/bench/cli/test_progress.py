"""Progress: what a run tells its user, on a terminal and elsewhere."""

from __future__ import annotations

import io
import subprocess
import sys

import pytest

from retable.bench.cli.progress import Progress
from retable.bench.record import Failure, Record, Status
from retable.bench.run.job import Event
from tests.bench.fake_runs import job, template


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def ended(name: str, status: Status = Status.OK, message: str = "") -> Event:
    failure = Failure(type="Error", message=message) if message else None
    record: Record = template(name, status=status, failure=failure, timings={"wall": 1.25})
    return Event(kind="ended", job=job(name), record=record)


def shown(stream: io.StringIO, *events: Event, total: int = 10, quiet: bool = False) -> str:
    with Progress(total=total, quiet=quiet, stream=stream) as progress:
        for event in events:
            progress(event)
    return stream.getvalue()


EVENTS = (
    Event(kind="started", job=job("one")),
    ended("one"),
    ended("two", Status.FAILED, "no such thing\nsecond line"),
    ended("three", Status.MISSING, "put it there"),
)


def test_without_a_terminal_each_end_is_a_line() -> None:
    assert shown(io.StringIO(), *EVENTS).splitlines() == [
        "[ 1/10] one: ok after 1.2 s",
        "[ 2/10] two: failed after 1.2 s: no such thing",
        "[ 3/10] three: missing after 1.2 s: put it there",
    ]


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_quiet_is_quiet(stream: type[io.StringIO]) -> None:
    assert shown(stream(), *EVENTS, quiet=True) == ""


def test_a_terminal_keeps_failures_on_screen_and_shows_what_runs() -> None:
    text = shown(Terminal(), *EVENTS)
    assert "two: failed after 1.2 s: no such thing" in text
    assert "3/10" in text
    assert "left" in text


def test_a_dumb_terminal_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    assert shown(Terminal(), *EVENTS).splitlines()[0] == "[ 1/10] one: ok after 1.2 s"


def test_no_color_is_heeded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    coloured = shown(Terminal(), *EVENTS)
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[38" in coloured
    assert "\x1b[38" not in shown(Terminal(), *EVENTS)


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_names_and_messages_cannot_drive_the_terminal(stream: type[io.StringIO]) -> None:
    hostile = "\x1b[2J\x1b]0;title\x07\r[bold red]x[/bold red]"
    start = Event(kind="started", job=job(hostile))
    text = shown(stream(), start, ended(hostile, Status.FAILED, hostile))
    assert "\x1b[2J" not in text
    assert "\x07" not in text
    assert "[bold red]x[/bold red]" in text.replace("\n", "")


def test_jobs_that_end_without_having_started_are_counted() -> None:
    shown(Terminal(), ended("blocked"), ended("blocked too"), total=2)


def test_rich_is_imported_for_a_terminal_only() -> None:
    code = "import sys; from retable.bench.cli.progress import Progress\nwith Progress(total=3): pass\nprint('rich' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
