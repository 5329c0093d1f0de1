"""Exports: every format of `bench table` holds every cell, and nothing in a cell can end it."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from io import BytesIO, StringIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retable.bench.cli.main import FORMATS
from retable.bench.report import STYLES, as_csv, as_parquet, styles
from retable.bench.report.escape import clean
from retable.bench.report.flat import COLUMNS
from retable.bench.report.table import Table
from tests.bench.conftest import Bench
from tests.bench.report.made_tables import HOSTILE, table

texts = st.text(max_size=16) | st.sampled_from(
    [HOSTILE, "|", "||", "\t", "=1+1", "-2", "+", "@x", "|-", "!x", "\\", "====", "a  b"]
)


def made(*labels: str) -> Table:
    return table(labels, *[[1.0, 1.1, 1.3]] * (len(labels) - 1))


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_of_the_command_holds_the_values(bench: Bench, form: str) -> None:
    assert bench("run", "tiny", "--jobs", "0", "--quiet").returncode == 0
    done = bench("table", "tiny", "--format", form, "--output", "table.out")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    content = (bench.folder / "table.out").read_bytes()
    if form != "parquet":
        text = content.decode()
        text = text.replace(" & .", ".") if form == "latex" else text  # numbers stand point below point
        assert text.endswith("\n")
        assert all(expected in text for expected in ("High", "Low", "Cited", "3.5"))


def test_parquet_needs_a_file_and_pyarrow(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    assert bench("run", "tiny", "--jobs", "0", "--quiet").returncode == 0
    done = bench("table", "tiny", "--format", "parquet")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--output" in done.stderr
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    done = bench("table", "tiny", "--format", "parquet", "--output", "x")
    assert done.returncode == 2
    assert 'pip install -e ".[export]"' in done.stderr


def test_json_by_format_and_by_flag_are_the_same(bench: Bench) -> None:
    assert bench("table", "tiny", "--format", "json").stdout == bench("table", "tiny", "--json").stdout
    assert json.loads(bench("table", "tiny", "--json").stdout)[0]["name"] == "weights"


class TestFlat:
    @given(st.lists(texts, min_size=2, max_size=4))
    def test_csv_reads_back_and_no_text_is_a_formula(self, labels: list[str]) -> None:
        rows = list(csv.DictReader(StringIO(as_csv.render([made(*labels)]), newline="")))
        assert [row["label"].removeprefix("'") for row in rows] == [clean(label).removeprefix("'") for label in labels]
        for row in rows:
            assert not any(row[name].startswith(("=", "+", "-", "@")) for name, kind in COLUMNS.items() if kind is str)

    def test_a_negative_number_stays_a_number(self) -> None:
        (row, _) = csv.DictReader(StringIO(as_csv.render([table(["A", "B"], [-1.0, -1.0, -1.0])])))
        assert row["measured"] == "-1.0"

    @given(st.lists(texts, min_size=2, max_size=4))
    def test_parquet_reads_back_with_types_and_nulls(self, labels: list[str]) -> None:
        parquet = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow")
        read = parquet.read_table(BytesIO(as_parquet.render([made(*labels)])))
        assert read.column_names == list(COLUMNS)
        rows = read.to_pylist()
        assert [row["label"] for row in rows] == list(map(clean, labels))
        assert [row["measured"] is None for row in rows] == [False] * (len(labels) - 1) + [True]
        assert rows[0]["records"] == ["k00", "k01", "k02"]
        assert rows[0]["reported"] is None
        assert rows[-1]["seeds"] is None

    def test_no_cells_are_an_empty_file_with_its_columns(self) -> None:
        parquet = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow")
        assert parquet.read_table(BytesIO(as_parquet.render([]))).num_rows == 0
        assert as_csv.render([]).strip().split(",") == list(COLUMNS)


class TestStyles:
    def test_the_commands_formats_are_tabulates(self) -> None:
        import tabulate

        assert set(STYLES) <= set(tabulate.tabulate_formats)
        assert set(STYLES) < set(FORMATS)

    @pytest.mark.parametrize("style", STYLES)
    @given(label=texts)
    def test_a_label_changes_neither_rows_nor_columns(self, style: str, label: str) -> None:
        calm, wild = (styles.render([replace(made(name, "B"), note="")], style) for name in ("x", label))
        assert wild.count("\n") == calm.count("\n")
        ends = {"github": r" |", "pipe": " |", "mediawiki": "||", "tsv": "\t", "orgtbl": "|"}.get(style)
        if ends:
            bare = wild.replace(r"\|", "")
            assert bare.count(ends) == calm.count(ends)

    def test_github_rows_are_what_markdown_shows(self) -> None:
        lines = styles.render([made("a|b", "c")], "github").splitlines()
        (row,) = [line for line in lines if line.startswith("| a")]
        assert r"a\|b" in row


def test_output_goes_where_it_is_told(bench: Bench, tmp_path: Path) -> None:
    done = bench("table", "tiny", "--format", "csv", "--output", "missing/folder/t.csv")
    assert done.returncode == 2
    assert "missing/folder/t.csv" in done.stderr
