"""Published versions: whole or not there, never changed, every flipped byte found, every name kept inside the folder."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retable.bench.errors import BenchError, StoreError
from retable.bench.record import SCHEMA
from retable.bench.versions import freeze as freezing
from retable.bench.versions.rates import FILE as RATES
from retable.bench.versions.versions import (
    FORMAT,
    MANIFEST,
    TOLERANCES,
    Name,
    damage,
    find,
    folder_of,
    load,
    numbers,
    published,
    render_manifest,
)
from tests.bench.conftest import TINY, Bench

RELEASED = Path(__file__).with_name("released")
V1 = Name("tiny", 1)
FILES = sorted(path.name for path in (RELEASED / "tiny" / "v1").iterdir())
"""Of format 1, which has no tolerances."""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A results folder with one version, that anybody may spoil."""
    shutil.copytree(RELEASED, tmp_path / "results")
    for path in (tmp_path / "results").rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return tmp_path / "results"


@pytest.fixture
def measured(bench: Bench) -> Bench:
    assert bench("run", "tiny", "--jobs", "0", "--quiet").returncode == 0
    return bench


def sentence(done: Any) -> str:
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    return str(done.stderr)


# Freezing


def test_a_version_holds_table_records_environment_and_manifest(measured: Bench) -> None:
    done = measured("freeze", "tiny")
    assert (done.returncode, done.stdout.strip()) == (0, "results/tiny/v1")
    folder = measured.folder / "results" / "tiny" / "v1"
    manifest = json.loads((folder / MANIFEST).read_text())
    assert (manifest["format"], manifest["record_schema"], manifest["complete"]) == (FORMAT, SCHEMA, True)
    assert (
        set(manifest["files"]) | {MANIFEST}
        == {path.name for path in folder.iterdir()}
        == {*FILES, TOLERANCES, RATES, "samples.json"}
    )
    assert "Low" in (folder / "table.txt").read_text()
    assert (folder / "tiny.yaml").read_text() == measured.suite.read_text()
    records = [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]
    assert {record["stage"] for record in records} == {"fit", "evaluate"}
    assert {record["environment"] for record in records} == set(json.loads((folder / "environments.json").read_text()))
    assert measured("verify").returncode == 0


def test_the_same_content_is_not_published_twice_and_another_one_gets_the_next_number(measured: Bench) -> None:
    measured("freeze", "tiny")
    again = measured("freeze", "tiny")
    assert "already holds exactly this" in again.stdout
    first = {path: path.read_bytes() for path in (measured.folder / "results" / "tiny" / "v1").iterdir()}
    measured.edit("level: 2.0", "level: 2.5")
    measured("run", "tiny", "--jobs", "0", "--quiet")
    assert measured("freeze", "tiny").stdout.strip() == "results/tiny/v2"
    assert {path: path.read_bytes() for path in first} == first
    assert measured.json("freeze", "tiny") == {"version": "tiny/v2", "path": "results/tiny/v2", "new": False}


def test_a_damaged_version_is_never_taken_for_the_same_content(measured: Bench) -> None:
    measured("freeze", "tiny")
    table = measured.folder / "results" / "tiny" / "v1" / "table.txt"
    table.chmod(0o644)
    table.write_text("improved")
    assert measured("freeze", "tiny").stdout.strip() == "results/tiny/v2"


def test_an_incomplete_suite_is_refused_unless_that_is_said(bench: Bench) -> None:
    refused = bench("freeze", "tiny")
    assert refused.returncode == 3
    assert "6 of 6 cases" in sentence(refused)
    assert bench("freeze", "tiny", "--partial").returncode == 3
    assert not (bench.folder / "results").exists()
    bench("run", "tiny", "--jobs", "0", "--quiet", "--only", "low")
    assert "--partial" in sentence(bench("freeze", "tiny"))
    assert bench("freeze", "tiny", "--partial").returncode == 0
    manifest = json.loads((bench.folder / "results" / "tiny" / "v1" / MANIFEST).read_text())
    assert (manifest["complete"], len(manifest["unmeasured"])) == (False, 3)


