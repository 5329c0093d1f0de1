"""LaTeX to paste into a paper: digits, units, arrows, marks, differences, notes, and pages that nothing runs out of."""

from __future__ import annotations

import math
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retable.bench.declare.reader import load_suite
from retable.bench.report import latex
from retable.bench.report.digits import digits, scale
from retable.bench.report.fit import fit, parts
from retable.bench.report.sheet import Print, sheet
from retable.bench.report.table import Table, build_tables
from retable.bench.suite import Column, Reported
from retable.bench.versions import versions
from tests.bench.conftest import Bench
from tests.bench.report.made_tables import SCORE, entry, results, suite
from tests.tools import TEX

PROJECT = Path(__file__).parents[3]


def made(*rows: list[float], columns: tuple[Column, ...] = (SCORE,), **fields: object) -> Table:
    entries = [entry(index, "ABCD"[index], group="ours" if index < 2 else "theirs") for index in range(len(rows))]
    return build_tables(suite(entries, *columns), results(*rows, **fields))[0]


@pytest.mark.parametrize(
    ("value", "half", "form", "mean", "shown"),
    [
        (93.123, 0.4567, ".2f", "93.1", "0.5"),
        (93.123, 0.1567, ".1f", "93.12", "0.16"),
        (0.00354, 0.000000001, ".5f", "0.0035400", ""),
        (12345.6, 678.9, ".4g", "12300", "700"),
        (109483778.0, 1234567.0, "si", "109.5M", "1.2M"),
        (3.25, None, ".1f", "3.2", ""),
        (0.0, 0.2, ".2f", "0.00", "0.20"),
    ],
)
def test_digits_are_those_that_the_interval_allows(
    value: float, half: float | None, form: str, mean: str, shown: str
) -> None:
    found = digits(value, half, form)
    assert (found.mean, found.half) == (mean, shown)


@given(st.floats(1e-3, 1e6), st.floats(1e-6, 1e5))
def test_a_mean_and_its_half_width_end_at_the_same_digit(value: float, half: float) -> None:
    found = digits(value, half, ".4g")
    if found.half:
        assert len(found.mean.partition(".")[2]) == len(found.half.partition(".")[2])
        places = len(found.half.partition(".")[2])
        unit = 10.0**-places if places else 10.0 ** math.ceil(math.log10(max(1.0, half)))
        assert abs(float(found.half) - half) <= 0.5001 * unit
        assert abs(float(found.mean) - value) <= 0.5001 * unit


def test_units_are_scaled_and_what_has_none_gets_a_power() -> None:
    assert scale("Energy (mJ)", [0.0035, 0.0012]).label == "Energy (µJ)"
    assert scale("Energy (mJ/sample)", [0.0035]).factor == 1e3
    assert scale("mJ, rule full", [0.0035]).label == "µJ, rule full"
    assert scale("Decode (ms)", [4200.0, 3900.0]).label == "Decode (s)"
    assert scale("Gap", [3e-5]).power == -6
    assert scale("Accuracy (%)", [0.5, 99.0]).factor == 1.0


def test_numbers_of_a_paper_keep_its_unit() -> None:
    both = Column(label="Energy (mJ)", metric="score", format=".4f")
    table = made([0.001, 0.0011, 0.0012], columns=(both,))
    assert "(mJ)" in latex.render([table])
    ours = replace(both, show="measured")
    assert r"(\ensuremath{\mu}J)" in latex.render([made([0.001, 0.0011, 0.0012], columns=(ours,))])


