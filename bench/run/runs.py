"""Runs: what each run writes down of itself beside the store, so that it can be left, watched, stopped and taken up again.

A run's folder has `note.json` (how it was called), `progress.json` (what has ended, what runs), `output` if nobody watches it, and a
lock that its process holds: the kernel drops that however the process ends, so that nothing dead looks alive.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from threading import Timer
from typing import Any, Literal

from retable.bench.errors import BenchError
from retable.bench.run.job import Event
from retable.bench.store.locks import Locks

MOST = 50
"""Runs that are remembered; of those that are over the oldest go."""
EVERY = 1.0
"""Seconds between two writings of the progress."""
NAMED = "BENCH_RUN"
"""The variable by which a detached run is told its name."""
ROOT = Path(__file__).parents[3]
State = Literal["running", "ended", "died"]


@dataclass(frozen=True, kw_only=True)
class Note:
    """How a run was called, and where; `elsewhere` is where it sends its jobs, if not here."""

    suite: str
    arguments: tuple[str, ...]
    folder: str
    store: str
    host: str
    process: int
    started: str
    elsewhere: Mapping[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a run is; `running` has name and start by key, `status` is the command's exit status once it has ended."""

    total: int = 0
    ended: Mapping[str, int] = field(default_factory=dict)
    running: Mapping[str, tuple[str, float]] = field(default_factory=dict)
    again: int = 0
    """How often a job was sent once more because its node was lost."""
    status: int | None = None


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A run as another process finds it."""

    name: str
    state: State
    note: Note
    progress: Progress


class Diary:
    """A run's own writing, as a context manager and a sink of the executor's events."""

    def __init__(self, store: Path, note: Note, total: int) -> None:
        self.folder = _make(store / "runs", note)
        self._lock = Locks(self.folder / "lock")
        self._lock.take("alive")
        self._ended: Counter[str] = Counter()
        self._running: dict[str, tuple[str, float]] = {}
        self._total, self._again, self._written = total, 0, 0.0
        self._later: Timer | None = None
        _write(self.folder / "note.json", asdict(note))
        self._write(None)

    def __enter__(self) -> Diary:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        self.close(None if kind is None else 130 if kind is KeyboardInterrupt else 2)

    def close(self, status: int | None) -> None:
        """It ends here; without a status only the lock goes."""
        if self._later is not None:
            self._later.cancel()
            self._later.join()
        if status is not None:
            self._running.clear()
            self._write(status)
        self._lock.close()

    def __call__(self, event: Event) -> None:
        if event.kind == "waits":
            return
        if event.record is None:
            self._running[event.job.key] = (event.job.name, time.time())
        else:
            self._running.pop(event.job.key, None)
            self._ended[str(event.record.status)] += 1
            self._again += len(event.record.lost)
        if time.monotonic() - self._written > EVERY:
            self._write(None)
        elif self._later is None or not self._later.is_alive():  # the last event before a long silence counts too
            self._later = Timer(EVERY, self._write, [None])
            self._later.daemon = True
            self._later.start()

    def _write(self, status: int | None) -> None:
        self._written = time.monotonic()
        progress = Progress(
            total=self._total, ended=dict(self._ended), running=dict(self._running), again=self._again, status=status
        )
        _write(self.folder / "progress.json", asdict(progress))


def runs(store: Path) -> list[Seen]:
    """All that are remembered, oldest first."""
    folder = store / "runs"
    found = [_seen(path) for path in sorted(folder.iterdir())] if folder.is_dir() else []
    return [one for one in found if one is not None]


def find(store: Path, name: str = "") -> Seen:
    """The run of a name, or the newest. Raises BenchError where there is none."""
    known = runs(store)
    chosen = [one for one in known if not name or one.name == name or one.note.suite == name]
    if not chosen:
        raise BenchError(f"the store {store} knows no run{f' {name!r}' if name else ''}; `bench status` lists them")
    return chosen[-1]


def detach(store: Path, note: Note) -> str:
    """Start a run that nobody watches, in a session of its own, and wait until it has begun; its name.

    Its output lies in its folder. Raises BenchError with the last line of that, if it ended before it began.
    """
    folder = _make(store / "runs", note)
    environment = {**os.environ, NAMED: folder.name}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "retable", *note.arguments],
            cwd=note.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    while not (folder / "progress.json").exists():
        if process.poll() is not None and not (folder / "progress.json").exists():
            lines = (folder / "output").read_text(errors="replace").strip().splitlines()
            shutil.rmtree(folder)
            raise BenchError(
                f"the run ended at once: {lines[-1].removeprefix('bench: ') if lines else 'it says nothing'}"
            )
        time.sleep(0.05)
    return folder.name


def stop(store: Path, run: Seen) -> None:
    """End a run as Ctrl-C does: what runs is stopped, what has ended is stored. Returns when its process is gone."""
    if run.note.host != socket.gethostname():
        raise BenchError(f"run {run.name} was started on {run.note.host}: stop it there")
    with suppress(ProcessLookupError):
        os.kill(run.note.process, signal.SIGTERM)
    while _alive(store / "runs" / run.name):
        time.sleep(0.05)


def _seen(path: Path) -> Seen | None:
    try:
        raw = json.loads((path / "note.json").read_bytes())
        progress = json.loads((path / "progress.json").read_bytes())
    except (OSError, ValueError):
        return None
    note = Note(**{**raw, "arguments": tuple(raw["arguments"])})
    running = {key: (name, started) for key, (name, started) in progress["running"].items()}
    found = Progress(**{**progress, "running": running})
    state: State = "ended" if found.status is not None else "running" if _alive(path) else "died"
    return Seen(name=path.name, state=state, note=note, progress=found)


def _alive(path: Path) -> bool:
    locks = Locks(path / "lock")
    try:
        return not locks.take("alive")
    finally:
        locks.close()


def _make(folder: Path, note: Note) -> Path:
    """A folder of its own for a run: the one that it was told, or a new one, however many begin in one second."""
    if name := os.environ.pop(NAMED, ""):
        return folder / name
    folder.mkdir(parents=True, exist_ok=True)
    _forget(folder)
    base = f"{time.strftime('%Y%m%d-%H%M%S')}-{note.suite}"
    number = 0
    while True:
        path = folder / (f"{base}-{number}" if number else base)
        try:
            path.mkdir()
            return path
        except FileExistsError:
            number += 1


def _forget(folder: Path) -> None:
    paths = sorted(path for path in folder.iterdir() if path.is_dir())
    for path in paths[: max(0, len(paths) - MOST + 1)]:
        if not _alive(path):
            shutil.rmtree(path, ignore_errors=True)


def _write(path: Path, content: Mapping[str, Any]) -> None:
    """A reader sees the old text or the new one. A full disk must not end a run for its diary."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    with suppress(OSError):
        fresh.write_text(json.dumps(content))
        fresh.replace(path)


def resumed(note: Note) -> Sequence[str]:
    """The arguments with which a run is taken up again: the same ones over the same store."""
    return [*_call(note), "--store", note.store]


def taken_up(run: Seen, known: Sequence[Seen]) -> str:
    """The name of the next run of the same call, by `bench resume` or by hand; empty where there is none. `known` is in order."""
    later = [one for one in known if one.name > run.name and one.note.folder == run.note.folder]
    return next((one.name for one in later if _call(one.note) == _call(run.note)), "")


def _call(note: Note) -> list[str]:
    """A run's arguments but for its store, which a run that is taken up again says by its whole path."""
    given, kept = iter(note.arguments), list[str]()
    for one in given:
        if one == "--store":
            next(given, None)
        elif not one.startswith("--store="):
            kept.append(one)
    return kept
