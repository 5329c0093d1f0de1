"""The store on disks that are full or cannot be written, in folders that are none, and in files that are no store."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from retable.bench.errors import StoreError
from retable.bench.store.store import Store
from tests.bench.store.test_store import measured, one_sentence

NOBODY = 65534


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def unprivileged() -> Iterator[Path]:
    """A folder that this process owns as somebody whom permissions bind, even when the tests run as root."""
    folder = Path(tempfile.mkdtemp())
    root = os.geteuid() == 0
    if root:
        os.chown(folder, NOBODY, NOBODY)
        os.seteuid(NOBODY)
    try:
        yield folder
    finally:
        if root:
            os.seteuid(0)
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o700)
        shutil.rmtree(folder)


def test_a_full_disk_is_one_sentence_and_loses_nothing(store: Store) -> None:
    store.append(measured("before"))
    connection = store._database.connection
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StoreError) as error:
        store.append(measured("large", log={"text": "x" * 100_000}))
    assert "the disk is full; what was stored before is intact" in one_sentence(error, store.path)
    assert store.records("fake") == Store(store.folder, create=False).records("fake") == [measured("before")]
    connection.execute("PRAGMA max_page_count = 100000")
    store.append(measured("after"))
    assert len(store.records("fake")) == 2


@pytest.mark.parametrize("call", ["fsync", "write", "replace"])
def test_a_disk_full_of_artefacts_leaves_nothing_half(store: Store, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    def no_space(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    content: Any = b"weights"
    with monkeypatch.context() as patch:
        if call == "write":
            content = no_space
        else:
            patch.setattr(*{"fsync": (os, "fsync"), "replace": (Path, "replace")}[call], no_space)
        with pytest.raises(StoreError) as error:
            store.put_artefact("a.safetensors", content)
    assert "No space left" in one_sentence(error, store.artefacts.folder)
    assert [path for path in store.artefacts.folder.rglob("*") if path.is_file()] == []
    assert store.read_artefact(store.put_artefact("a.safetensors", b"weights")) == b"weights"


@pytest.mark.parametrize("call", [(os, "fsync"), (Path, "replace")], ids=["fsync", "replace"])
def test_a_process_killed_while_it_writes_an_artefact(store: Store, call: tuple[Any, str]) -> None:
    child = os.fork()
    if child == 0:
        setattr(*call, lambda *arguments: os._exit(9))
        store.artefacts.put("a.safetensors", b"weights")
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert store.statistics()["artefacts"] == 0
    (left,) = store.artefacts.unfinished.iterdir()
    os.utime(left, (0, 0))
    Store(store.folder)
    assert not left.exists()


def test_a_folder_that_cannot_be_written_is_one_sentence(unprivileged: Path) -> None:
    unprivileged.chmod(0o500)
    with pytest.raises(StoreError) as error:
        Store(unprivileged / "store")
    one_sentence(error, unprivileged / "store")
    with pytest.raises(StoreError) as error:
        Store(unprivileged)
    one_sentence(error, unprivileged)


def test_a_store_on_a_read_only_folder_can_be_read(unprivileged: Path) -> None:
    writer = Store(unprivileged)
    writer.append(measured())
    writer.close()
    for path in (*unprivileged.iterdir(), unprivileged):
        path.chmod(0o500)
    before = sorted(unprivileged.iterdir())
    reader = Store(unprivileged, create=False)
    assert reader.get(measured().key) == measured()
    with pytest.raises(StoreError) as error:
        Store(unprivileged).append(measured())
    one_sentence(error, unprivileged)
    assert sorted(unprivileged.iterdir()) == before


def test_paths_that_are_no_folder(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    for folder in (file, file / "below"):
        with pytest.raises(StoreError) as error:
            Store(folder)
        one_sentence(error, folder)
    with pytest.raises(StoreError):
        Store(file, create=False)
    with pytest.raises(StoreError):
        Store(tmp_path / ("x" * 300))
    with pytest.raises(StoreError):
        Store(tmp_path / "nul\0")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]


@pytest.mark.parametrize("create", [True, False])
def test_files_that_are_no_store(tmp_path: Path, create: bool) -> None:
    path = tmp_path / "records.sqlite"
    path.write_bytes(b"this is a letter, not a database" * 100)
    with pytest.raises(StoreError) as error:
        Store(tmp_path, create=create)
    assert "not a database" in one_sentence(error, path)
    path.unlink()
    with sqlite3.connect(path) as foreign:
        foreign.execute("CREATE TABLE songs (title)")
    foreign.close()
    before = path.read_bytes()
    with pytest.raises(StoreError) as error:
        Store(tmp_path, create=create)
    assert "another program" in one_sentence(error, path)
    assert path.read_bytes() == before
    path.unlink()
    path.mkdir()
    with pytest.raises(StoreError) as error:
        Store(tmp_path, create=create)
    one_sentence(error, path)


def test_a_database_with_overwritten_pages_is_reported_not_believed(store: Store) -> None:
    for number in range(50):
        store.append(measured(f"case-{number}"))
    store.close()
    size = store.path.stat().st_size
    with store.path.open("r+b") as file:
        file.seek(8192)
        file.write(os.urandom(size - 8192 - 4096))
    reader = Store(store.folder, create=False)
    assert reader.damage() != []
    found = []
    with suppress(StoreError):
        found = reader.records("fake")
    assert all(record == measured(record.entry) for record in found)
