"""The LaTeX document and the macros: they compile, say what was not measured, and equal chapters give equal bytes."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retable.bench.errors import BenchError
from retable.bench.report import latex
from retable.bench.report.chapter import Chapter
from retable.bench.report.document import document, scorecard
from retable.bench.report.macros import macro_name, macros
from retable.bench.report.site.write import write_site
from tests.bench.conftest import Bench
from tests.bench.report.made_chapters import chapter, hostile_store, hostile_suite
from tests.bench.report.made_tables import HOSTILE
from tests.tools import TEX

needs_tex = pytest.mark.skipif(shutil.which("pdflatex") is None, reason=TEX.missing())


@pytest.fixture
def made(tmp_path: Path) -> Chapter:
    return chapter(hostile_suite(), hostile_store(tmp_path / "store"))


def compiled(folder: Path, name: str) -> subprocess.CompletedProcess[bytes]:
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", name]
    return subprocess.run(command, cwd=folder, capture_output=True, check=False, timeout=240)


def value(text: str, name: str) -> str:
    found = re.findall(rf"^\\bench@number\{{{re.escape(name)}\}}\{{(.*)\}}%$", text, re.MULTILINE)
    assert len(found) == 1, name
    return found[0]


@needs_tex
def test_the_document_of_a_report_compiles_with_its_plots(tmp_path: Path, made: Chapter) -> None:
    write_site([made], tmp_path / "out")
    done = compiled(tmp_path / "out", "tables.tex")
    assert done.returncode == 0, done.stdout[-2000:].decode(errors="replace")
    log = (tmp_path / "out" / "tables.log").read_text(errors="replace")
    assert "Missing character" not in log
    assert "plots/p.pdf" in log.replace("\n", "")
    assert (tmp_path / "out" / "tables.pdf").stat().st_size > 5000


@needs_tex
def test_sixty_small_tables_find_their_pages(tmp_path: Path, made: Chapter) -> None:
    tables = [replace(made.tables[0], name=f"t{number}") for number in range(60)]
    (tmp_path / "many.tex").write_text(latex.document(tables))
    done = compiled(tmp_path, "many.tex")
    assert done.returncode == 0, done.stdout[-500:].decode(errors="replace")


@needs_tex
def test_macros_print_numbers_and_a_wrong_name_stops(tmp_path: Path, made: Chapter) -> None:
    made = replace(made, suite=replace(made.suite, name="table_s"))
    (tmp_path / "numbers.tex").write_text(macros([made]))
    frame = "\\documentclass{{article}}\\usepackage[T1]{{fontenc}}\\usepackage{{textcomp}}\\input{{numbers}}\n{}\n"
    for name, body, status in (
        ("good", r"\bench{table-s/e0/score}, \section{\bench{table-s/claim/fails}} \bench{table-s/e2/score}", 0),
        ("wrong", r"\bench{table-s/e9/score}", 1),
    ):
        text = frame.format(f"\\begin{{document}}{body}\\end{{document}}")
        (tmp_path / f"{name}.tex").write_text(text)
        done = compiled(tmp_path, f"{name}.tex")
        assert done.returncode == status, done.stdout[-2000:].decode(errors="replace")
    assert b"no number is named table-s/e9/score" in done.stdout


def test_macros_hold_what_the_tables_show(made: Chapter) -> None:
    text = macros([made])
    assert value(text, "s/e0/score") == "1.10"
    assert value(text, "s/e0/score/interval") == "0.17"
    assert value(text, "s/e0/score/seeds") == "3"
    assert value(text, "s/e0/score/paper") == "(not found)"
    assert value(text, "s/e2/score") == "(not measured)"
    assert "s/e2/score/interval" not in text
    assert value(text, "s/claim/fails") == "contradicted"
    assert value(text, "s/claim/elsewhere/estimate") == "(not measured)"


def test_one_name_for_two_numbers_is_refused(made: Chapter) -> None:
    twins = [replace(made, suite=replace(made.suite, name=name)) for name in ("a-b", "a_b")]
    with pytest.raises(BenchError, match=r"would both be \\bench\{a-b/"):
        macros(twins)


@given(st.lists(st.text(max_size=20), min_size=1, max_size=4))
def test_a_name_holds_nothing_that_tex_would_read(parts: list[str]) -> None:
    assert re.fullmatch(r"[A-Za-z0-9.\[\]+=/-]*", macro_name(*parts))


def test_a_mini_number_is_not_called_by_the_papers_name(bench: Bench) -> None:
    assert bench("run", "tiny", "--jobs", "0", "--quiet").returncode == 0
    assert bench("report", "tiny").returncode == 0
    text = (bench.folder / "reports" / "out" / "numbers.tex").read_text()
    assert value(text, "tiny/low/weight") != "1.0"
    assert value(text, "tiny/low/weight/paper") == "1.0"
    assert value(text, "tiny/cited/weight") == "(not measured)"
    assert value(text, "tiny/cited/weight/paper") == "3.5"


def test_the_scorecard_counts_every_claim_once(made: Chapter) -> None:
    rows = [line for line in scorecard([made, made]).splitlines() if line.endswith(r"\\")]
    counts = [
        [int(cell) for cell in re.findall(r"\d+", row.rpartition("mini")[2].removeprefix("All"))] for row in rows[1:]
    ]
    assert counts == [[1, 1, 1, 2], [1, 1, 1, 2], [2, 2, 2, 4]]  # two of the three were expected to be reproduced


def test_absent_numbers_have_footnotes_that_tell_the_kinds_apart(made: Chapter) -> None:
    text = document([made])
    assert r"\textsuperscript{1}\,not found: " in text
    assert r"\textsuperscript{2}\,not measured: failed: " in text
    assert text.count(r"\begin{") == text.count(r"\end{")


def test_it_is_a_function_of_its_input_and_names_no_path(tmp_path: Path, made: Chapter) -> None:
    again = chapter(hostile_suite(), hostile_store(tmp_path / "other"))
    assert document([made]) == document([again])
    assert macros([made]) == macros([again])
    assert str(tmp_path) not in document([made])
    assert HOSTILE not in document([made]) + macros([made])
