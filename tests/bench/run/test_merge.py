"""Merging stores: nothing that is here is overwritten, and what contradicts it is shown wherever the number is."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from retable.bench.record import canonical
from retable.bench.run.merge import merge
from retable.bench.run.runs import Diary
from retable.bench.store.store import Store
from tests.bench.cli.test_runs import NOTE
from tests.bench.conftest import Bench

RUN = ("run", "suites/tiny.yaml", "--jobs", "0", "--quiet")


@pytest.fixture
def two(bench: Bench) -> Bench:
    """The same suite measured in `mine`, and copied to `theirs` as if another machine had measured it."""
    assert bench(*RUN, "--store", "mine").returncode == 0
    shutil.copytree(bench.folder / "mine", bench.folder / "theirs")
    return bench


def tamper(folder: Path, change: Callable[[dict[str, Any]], None], stage: str = "evaluate") -> None:
    """Change the first `high` record of a store so that its checksum holds."""
    with sqlite3.connect(folder / "records.sqlite") as connection:
        for identity, body in connection.execute("SELECT id, body FROM records").fetchall():
            record = json.loads(body)
            if (record["entry"], record["stage"]) == ("high", stage):
                change(record)
                text = canonical(record)
                values = (text, sha256(text.encode()).hexdigest(), identity)
                connection.execute("UPDATE records SET body = ?, checksum = ? WHERE id = ?", values)
                return


def another_number(record: dict[str, Any]) -> None:
    record["metrics"]["weight"]["value"] = 2.75


def test_records_of_another_machine_are_taken_over(bench: Bench) -> None:
    bench(*RUN, "--store", "theirs")
    done = bench("merge", "theirs", "--store", "mine")
    assert done.returncode == 0
    assert "12 records taken over" in done.stdout
    assert "0 cases executed, 6 cached" in bench(*RUN, "--store", "mine").stderr
    tables = [bench.json("table", "suites/tiny.yaml", "--store", name) for name in ("mine", "theirs")]
    assert tables[0] == tables[1]
    assert Store(bench.folder / "mine").damage() == []
    assert "12 were known" in bench("merge", "theirs", "--store", "mine").stdout


def test_a_contested_number_stays_and_is_shown(two: Bench) -> None:
    before = two.json("table", "suites/tiny.yaml", "--store", "mine")
    tamper(two.folder / "theirs", another_number)
    done = two("merge", "theirs", "--store", "mine")
    assert done.returncode == 1
    assert "1 contested" in done.stdout
    assert "contested: tiny/high/mini/0 evaluate: weight is 2.00203 here and 2.75 there" in done.stdout
    assert "`bench show SUITE/ENTRY` says whose they are" in done.stdout
    after = two.json("table", "suites/tiny.yaml", "--store", "mine")
    cells = {row["entry"]: row["cells"]["weight"] for row in after[0]["rows"]}
    assert cells["high"]["value"] == before[0]["rows"][1]["cells"]["weight"]["value"]
    assert "contested by 1 other machine, up to 0.7" in cells["high"]["reason"]
    assert "2.75 on" in cells["high"]["reason"]
    assert not cells["low"]["reason"]
    for form in ("terminal", "markdown", "latex"):
        assert "contested by 1 other machine" in two(
            "table", "suites/tiny.yaml", "--store", "mine", "--format", form
        ).stdout.replace("\n", " ")
    shown = two("show", "tiny/high", "--store", "mine").stdout
    assert "high/mini/0 evaluate: differs in weight on" in shown
    assert "weight is 2.00203 here and 2.75 there" in shown


def test_merging_again_changes_nothing_and_still_says_it(two: Bench) -> None:
    tamper(two.folder / "theirs", another_number)
    mine = Store(two.folder / "mine")
    for _ in range(2):
        found = merge(mine, Store(two.folder / "theirs", create=False))
        assert len(found.contested) == 1
    (key,) = {record.key for record in mine.every() if mine.others(record.key)}
    assert len(mine.others(key)) == 1
    assert mine.get(key).metrics["weight"].value != 2.75


def test_other_weights_are_contested_too_and_times_are_not(two: Bench) -> None:
    tamper(two.folder / "theirs", lambda record: record["artefacts"]["weights"].update(sha256="0" * 64), "fit")
    tamper(two.folder / "theirs", lambda record: record["timings"].update(wall=9.0))
    found = merge(Store(two.folder / "mine"), Store(two.folder / "theirs", create=False))
    (line,) = found.contested
    assert line.startswith("tiny/high/mini/0 fit: weights of other content")
    assert "000000000000 there" in line
    assert (found.agreed, found.taken) == (1, 0)


def test_what_is_damaged_stays_where_it_is(two: Bench) -> None:
    theirs = two.folder / "theirs"
    next((theirs / "artefacts").glob("*.safetensors")).write_bytes(b"?")
    with sqlite3.connect(theirs / "records.sqlite") as connection:
        connection.execute("UPDATE records SET body = body || ' ' WHERE id = 2")
    empty = Store(two.folder / "empty")
    found = merge(empty, Store(theirs, create=False))
    assert found.taken == 10
    assert any("fails its checksum" in line for line in found.refused)
    assert any("is missing or damaged" in line for line in found.refused)
    assert empty.damage() == []


def test_a_folder_without_a_store_is_a_usage_error(bench: Bench) -> None:
    done = bench("merge", "nowhere")
    assert done.returncode == 2
    assert "nowhere holds no store" in done.stderr


def test_numbers_that_six_digits_do_not_tell_apart_are_said_whole(two: Bench) -> None:
    tamper(two.folder / "theirs", lambda record: record["metrics"]["weight"].update(value=2.0020258426666664))
    done = two("merge", "theirs", "--store", "mine")
    here, there = done.stdout.partition("weight is ")[2].splitlines()[0].removesuffix(" there").split(" here and ")
    assert here != there
    assert float(there) == 2.0020258426666664


@pytest.mark.parametrize("others", [["mine"], ["../{folder}/mine"], ["theirs", "nowhere"], ["theirs", "foreign"]])
def test_nothing_is_taken_where_one_of_the_stores_is_none(bench: Bench, others: list[str]) -> None:
    assert bench(*RUN, "--store", "theirs").returncode == 0
    Store(bench.folder / "mine").close()
    (bench.folder / "foreign").mkdir()
    (bench.folder / "foreign" / "records.sqlite").write_text("no database")
    done = bench("merge", *(one.format(folder=bench.folder.name) for one in others), "--store", "mine")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert not list(Store(bench.folder / "mine", create=False).every())


def test_a_store_that_is_written_meanwhile_is_said(bench: Bench) -> None:
    Store(bench.folder / "theirs").close()
    ready, told = os.pipe()
    child = os.fork()
    if child == 0:
        Diary(bench.folder / "theirs", NOTE, total=2)
        os.write(told, b"!")
        signal.pause()
    os.read(ready, 1)
    done = bench("merge", "theirs", "--store", "mine")
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert done.returncode == 0
    assert "is still writing there: merge again when it has ended" in done.stderr
    assert not bench("merge", "theirs", "--store", "mine").stderr