def test_numbers_stand_point_below_point_with_marks_and_notes() -> None:
    text = latex.render([made([-1.0, -1.1, -1.2], [2.0, 2.1, 2.2], [3.0, 3.1, 3.2])])
    assert r"\textbf{\ensuremath{-}1} & \textbf{.10}\,\ensuremath{\pm}\,0.17" in text
    assert r"\underline{2} & \underline{.10}\,\ensuremath{\pm}\,0.17" in text
    assert r"\begin{tabular}{llr@{}lr@{}l}" in text
    assert r"\label{tab:s-t}" in text
    assert "resizebox" not in text
    columns = {line.count("&") + line.count(r"\multicolumn{2}") for line in text.splitlines() if line.endswith(r"\\")}
    assert columns == {2, 5}  # the heads span, the body has a column on each side of every point


def test_numbers_of_several_units_end_below_each_other_instead() -> None:
    reported = Column(label="Params", metric="score", show="reported")

    def quoted(*texts: str) -> str:
        values = [Reported(value=1.0, text=text) for text in texts]
        rows = [entry(i, "AB"[i], method=None, metrics=(), reported={"score": one}) for i, one in enumerate(values)]
        return latex.render(build_tables(suite(rows, reported), {}))

    assert r"310M &  \\" in quoted("310M", "1.4B")
    assert r"1.4B &  \\" in quoted("310M", "1.4B")
    assert r"310 & M" in quoted("310M", "1.4M")
    assert "profile" not in quoted("310M"), "what is only quoted was measured at no profile"


def test_numbers_stand_under_the_middle_of_a_wider_head() -> None:
    def spec(label: str, *values: list[float]) -> str:
        text = latex.render([made(*values, columns=(Column(label=label, metric="score", show="measured"),))])
        return next(line for line in text.splitlines() if line.startswith(r"\begin{tabular}"))

    wide = spec("A head of many letters", [1.0, 1.1, 1.2], [2.0, 2.1, 2.2])
    assert float(re.findall(r"hspace\{([\d.]+)pt", wide)[0]) == pytest.approx(30, abs=8)
    assert "hspace" not in spec("A", [1.0, 1.1, 1.2], [2.0, 2.1, 2.2])


def test_what_seeds_cannot_tell_apart_shares_a_mark() -> None:
    table = made([1.0, 3.0, 2.0], [1.1, 3.3, 1.9], [9.0, 11.0, 10.1], [99.0, 99.5, 99.8])
    assert [row.cells["score"].mark for row in table.rows] == ["best", "best", "second", ""]
    assert "cannot tell" in latex.render([table])


def test_a_lower_bound_is_not_best_where_what_it_lacks_could_change_that() -> None:
    def marks(lacking: float) -> list[str]:
        table = made([1.0] * 3, [1.2] * 3, details={"at_least": lacking})
        return [row.cells["score"].mark for row in table.rows]

    assert marks(0.01) == ["best", ""]
    assert marks(0.5) == ["", ""]


def test_differences_to_a_baseline_are_paired_and_starred_where_they_leave_0_out() -> None:
    table = made([1.0, 2.0, 3.0], [1.5, 2.6, 3.4], [1.1, 1.8, 3.2])
    text = latex.render([table], Print(baseline="e0"))
    assert "Δ" not in text  # it is written as LaTeX has it
    assert r"\ensuremath{+}0 & .50\textsuperscript{*}" in text
    assert re.search(r"0 & \.0\d*(?!\\textsuperscript)", text)
    assert "difference to A over equal seeds" in text


def test_a_title_that_has_a_number_is_told_with_its_source() -> None:
    table = replace(made([1.0] * 3), title="Table 2: scores of all", arxiv="2408.12245")
    assert r"\caption{Scores of all (Table 2 of the paper; suite s, arXiv 2408.12245, profile mini)}" in latex.render(
        [table]
    )
    own = latex.render([table], Print(caption="Mine", label="tab:mine"))
    assert r"\caption{Mine}\label{tab:mine}" in own
    assert "profile mini" in own  # a mini number never stands alone


