"""What files hold decides who they are: remembered while nobody touches them, read again whenever somebody has."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

from retable import contents
from retable.contents import file_digest, files_digest, forget, once
from tests.bench.conftest import Bench
from tests.bench.conftest import bench as bench


@pytest.fixture(autouse=True)
def _a_memory_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that were read, in any order."""
    read: list[str] = []

    def noted(path: str | os.PathLike[str]) -> str:
        read.append(Path(path).name)
        return sha256(Path(path).read_bytes()).hexdigest()

    monkeypatch.setattr(contents, "sha256_of", noted)
    return read


def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock by which what has just been written lies well back."""
    now = time.time_ns
    monkeypatch.setattr(contents.time, "time_ns", lambda: now() + 60 * 10**9)


def test_a_second_look_reads_nothing(tmp_path: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    later(monkeypatch)
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    first = file_digest(tmp_path / "a"), files_digest(tmp_path, ["a", "b"])
    assert sorted(reads) == ["a", "a", "b"]
    assert (file_digest(tmp_path / "a"), files_digest(tmp_path, ["a", "b"])) == first
    assert len(reads) == 3
    forget()
    assert file_digest(tmp_path / "a") == first[0] == sha256(b"a").hexdigest()
    assert len(reads) == 4


def in_place(path: Path) -> None:
    """As a program writes that sets the time back, such as a synchroniser."""
    before = path.stat()
    path.write_text("new")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def replaced(path: Path) -> None:
    before = path.stat()
    other = path.with_name("other")
    other.write_text("new")
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(path)


def through_a_link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.with_name("elsewhere").write_text("new")
    path.symlink_to("elsewhere")


@pytest.mark.parametrize("change", [in_place, replaced, through_a_link])
def test_another_content_of_equal_size_and_time_is_seen(
    tmp_path: Path, change: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    later(monkeypatch)
    path = tmp_path / "weights"
    path.write_text("old")
    before = file_digest(path), files_digest(tmp_path, ["weights"])
    change(path)
    assert file_digest(path) == sha256(b"new").hexdigest()
    assert files_digest(tmp_path, ["weights"]) != before[1]


def test_a_file_that_was_just_written_is_not_remembered(tmp_path: Path, reads: list[str]) -> None:
    """Two writings within one tick of the file system's clock would look the same."""
    (tmp_path / "a").write_text("a")
    file_digest(tmp_path / "a")
    file_digest(tmp_path / "a")
    assert reads == ["a", "a"]


def test_a_check_that_passed_is_not_made_again_and_one_that_failed_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    later(monkeypatch)
    path, made = tmp_path / "a", []

    def check() -> None:
        made.append(path.read_text())
        if made[-1] == "bad":
            raise ValueError("bad")

    path.write_text("bad")
    for _ in range(2):
        with pytest.raises(ValueError, match="bad"):
            once("no bad 1", [path], check)
    path.write_text("good")
    for _ in range(3):
        once("no bad 1", [path], check)
    once("no bad 2", [path], check)
    assert made == ["bad", "bad", "good", "good"]


def test_where_nothing_can_be_written_nothing_is_remembered(
    tmp_path: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    later(monkeypatch)
    (tmp_path / "file").write_text("")
    (tmp_path / "damaged" / "retable").mkdir(parents=True)
    (tmp_path / "damaged" / "retable" / "contents.sqlite").write_bytes(b"no database" * 1000)
    for home in ("file", "damaged"):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / home))
        assert file_digest(tmp_path / "file") == sha256(b"").hexdigest()
    forget()
    assert reads == ["file"] * 2


def test_a_run_can_read_everything_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    later(monkeypatch)
    path = bench.folder / "a"
    path.write_text("a")
    file_digest(path)
    assert bench("run", "tiny", "--jobs", "0", "--quiet", "--verify-data", "--dry-run").returncode == 0
    monkeypatch.setattr(contents, "sha256_of", lambda path: "read again")
    assert file_digest(path) == "read again"
