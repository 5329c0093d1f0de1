"""Tables and their renderings: nothing missing becomes a number, nothing hostile gets out."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.record import Measurement, Record, Status
from bench.report import latex, markdown, terminal
from bench.report.numbers import number
from bench.suite import Column, Component, Entry, Layout, Limits, Profile, Reported, Suite
from bench.table import Table, build_tables

HOSTILE = "$&%#_{}~^\\ <img onerror=x> </script> | `x` *b* -- \"q\" 'q' é ± — 中文 \U0001f600 \t\n\x00 \\input{x}"


def suite(labels: list[str], rows: tuple[str, ...] = ("*",), show: str = "both") -> Suite:
    entries = tuple(
        Entry(
            name=f"e{index}",
            label=label,
            group=label,
            reported={"score": Reported(value=None, text="not found")},
            method=Component(use="tiny"),
            task=Component(use="nothing"),
            metrics=("score",),
            repetitions=(0, 1, 2),
        )
        for index, label in enumerate(labels)
    )
    column = Column(label="Score", metric="score", show=show, format=".2f")
    return Suite(
        name="s",
        title="",
        paper="",
        arxiv="1",
        version=1,
        profile=Profile(name="mini", repetitions=(0, 1, 2), limits=Limits(timeout=1, memory=1)),
        profiles=("mini", "paper"),
        entries=entries,
        layouts=(Layout(name="t", title="T", rows=rows, columns=(column,), note="A note."),),
    )


def results(
    *rows: list[float | None], direction: str = "lower", reason: str = "no counter"
) -> dict[tuple[str, int], Record]:
    found = {}
    for index, values in enumerate(rows):
        for repetition, value in enumerate(values):
            measurement = Measurement(value=value, direction=direction, reason=None if value is not None else reason)
            found[f"e{index}", repetition] = Record(
                key=f"k{index}{repetition}",
                stage="evaluate",
                suite="s",
                entry=f"e{index}",
                profile="mini",
                repetition=repetition,
                seed=0,
                status=Status.OK,
                ingredients={},
                metrics={"score": measurement},
            )
    return found


def table(labels: list[str], *rows: list[float | None], **options: str) -> Table:
    return build_tables(suite(labels), results(*rows, **options))[0]


def test_a_cell_holds_mean_spread_and_the_records_behind_it() -> None:
    cell = table(["A"], [1.0, 2.0, 3.0]).rows[0].cells["score"]
    assert cell.value == 2.0
    assert cell.half_width == pytest.approx(2.9199855804 / 3**0.5)
    assert cell.records == ("k00", "k01", "k02")


def test_a_missing_value_is_an_em_dash_with_its_reason() -> None:
    made = table(["A", "B"], [None, None, None])
    for text in (terminal.render([made]), markdown.render([made])):
        assert "—" in text
        assert "no counter" in text
        assert "not run" in text
    cell = made.rows[0].cells["score"]
    assert cell.value is None
    assert "0.00" not in terminal.render([made])


def test_a_partly_missing_row_says_how_many_seeds_it_shows() -> None:
    cell = table(["A"], [1.0, None, 3.0]).rows[0].cells["score"]
    assert cell.value == 2.0
    assert cell.reason == "2 of 3 seeds: no counter"


def test_best_and_second_follow_the_direction_and_ties_share() -> None:
    def marks(direction: str) -> list[str]:
        rows = ([1.0] * 3, [2.0] * 3, [1.0] * 3, [3.0] * 3)
        return [row.cells["score"].mark for row in table(list("ABCD"), *rows, direction=direction).rows]

    assert marks("lower") == ["best", "second", "best", ""]
    assert marks("higher") == ["", "second", "", "best"]
    assert marks("none") == ["", "", "", ""]


def test_rows_are_chosen_by_globs_and_taken_out_by_the_later_one() -> None:
    chosen = build_tables(suite(["A", "B", "C"], rows=("*", "!e1")), {})[0]
    assert [row.entry for row in chosen.rows] == ["e0", "e2"]


@pytest.mark.parametrize(
    ("value", "form", "text"),
    [(147622080, "si", "147.6M"), (1.336e9, "si", "1.336B"), (12.0, ",d", "12"), (3.14159, ".2f", "3.14")],
)
def test_number_formats(value: float, form: str, text: str) -> None:
    assert number(value, form) == text


@given(st.lists(st.text(max_size=12), min_size=1, max_size=4))
def test_terminal_columns_end_where_they_should(labels: list[str]) -> None:
    made = build_tables(suite(labels), results(*[[1.0, 1.0, 1.0]] * len(labels)))[0]
    lines = [line for line in terminal.render([made]).splitlines() if re.search(r"± 0\.00\*?$", line)]
    assert len(lines) >= len(labels)
    assert len({terminal._width(line) for line in lines}) == 1


@given(st.lists(st.text(max_size=12), min_size=1, max_size=4))
def test_markdown_rows_have_one_shape(labels: list[str]) -> None:
    made = build_tables(suite(labels), results(*[[1.0, 1.0, 1.0]] * len(labels)))[0]
    rows = [line for line in markdown.render([made]).splitlines() if line.startswith("|")]
    assert len(rows) == len(labels) + 2
    assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) == 1


def test_markdown_shows_html_as_text() -> None:
    text = markdown.render([table([HOSTILE], [1.0, 1.0, 1.0])])
    assert "<img" not in text
    assert "&lt;img" in text


@given(st.text(max_size=40))
def test_latex_leaves_no_special_unescaped(text: str) -> None:
    bare = re.sub(r"\\text[a-z]+\{\}|\\ensuremath\{\\pm\}|\\[{}$&%#_]|\{-\}", "", latex.escape(text))
    assert not set(bare) & set("\\{}$&%#_~^<>|\"'`")
    assert all(" " <= char <= "ÿ" for char in bare)


def test_latex_is_a_function_of_its_input() -> None:
    one, two = (latex.render([table(["A", "B"], [1.0, 2.0, 3.0], [2.0, 2.0, 2.1])]) for _ in range(2))
    assert one == two
    assert r"\textbf{" in one
    assert r"\toprule" in one


def test_the_latex_document_compiles(tmp_path: Path) -> None:
    text = latex.document([table([HOSTILE, "B"], [1.0, 2.0, 3.0], [None, None, None], reason=HOSTILE)])
    assert text.count(r"\begin{") == text.count(r"\end{")
    if shutil.which("pdflatex") is None:
        return  # the escapes are checked above; CI machines with TeX compile as well
    (tmp_path / "t.tex").write_text(text, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout[-2000:]
