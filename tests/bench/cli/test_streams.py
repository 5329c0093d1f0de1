"""What a command prints to may fail, and where it may write may be nowhere: the verdict and its status stay."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from retable.bench.cli import check, main
from retable.bench.cli.outlet import Outlet
from retable.bench.errors import INTERNAL, INTERRUPTED, StoreError
from retable.bench.store import store as stores
from retable.models.common import kernels
from tests.bench.conftest import TINY, Bench

needs_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
CONTRADICTED_CLAIM = "increasing: [high, low]"


@pytest.fixture
def stored(bench: Bench) -> Bench:
    """A suite with all its results, and a claim that they contradict."""
    bench.edit("increasing: [low, high]", CONTRADICTED_CLAIM)
    assert bench("run", "tiny", "--jobs", "0", "--quiet").returncode == 0
    assert bench("gate", "tiny").returncode == 1
    return bench


def shell(bench: Bench, line: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """A line for the shell, in which $BENCH is the command; the status is that of the command, not of what reads it."""
    command = f"set -o pipefail; BENCH='{sys.executable} -m retable'; {line}"
    settings = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3]), **environment}
    return subprocess.run(["bash", "-c", command], cwd=bench.folder, env=settings, capture_output=True)


GATE = f"$BENCH gate tiny --plugin {TINY}"


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (f"{GATE} | true", 1),
        (f"{GATE} >&-", 1),
        (f"{GATE} 2>&-", 1),
        pytest.param(f"{GATE} >/dev/full", 1, marks=needs_full),
        pytest.param(f"{GATE} 2>/dev/full", 1, marks=needs_full),
        pytest.param(f"$BENCH table tiny --plugin {TINY} >/dev/full", 2, marks=needs_full),
        (f"$BENCH table tiny --plugin {TINY} | true", 0),
    ],
)
def test_the_status_is_that_of_the_verdict(stored: Bench, line: str, status: int) -> None:
    done = shell(stored, line)
    assert done.returncode == status, done.stderr
    assert b"Traceback" not in done.stderr
    assert b"Exception ignored" not in done.stderr
    if "table tiny" in line and "full" in line:
        assert done.stderr == b"bench: stdout: No space left on device\n"


@pytest.mark.parametrize(
    ("verb", "path"),
    [
        (("table", "tiny", "--format", "csv", "--output"), "out.csv"),
        (("table", "tiny", "--format", "csv", "--output"), "out/"),
        (("gate", "tiny", "--format", "junit", "--out"), "out.xml"),
        (("report", "tiny", "--out"), "site"),
        (("new", "suite", "mine"), "suites/mine.yaml"),
    ],
)
@pytest.mark.parametrize("there", [False, True])
def test_a_full_disk_names_the_file_and_leaves_nothing_of_it(
    stored: Bench, monkeypatch: pytest.MonkeyPatch, verb: tuple[str, ...], path: str, there: bool
) -> None:
    target, write = stored.folder / path, Path.write_bytes
    if there and target.suffix in (".csv", ".xml"):
        target.write_text("before")

    def full(self: Path, content: bytes) -> int:
        write(self, content[:3])
        raise OSError(errno.ENOSPC, "No space left on device")

    before = {file for file in stored.folder.rglob("*") if file.is_file()}
    monkeypatch.setattr(Path, "write_bytes", full)
    done = stored(*verb, *([] if verb[0] == "new" else [path]))
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if "No space" in line]
    assert line.startswith(f"bench: {path}")
    assert {file for file in stored.folder.rglob("*") if file.is_file()} == before
    assert target.is_dir() or not target.exists() or target.read_text() == "before"


@needs_full
def test_what_is_no_plain_file_is_written_to_as_it_is(stored: Bench) -> None:
    done = stored("gate", "tiny", "--out", "/dev/full")
    assert (done.returncode, done.stderr) == (2, "bench: /dev/full: cannot be written: No space left on device\n")
    assert stored("table", "tiny", "--output", "/dev/null").returncode == 0
    link = stored.folder / "link.csv"
    link.symlink_to("aim.csv")
    assert stored("table", "tiny", "--format", "csv", "--output", "link.csv").returncode == 0
    assert link.is_symlink()
    assert (stored.folder / "aim.csv").read_text() == stored("table", "tiny", "--format", "csv").stdout


def test_a_run_goes_on_when_nobody_reads(bench: Bench) -> None:
    done = shell(bench, f"$BENCH run tiny --jobs 0 --plugin {TINY} 2>&1 | true")
    assert done.returncode == 0
    assert len(stores.Store(bench.folder / "results" / "work").records("tiny")) == 12


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_what_cannot_be_shown_becomes_a_question_mark(stored: Bench, encoding: str) -> None:
    done = shell(stored, f"$BENCH table tiny --plugin {TINY}", PYTHONIOENCODING=encoding)
    assert done.returncode == 0, done.stderr
    plain = stored("table", "tiny").stdout
    assert done.stdout.decode(encoding) == plain.encode(encoding, "replace").decode(encoding)


def test_an_outlet_says_nothing_after_its_first_failure() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    outlet = Outlet(os.fdopen(writer, "w"))
    outlet.write("a")
    outlet.flush()
    assert isinstance(outlet.failure, BrokenPipeError)
    outlet.write("b" * 100_000)
    outlet.flush()
    outlet.close()


def test_an_error_of_ours_has_a_status_of_its_own(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(arguments: Any) -> int:
        raise RuntimeError("not foreseen")

    monkeypatch.setattr(check, "main", fail)
    done = bench("check")
    assert done.returncode == INTERNAL == 4
    assert "RuntimeError: not foreseen" in done.stderr
    assert done.stderr.endswith("bench: internal error: RuntimeError; what was finished is stored\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_being_told_to_stop_is_an_interruption(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    monkeypatch.setattr(check, "main", lambda arguments: os.kill(os.getpid(), number))
    before = signal.getsignal(number)
    done = bench("check")
    assert (done.returncode, done.stderr) == (INTERRUPTED, "bench: interrupted; what was finished is stored\n")
    assert signal.getsignal(number) == before


def test_who_ignores_the_end_of_the_terminal_is_obeyed() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with main.stopped_gently():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_store_that_cannot_be_written_shows_what_it_has(stored: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = stores.Database

    def read_only(path: Path, *, create: bool, timeout: float) -> Any:
        if create:
            raise StoreError(f"{path}: it cannot be written (read-only file or folder)")
        return opened(path, create=create, timeout=timeout)

    monkeypatch.setattr(stores, "Database", read_only)
    done = stored("run", "tiny", "--jobs", "0", "--quiet")
    assert (done.returncode, done.stderr) == (0, "0 cases executed, 6 cached\n")
    assert done.stdout == stored("table", "tiny").stdout + done.stdout[len(stored("table", "tiny").stdout) :]
    more = stored("run", "tiny", "--jobs", "0", "--quiet", "--seeds", "4")
    assert more.returncode == 2
    assert "it cannot be written" in more.stderr


def test_kernels_are_compiled_where_no_cache_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = kernels.njit

    def nowhere(**options: Any) -> Any:
        if options.get("cache"):
            raise RuntimeError("cannot cache function 'f': no locator available for file 'f.py'")
        return compiled(**options)

    monkeypatch.setattr(kernels, "njit", nowhere)
    twice = kernels.cached(nogil=True)(lambda x: 2 * x)
    assert twice(3) == 6


def test_checks_can_be_run_again_by_plug_ins(stored: Bench) -> None:
    """Those that retry a failed test set its fixtures up anew, which a check has to bear."""
    (stored.folder / "conftest.py").write_text(
        "import pytest\n"
        "@pytest.hookimpl(wrapper=True)\n"
        "def pytest_runtest_makereport(item, call):\n"
        "    report = yield\n"
        "    if call.when == 'call' and report.failed:\n"
        "        item._initrequest()\n"
        "        assert item.funcargs == {}\n"
        "    return report\n"
    )
    command = f"{sys.executable} -m pytest -p no:cacheprovider -q --bench suites/tiny.yaml --bench-plugin {TINY}"
    done = shell(stored, f"{command} -p retable.bench.cli.pytest_plugin" if not _installed() else command)
    assert done.returncode == 1, done.stdout
    assert b"1 failed" in done.stdout
    assert b"INTERNALERROR" not in done.stdout + done.stderr


def _installed() -> bool:
    from importlib.metadata import entry_points

    return any(point.value == "retable.bench.cli.pytest_plugin" for point in entry_points(group="pytest11"))
