"""What must have reached the disk before it is believed, and what tells two keys apart."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from retable.bench.store.artefacts import Artefacts
from retable.bench.store.locks import _offset
from tests.bench.conftest import Bench


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What was synchronised and renamed, in order: ("file" or "folder", its path) and ("renamed", where to)."""
    found: list[tuple[str, str]] = []
    fsync, replace, rename = os.fsync, os.replace, os.rename

    def note(descriptor: int) -> None:
        kind = "folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file"
        found.append((kind, os.readlink(f"/proc/self/fd/{descriptor}")))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    for name, real in (("replace", replace), ("rename", rename)):

        def renamed(source: str, target: str, real: object = real, **options: object) -> None:
            found.append(("renamed", os.fspath(target)))
            real(source, target, **options)  # type: ignore[operator]

        monkeypatch.setattr(os, name, renamed)
    return found


pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="this system does not tell open files")


def test_an_artefact_is_on_the_disk_before_its_name_and_its_name_before_the_record(
    tmp_path: Path, synced: list[tuple[str, str]]
) -> None:
    folder = tmp_path / "artefacts"
    artefact = Artefacts(folder).put("a.bin", b"content")
    kinds = [(kind, Path(path).name if kind == "renamed" else "") for kind, path in synced]
    assert kinds == [("file", ""), ("renamed", artefact.path), ("folder", "")]
    assert synced[-1] == ("folder", str(folder))


def test_a_version_is_on_the_disk_before_it_has_its_name(bench: Bench, synced: list[tuple[str, str]]) -> None:
    assert bench("run", "tiny", "--jobs", "0", "--quiet").returncode == 0
    synced.clear()
    assert bench("freeze", "tiny").returncode == 0
    place = next(i for i, (kind, path) in enumerate(synced) if kind == "renamed" and path.endswith("v1"))
    written = {Path(path).name for kind, path in synced[:place] if kind == "file"}
    published = {path.name for path in (bench.folder / "results" / "tiny" / "v1").rglob("*") if path.is_file()}
    assert published <= written
    assert "folder" in {kind for kind, _ in synced[:place]}
    assert ("folder", str(bench.folder / "results" / "tiny")) in synced[place:]


def test_keys_have_locks_of_their_own() -> None:
    assert len({_offset(f"key {number}") for number in range(1000)}) == 1000