def test_transposed_it_holds_the_same_numbers() -> None:
    table = made([1.0, 1.1, 1.2], [2.0, 2.1, 2.2])
    plain, turned = (latex.render([table], Print(transpose=value)) for value in (False, True))
    pattern = re.compile(r"\{?(\d+)\}? & (?:\\\w+\{)?(\.\d+)")
    assert sorted(pattern.findall(plain)) == sorted(pattern.findall(turned))
    assert "Score, here" in turned


def test_arrows_follow_the_metric_and_groups_stand_above_their_columns() -> None:
    columns = tuple(
        Column(label=label, metric=metric, show="reported", group=group)
        for label, metric, group in (("Acc.", "accuracy", "Quality"), ("FID ↓", "fid", "Quality"), ("N", "params", ""))
    )
    numbers = {name: Reported(value=1.0, text="1.0") for name in ("accuracy", "fid", "params")}
    table = build_tables(suite([entry(0, "A", method=None, metrics=(), reported=numbers)], *columns), {})[0]
    text = latex.render([table])
    assert r"Acc. \ensuremath{\uparrow}" in text
    assert text.count("downarrow") == 1
    assert r"\multicolumn{4}{c}{Quality}" in text
    assert r"\cmidrule(lr){3-6}" in text


@given(st.integers(1, 14), st.integers(1, 120), st.floats(200, 700))
def test_every_number_is_printed_once_whatever_the_width(columns: int, rows: int, width: float) -> None:
    heads = tuple(Column(label=f"Column number {index}", metric="score", show="measured") for index in range(columns))
    entries = [entry(index, f"row {index}", group=str(index // 7)) for index in range(rows)]
    one = sheet(build_tables(suite(entries, *heads), results(*[[1.0, 1.1, 1.2]] * rows))[0], Print())
    page = fit(one, width)
    found = [
        (line.label, place)
        for part, own in parts(one, page)
        for line in part.lines
        for block in own.blocks
        for place in block
    ]
    assert sorted(found) == sorted((line.label, place) for line in one.lines for place in range(columns))
    assert page.size in ("normalsize", "small", "footnotesize")


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason=TEX.missing())
def test_tables_of_published_versions_run_out_of_no_page(tmp_path: Path) -> None:
    tables = []
    for name in ("table2_aim", "table_survey", "table_spikelm", "table1_ept"):
        version = versions.load(PROJECT / "results", versions.find(PROJECT / "results", name))
        tables += build_tables(
            load_suite(PROJECT / "suites" / f"{name}.yaml"), version.results, version.environments.get
        )
    (tmp_path / "t.tex").write_text(latex.document(tables), encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-draftmode", "t.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout[-2000:].decode(errors="replace")
    log = (tmp_path / "t.log").read_text(errors="replace")
    assert "Overfull \\hbox" not in log
    assert "Float too large" not in log


def test_the_command_chooses_tables_rows_and_columns(bench: Bench) -> None:
    bench("run", "tiny", "--jobs", "0", "--quiet")
    text = bench(
        "table", "tiny", "--format", "latex", "--row", "!cited", "--baseline", "low", "--label", "tab:x"
    ).stdout
    assert "Cited" not in text
    assert r"\label{tab:x}" in text
    assert r"\textsuperscript{*}" in text
    done = bench("table", "tiny", "--format", "latex", "--output", "tables/")
    assert done.stdout.split() == ["tables/weights.tex"]
    assert (bench.folder / "tables" / "weights.tex").read_text().startswith(r"\begin{table}")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--table", "weigths"), "did you mean 'weights'"),
        (("--row", "lwo"), "did you mean 'low'"),
        (("--column", "Wieght"), "did you mean 'Weight'"),
        (("--baseline", "hihg", "--format", "latex"), "did you mean 'high'"),
        (("--baseline", "low"), "--format latex"),
    ],
)
def test_a_choice_of_what_is_not_there_is_one_sentence(bench: Bench, options: tuple[str, ...], told: str) -> None:
    done = bench("table", "tiny", *options)
    assert done.returncode == 2
    assert told in done.stderr
