"""Rows that are equal, or have been given another name, keep their numbers."""

from __future__ import annotations

import csv
from io import StringIO

import pytest

from retable.bench.versions.versions import Name, load
from tests.bench.conftest import Bench

HIGH = "  - {name: high, label: High, group: Ours, method: high, reported: {weight: not found}}\n"
AGAIN = "  - {name: again, label: Again, group: Ours, method: high}\n"


@pytest.fixture
def frozen(bench: Bench) -> Bench:
    assert bench("run", "tiny", "--jobs", "0", "--quiet").returncode == 0
    assert bench("freeze", "tiny").returncode == 0
    return bench


def rows(bench: Bench, *arguments: str) -> dict[str, str]:
    lines = list(csv.reader(StringIO(bench("table", "tiny", "--format", "csv", *arguments).stdout)))
    return {line[lines[0].index("entry")]: line[lines[0].index("measured")] for line in lines[1:]}


def test_of_two_equal_rows_a_version_holds_both(bench: Bench) -> None:
    bench.edit(HIGH, HIGH + AGAIN)
    bench("run", "tiny", "--jobs", "0", "--quiet")
    assert bench("freeze", "tiny").returncode == 0
    version = load(bench.folder / "results", Name("tiny", 1))
    assert {(entry, repetition) for entry, repetition in version.results if entry != "low"} == {
        (entry, repetition) for entry in ("high", "again") for repetition in range(3)
    }
    shown = rows(bench, "--from", "v1")
    assert shown["again"] == shown["high"] != ""
    assert bench("show", "tiny/again").returncode == bench("show", "tiny/again", "--from", "v1").returncode == 0
    assert bench("gate", "tiny", "--against", "newest").returncode == 0


def test_a_row_that_came_later_and_is_declared_like_another_has_its_frozen_numbers(frozen: Bench) -> None:
    frozen.edit(HIGH, HIGH + AGAIN)
    shown = rows(frozen, "--from", "v1")
    assert shown["again"] == shown["high"] != ""
    assert "again is measured as high was in tiny/v1" in frozen("table", "tiny", "--from", "v1").stderr


def test_a_renamed_row_is_the_same_row(frozen: Bench) -> None:
    before = rows(frozen)["high"]
    frozen.edit("name: high, label", "name: tall, label")
    frozen.edit("[low, high]", "[low, tall]")
    assert rows(frozen)["tall"] == rows(frozen, "--from", "v1")["tall"] == before
    shown = frozen("show", "tiny/tall")
    assert "tiny/tall at profile mini" in shown.stdout, shown.stderr
    held = frozen("gate", "tiny", "--against", "newest")
    assert held.returncode == 0, held.stdout
    assert frozen("gate", "tiny", "--against", "newest", "--only", "low").returncode == 0
    frozen.edit("level: 2.0", "level: 3.0")
    assert "the suite does not measure it any more" in frozen("gate", "tiny", "--against", "newest").stdout
