"""`retable.load`: suites, stores and versions in Python, as records, DataFrames and Parquet; the notebook that shows it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

import retable
from retable.bench.errors import BenchError
from tests.bench.conftest import Bench

PROJECT = Path(__file__).parents[3]
NOTEBOOK = PROJECT / "examples" / "notebook" / "from_python.ipynb"


@pytest.fixture
def ran(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Bench:
    bench("run", "tiny", "--jobs", "0", "--quiet")
    monkeypatch.chdir(bench.folder)
    return bench


def test_a_suite_a_store_and_a_version_give_the_same_rows(ran: Bench) -> None:
    ran("freeze", "tiny")
    suite, store, version = (list(retable.load(what).rows()) for what in ("tiny", "results/work", "tiny/v1"))
    assert len(suite) == 6  # two rows, three seeds, one metric

    def numbers(rows: list[dict]) -> list[tuple]:
        return sorted((row["entry"], row["repetition"], row["metric"], row["value"], row["key"]) for row in rows)

    assert numbers(suite) == numbers(store) == numbers(version)
    assert {row["version"] for row in version} == {"v1"}
    low = next(row for row in suite if row["entry"] == "low")
    assert (low["label"], low["group"], low["reported"]) == ("Low", "Ours", 1.0)
    assert json.loads(low["parameters"])["method"]["level"] == 1.0
    assert retable.load("suites/tiny.yaml").records[0].seed == suite[0]["seed"]


def test_a_data_frame_and_a_parquet_file_have_types_and_nulls(ran: Bench) -> None:
    pandas = pytest.importorskip("pandas")
    loaded = retable.load("tiny")
    frame = loaded.to_pandas()
    assert frame.groupby("entry")["value"].mean().round(1).to_dict() == {"low": 1.0, "high": 2.0}
    assert frame["version"].isna().all()
    assert str(frame.dtypes["repetition"]) == "Int64"
    pytest.importorskip("pyarrow")
    loaded.to_parquet("numbers.parquet")
    read = pandas.read_parquet("numbers.parquet")
    assert list(read.columns) == list(frame.columns)
    assert read["value"].tolist() == frame["value"].tolist()


def test_what_is_not_there_is_a_row_with_its_reason(ran: Bench) -> None:
    ran.edit("level: 2.0", "level: 2.0, behaviour: raises")
    ran("run", "tiny", "--jobs", "0", "--quiet")
    rows = [row for row in retable.load("tiny").rows() if row["entry"] == "high"]
    assert len(rows) == 3
    assert all(row["value"] is None and "own mistake" in row["reason"] for row in rows)


def test_what_is_none_of_these_is_one_sentence(ran: Bench) -> None:
    with pytest.raises(BenchError, match="no version of nowhere is published"):
        retable.load("nowhere")


def test_the_notebook_runs_as_it_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cell by cell in one namespace, from its own folder; what it claims to show it shows."""
    pytest.importorskip("pandas")
    monkeypatch.chdir(NOTEBOOK.parent)
    monkeypatch.setitem(os.environ, "MPLBACKEND", "agg")
    cells = [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]
    space: dict = {}
    for number, cell in enumerate(cells):
        exec(compile("".join(cell["source"]), f"cell {number}", "exec"), space)
    assert len(space["frame"]) > 100
    assert {"mini-aim", "mini-transformer"} <= set(space["fid"].index)
