"""Tables: what a cell holds, what it says where it holds nothing, and which value is best."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retable.bench.record import Direction, Measurement, Status
from retable.bench.report.as_json import tables_to_json
from retable.bench.report.numbers import measured
from retable.bench.report.table import Cell, build_tables
from retable.bench.suite import Column, Component, Reported
from tests.bench.report.made_tables import SCORE, entry, record, results, suite, table


def score(*values: float | None, **fields: Direction | str) -> Cell:
    return table(["A"], values, **fields).rows[0].cells["score"]


def marks(*rows: list[float], **fields: Direction) -> list[str]:
    made = table([f"row {index}" for index in range(len(rows))], *rows, **fields)
    return [row.cells["score"].mark for row in made.rows]


def test_a_cell_holds_mean_spread_and_the_records_behind_it() -> None:
    cell = score(1.0, 2.0, 3.0)
    assert cell.value == 2.0
    assert cell.half_width == pytest.approx(2.9199855804 / 3**0.5)
    assert cell.n == 3
    assert cell.records == ("k00", "k01", "k02")


def test_one_seed_and_exact_numbers_have_no_spread() -> None:
    one = build_tables(suite([entry(0, "A", repetitions=(0,))]), results([1.5]))[0].rows[0].cells["score"]
    assert (one.value, one.half_width, one.n, one.reason) == (1.5, None, 1, "")
    exact = table(["A"], [7.0, 7.0, 7.0], exact=True).rows[0].cells["score"]
    assert (exact.value, exact.half_width) == (7.0, None)


def test_exact_numbers_that_differ_are_no_number() -> None:
    cell = table(["A"], [7.0, 7.0, 8.0], exact=True).rows[0].cells["score"]
    assert cell.value is None
    assert "exact" in cell.reason


@pytest.mark.parametrize("missing", [None, float("nan"), float("inf")])
def test_a_partly_missing_row_says_how_many_seeds_it_shows(missing: float | None) -> None:
    cell = score(1.0, missing, 3.0)
    assert cell.value == 2.0
    assert cell.n == 2
    assert cell.reason.startswith("2 of 3 seeds: ")


@given(st.lists(st.none() | st.floats(), min_size=3, max_size=3))
def test_a_cell_holds_a_number_or_says_why_not(values: list[float | None]) -> None:
    cell = score(*values)
    assert cell.value is not None or cell.reason
    assert cell.value is not None or cell.mark == ""
    json.dumps(tables_to_json([table(["A"], values)]), allow_nan=False)


def test_absent_cells_say_why() -> None:
    entries = [
        entry(0, "not run"),
        entry(1, "failed"),
        entry(2, "needs paper", metrics=("other",), reported={"score": Reported(value=3.5, text="3.50")}),
        entry(3, "unplanned", metrics=("other",), reported={}),
        entry(4, "cited", method=None, metrics=()),
    ]
    failed = {("e1", 0): record(1, 0, status=Status.MISSING, message="put the weights there\nTraceback")}
    cells = [row.cells["score"] for row in build_tables(suite(entries), failed)[0].rows]
    assert [cell.value for cell in cells] == [None] * 5
    assert [cell.reason for cell in cells] == [
        "not run",
        "missing: put the weights there",
        "needs profile paper",
        "not measured by this row",
        "",
    ]
    assert cells[1].records == ("k10",)


def test_numbers_of_a_case_that_failed_are_not_shown() -> None:
    found = results([1.0, 1.0, 1.0])
    found = {key: replace(one, status=Status.TIMEOUT) for key, one in found.items()}
    cell = build_tables(suite([entry(0, "A")]), found)[0].rows[0].cells["score"]
    assert (cell.value, cell.reason) == (None, "timeout")


def test_a_metric_that_failed_leaves_the_others_their_cells() -> None:
    measured = {"score": Measurement(value=1.0), "other": Measurement(value=None, reason="failed: no such thing")}
    results = {("e0", n): record(0, n, status=Status.FAILED, message="no such thing", **measured) for n in range(3)}
    made = suite([entry(0, "a", metrics=("score", "other"))], SCORE, Column(label="Other", metric="other"))
    cells = build_tables(made, results)[0].rows[0].cells
    assert cells["score"].value == 1.0
    assert (cells["other"].value, cells["other"].reason) == (None, "failed: no such thing")


def test_rows_of_other_versions_of_torch_or_numpy_are_named() -> None:
    made = suite([entry(0, "a"), entry(1, "b"), entry(2, "c")])
    facts = {
        name: {"software": {"packages": {"torch": torch, "numpy": "2.4.6", "numba": torch}}}
        for name, torch in (("old", "2.13.0"), ("new", "2.14.1"))
    }
    results = {
        (f"e{row}", n): replace(record(row, n, score=Measurement(value=1.0)), environment="old" if row == 1 else "new")
        for row in range(3)
        for n in range(3)
    }
    note = build_tables(made, results, facts.get)[0].note
    assert note.startswith("A note.; rows of this table were measured with different versions")
    assert "torch 2.13.0, numpy 2.4.6: e1" in note
    assert "torch 2.14.1, numpy 2.4.6: e0, e2" in note
    one = {place: replace(found, environment="new") for place, found in results.items()}
    assert build_tables(made, one, facts.get)[0].note == "A note."


def test_a_paper_run_never_points_to_another_profile() -> None:
    one = entry(0, "A", metrics=("other",), reported={"score": Reported(value=3.5, text="3.50")})
    assert (
        build_tables(suite([one], profile="paper"), {})[0].rows[0].cells["score"].reason == "not measured by this row"
    )


def test_best_and_second_follow_the_direction_and_ties_share() -> None:
    rows = ([1.0, 1.1, 0.9], [2.0, 2.1, 1.9], [1.0, 1.1, 0.9], [3.0, 3.1, 2.9])
    assert marks(*rows, direction="lower") == ["best", "second", "best", ""]
    assert marks(*rows, direction="higher") == ["", "second", "", "best"]
    assert marks(*rows, direction="none") == ["", "", "", ""]


def test_what_is_last_is_not_second() -> None:
    assert marks([1.0] * 3, [2.0] * 3, direction="lower") == ["best", ""]
    assert marks([1.0] * 3, [2.0] * 3, [2.0] * 3, direction="lower") == ["best", "", ""]
    assert marks([1.0] * 3, [1.0] * 3, [2.0] * 3, [3.0] * 3, direction="lower") == ["best", "best", "second", ""]


@given(st.lists(st.floats(-100, 100).map(lambda value: round(value, 1)), min_size=1, max_size=6))
def test_nothing_unmarked_is_better_than_the_best(values: list[float]) -> None:
    found = marks(*[[value] * 3 for value in values], direction="lower")
    best = {value for value, mark in zip(values, found, strict=True) if mark == "best"}
    assert best == ({min(values)} if len(set(values)) > 1 else set())


def test_a_tie_is_what_looks_like_one_and_a_sign_is_none() -> None:
    assert marks([0.831] * 3, [0.834] * 3, [0.9] * 3, [1.0] * 3) == ["best", "best", "second", ""]
    assert marks([-1.0] * 3, [1.0] * 3) == ["best", ""]
    assert marks([-0.0] * 3, [0.0] * 3, [1.0] * 3, [2.0] * 3) == ["best", "best", "second", ""]


def test_a_papers_value_is_never_ranked_against_ours() -> None:
    better = entry(1, "cited", method=None, metrics=(), reported={"score": Reported(value=0.1, text="0.1")})
    rows = build_tables(suite([entry(0, "A"), better, entry(2, "C")]), results([1.0] * 3, [], [2.0] * 3))[0].rows
    assert [row.cells["score"].mark for row in rows] == ["best", "", ""]


def test_exact_numbers_have_no_rank() -> None:
    made = table(["A", "B"], [1.0] * 3, [2.0] * 3, exact=True)
    assert [row.cells["score"].mark for row in made.rows] == ["", ""]


def test_only_what_was_measured_alike_is_compared() -> None:
    entries = [
        entry(index, "A", dataset=Component(use="digits", params={"size": size}))
        for index, size in enumerate([8, 8, 16])
    ]
    rows = build_tables(suite(entries), results([1.0] * 3, [2.0] * 3, [0.5] * 3))[0].rows
    assert [row.cells["score"].mark for row in rows] == ["best", "", ""]
    found = results([1.0] * 3, [2.0] * 3, n=500) | {("e1", i): record(1, i, score=one) for i, one in enumerate(_few())}
    rows = build_tables(suite([entry(0, "A"), entry(1, "B")]), found)[0].rows
    assert [row.cells["score"].mark for row in rows] == ["", ""]


def _few() -> list[Measurement]:
    return [Measurement(value=2.0, direction="lower", n=50)] * 3


def test_two_columns_of_one_metric_do_not_empty_each_other() -> None:
    columns = (
        Column(label="paper", metric="score", show="reported"),
        Column(label="here", metric="score", show="measured"),
    )
    one = entry(0, "A", reported={"score": Reported(value=148e6, text="148M")})
    cell = build_tables(suite([one], *columns), results([1.0, 2.0, 3.0]))[0].rows[0].cells["score"]
    assert cell.reported == Reported(value=148e6, text="148M")
    assert cell.value == 2.0


def test_real_against_real_is_kept_beside_the_value() -> None:
    assert table(["A"], [1.0, 2.0, 3.0], floor=0.5).rows[0].cells["score"].floor == 0.5


def test_rows_are_chosen_by_globs_and_taken_out_by_the_later_one() -> None:
    entries = [entry(index, "A") for index in range(3)]
    chosen = build_tables(suite(entries, SCORE, rows=("*", "!e1")), {})[0]
    assert [row.entry for row in chosen.rows] == ["e0", "e2"]


def test_every_layout_is_a_table_of_its_profile() -> None:
    one = suite([entry(0, "A")])
    two = replace(one, layouts=(*one.layouts, replace(one.layouts[0], name="u")))
    assert [(made.name, made.profile) for made in build_tables(two, {})] == [("t", "mini"), ("u", "mini")]


@pytest.mark.parametrize(
    ("half", "form", "text"),
    [
        (3e-5, ".4f", "0.5127 ± <0.0001"),
        (0.0, ".4f", "0.5127 ± 0.0000"),
        (2e-4, ".1%", "51.3% ± <0.1%"),
        (0.3, "d", "1 ± <1"),
    ],
)
def test_a_half_width_below_the_last_digit_is_not_said_to_be_zero(half: float, form: str, text: str) -> None:
    cell = Cell(value=0.51274, half_width=half, n=3, exact=False)
    assert measured(cell, Column(label="x", metric="x", format=form)) == text