@pytest.mark.parametrize("step", range(14))
def test_a_disk_that_is_full_leaves_no_version_and_no_rubbish(measured: Bench, step: int) -> None:
    calls = 0

    def full(*arguments: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == step + 1:
            raise OSError(errno.ENOSPC, "No space left on device")

    for name in ("_write", "sync"):
        real = getattr(freezing, name)
        with pytest.MonkeyPatch.context() as patch:
            calls = 0
            patch.setattr(freezing, name, lambda *a, real=real: (full(), real(*a)))
            done = measured("freeze", "tiny")
        if done.returncode:
            assert done.returncode == 2
            assert "results/tiny" in sentence(done)
            assert "No space" in done.stderr
        folder = measured.folder / "results" / "tiny"
        assert not (folder / ".unfinished").exists()
        assert all(not damage(folder.parent, Name("tiny", number)) for number in numbers(folder.parent, "tiny"))
    assert measured("freeze", "tiny").returncode == 0


KILLED = """
import os, sys
from pathlib import Path
from retable.bench.versions import freeze
calls, step = 0, int(sys.argv[1])
def dying(real):
    def call(*arguments, **rest):
        global calls
        calls += 1
        if calls == step: os._exit(9)
        real(*arguments, **rest)
        calls += 1
        if calls == step: os._exit(9)
    return call
freeze._write, freeze.sync = dying(freeze._write), dying(freeze.sync)
freeze.Path.rename = dying(freeze.Path.rename)
from retable.bench.cli.main import main
sys.exit(main(["freeze", "tiny", "--plugin", sys.argv[2]]))
"""


def test_a_process_that_is_killed_leaves_a_whole_version_or_none(measured: Bench) -> None:
    """At every other moment between the writes of a version; the last ones come after it is in place."""
    root, died = measured.folder / "results", 0
    for step in range(1, 40, 3):
        before = numbers(root, "tiny")
        done = subprocess.run(
            [sys.executable, "-c", KILLED, str(step), str(TINY)], cwd=measured.folder, capture_output=True, check=False
        )
        died += done.returncode == 9
        assert done.returncode in (0, 9), done.stderr
        assert all(not damage(root, Name("tiny", number)) for number in numbers(root, "tiny"))
        assert set(before) <= set(numbers(root, "tiny"))
    assert died > 5
    assert measured("freeze", "tiny").returncode == 0
    assert numbers(root, "tiny") == [1]


def test_writers_at_once_get_numbers_of_their_own(tmp_path: Path) -> None:
    def write(number: int) -> Name:
        content = {"table.txt": f"writer {number}".encode()}
        sums = {name: {"sha256": freezing.sha256(text).hexdigest()} for name, text in content.items()}
        facts = {"format": FORMAT, "record_schema": SCHEMA, "suite": "tiny", "profile": "mini", "files": sums}
        name, new = freezing.publish(tmp_path, "tiny", content, facts)
        assert new
        return name

    with ThreadPoolExecutor(8) as pool:
        names = list(pool.map(write, range(16)))
    assert sorted(name.number for name in names) == list(range(1, 17)) == numbers(tmp_path, "tiny")
    assert all(damage(tmp_path, name) == [] for name in names)
    texts = {(tmp_path / "tiny" / f"v{n}" / "table.txt").read_text() for n in range(1, 17)}
    assert len(texts) == 16


def test_writers_of_the_same_at_once_make_one_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them have written their files before any is put in its place."""
    together = Barrier(8)
    into_place = freezing._into_place
    monkeypatch.setattr(freezing, "_into_place", lambda *arguments: (together.wait(20), into_place(*arguments))[1])
    sums = {"table.txt": {"sha256": freezing.sha256(b"same").hexdigest()}}
    facts = {"format": FORMAT, "record_schema": SCHEMA, "suite": "tiny", "profile": "mini", "files": sums}
    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(lambda _: freezing.publish(tmp_path, "tiny", {"table.txt": b"same"}, facts), range(8)))
    assert numbers(tmp_path, "tiny") == [1]
    assert {name for name, _ in done} == {V1}
    assert sum(new for _, new in done) == 1


# Verifying


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(FILES), st.floats(0, 1, exclude_max=True), st.integers(0, 7))
def test_one_flipped_bit_is_found(root: Path, file: str, place: float, bit: int) -> None:
    path = root / "tiny" / "v1" / file
    content = path.read_bytes()
    spoiled = bytearray(content)
    spoiled[int(place * len(content))] ^= 1 << bit
    path.write_bytes(spoiled)
    try:
        assert damage(root, V1)
        with pytest.raises(StoreError) as caught:
            load(root, V1)
        assert "tiny/v1" in str(caught.value)
    finally:
        path.write_bytes(content)
    assert damage(root, V1) == []


def test_every_byte_of_the_manifest_counts(root: Path) -> None:
    path = root / "tiny" / "v1" / MANIFEST
    content = path.read_bytes()
    for place in range(len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        assert damage(root, V1), place
    for length in range(0, len(content), 37):
        path.write_bytes(content[:length])
        assert damage(root, V1), length


def test_missing_extra_and_foreign_files_are_named(root: Path, bench: Bench) -> None:
    folder = root / "tiny" / "v1"
    (folder / "table.csv").unlink()
    (folder / "notes.txt").write_text("x")
    (folder / "table.md").unlink()
    (folder / "table.md").symlink_to("/etc/hostname")
    done = bench("verify", "--results", str(root))
    assert done.returncode == 1
    for expected in ("table.csv is missing", "notes.txt was not published", "table.md is not a file"):
        assert expected in done.stderr
    assert bench.json("verify", "tiny", "--results", str(root))["tiny/v1"]


def test_a_copy_under_another_number_is_not_that_version(root: Path) -> None:
    shutil.copytree(root / "tiny" / "v1", root / "tiny" / "v7")
    assert "published as tiny/v1" in damage(root, Name("tiny", 7))[0]


def test_a_damaged_version_is_refused_by_every_verb_in_one_sentence(measured: Bench) -> None:
    measured("freeze", "tiny")
    path = measured.folder / "results" / "tiny" / "v1" / "records.jsonl"
    path.chmod(0o644)
    path.write_bytes(path.read_bytes().replace(b'"seed"', b'"sead"', 1))
    for arguments in (("gate", "tiny", "--against", "v1"), ("diff", "tiny/v1", "store")):
        done = measured(*arguments)
        assert done.returncode == 2
        assert "results/tiny/v1: the version is damaged: records.jsonl" in sentence(done)


# Formats


def test_released_versions_are_read(root: Path, measured: Bench) -> None:
    version = load(root, V1)
    assert (version.profile, len(version.results)) == ("mini", 6)
    assert {record.stage for record in version.records} == {"fit", "evaluate"}
    assert version.verdicts[0]["verdict"] == "reproduced"
    done = measured("gate", "tiny", "--against", "v1", "--results", str(root))
    assert "Frozen numbers of tiny/v1: 2 passed" in done.stdout


@pytest.mark.parametrize("field", ["format", "record_schema"])
def test_a_newer_version_is_refused_in_one_sentence(root: Path, bench: Bench, field: str) -> None:
    path = root / "tiny" / "v1" / MANIFEST
    facts = json.loads(path.read_text())
    newer = {"format": FORMAT, "record_schema": SCHEMA}[field] + 1
    path.write_bytes(render_manifest({**facts, field: newer, "checksum": None}))
    done = bench("gate", "tiny", "--against", "v1", "--results", str(root))
    assert done.returncode == 2
    assert "newer version of bench" in sentence(done)


# Names

HOSTILE = [
    "../tiny/v1",
    "/etc/v1",
    "tiny/../tiny/v1",
    "tiny/v1/../../..",
    "tiny/v0",
    "tiny/v01",
    "tiny/v-1",
    "tiny/v" + "9" * 300,
    "a" * 300 + "/v1",
    "con/v1",
    "nul",
    "work/v1",
    "work",
    "ti\x00ny/v1",
    "tiny\n/v1",
    ".unfinished/v1",
    "",
    "v1",
    "$(touch x)/v1",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_no_name_leads_out_of_the_results_folder(root: Path, bench: Bench, text: str) -> None:
    before = sorted(path for path in root.parent.rglob("*"))
    for arguments in (("verify", text), ("diff", text, "store")):
        if text:
            assert bench(*arguments, "--results", str(root)).returncode == 2
    with pytest.raises(BenchError):
        find(root, text)
    assert sorted(path for path in root.parent.rglob("*")) == before


@given(st.text(max_size=40))
def test_any_text_is_a_name_inside_the_folder_or_refused(text: str) -> None:
    root = Path("/nowhere/results")
    try:
        folder = folder_of(root, text)
    except BenchError:
        return
    assert folder.parent == root
    assert folder.name == text


def test_links_are_not_followed_out_of_the_folder(root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    shutil.copytree(root / "tiny", outside)
    (root / "other").symlink_to(outside)
    with pytest.raises(StoreError, match="leads out"):
        numbers(root, "other")
    (root / "tiny" / "v2").symlink_to(outside / "v1")
    with pytest.raises(StoreError, match="link"):
        load(root, Name("tiny", 2))
    (root / "loop").symlink_to(root / "loop")
    with pytest.raises(BenchError):
        find(root, "loop/v1")


def test_a_suite_that_is_called_like_the_store_is_not_frozen(measured: Bench) -> None:
    text = measured.suite.read_text().replace("suite: tiny", "suite: work")
    (measured.suite.parent / "work.yaml").write_text(text)
    measured("run", "work", "--jobs", "0", "--quiet")
    assert "the store's" in sentence(measured("freeze", "work"))


def test_a_results_folder_that_cannot_be_used_is_one_sentence(measured: Bench) -> None:
    (measured.folder / "taken").write_text("a file")
    done = measured("freeze", "tiny", "--results", "taken")
    assert done.returncode == 2
    assert "taken" in sentence(done)
    assert measured("verify", "--results", "nowhere").returncode == 2


def test_names_are_read_in_all_their_forms(root: Path) -> None:
    for text in ("tiny/v1", "tiny", f"{root}/tiny/v1", f"{root}/tiny/v1/", "results/tiny/v1"):
        assert find(root, text) == V1
    assert find(root, "v1", "tiny") == find(root, "newest", "tiny") == V1
    assert published(root) == [V1]
    with pytest.raises(BenchError, match="it has v1"):
        find(root, "v2", "tiny")


def test_published_files_cannot_be_written_by_mistake(measured: Bench) -> None:
    measured("freeze", "tiny")
    for path in (measured.folder / "results" / "tiny" / "v1").iterdir():
        assert not os.stat(path).st_mode & 0o222
