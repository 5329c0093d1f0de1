"""Renderings: nothing missing becomes a number, nothing hostile gets out, columns stay columns."""

from __future__ import annotations

import csv
import re
import shutil
import subprocess
import sys
import unicodedata
from io import StringIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retable.bench.judge.claims import judge
from retable.bench.judge.judgement import Judgement
from retable.bench.report import as_csv, latex, markdown, terminal
from retable.bench.report.escape import clean, fold, width
from retable.bench.report.escape import latex as latex_escape
from retable.bench.report.escape import markdown as markdown_escape
from retable.bench.report.numbers import number
from retable.bench.report.table import Table, build_tables
from retable.bench.suite import Bound, Claim, Column, Reported
from tests.bench.report.made_tables import HOSTILE, entry, results, suite, table
from tests.tools import TEX

labels = st.lists(st.text(max_size=24), min_size=1, max_size=4)


def equal_rows(names: list[str]) -> Table:
    return table(names, *[[1.0, 1.0, 1.0]] * len(names))


def wide_table() -> Table:
    columns = [Column(label=f"Long label {index}", metric="score", format=".2f") for index in range(6)]
    rows = [entry(0, "A method with a name of several words"), entry(1, "B")]
    return build_tables(suite(rows, *columns), results([1.0, 2.0, 3.0], [2.0, 2.1, 2.2]))[0]


def judgements(text: str = "The text") -> list[Judgement]:
    common = {"metric": "score", "entries": ("e0",), "profiles": ("mini",), "text": text, "source": "Table 1"}
    claims = (
        Claim(name="holds", kind="value", bound=Bound(at_least=0.0), **common),
        Claim(name="fails", kind="value", bound=Bound(at_least=9.0), **common),
        Claim(name="elsewhere", kind="value", bound=Bound(at_least=9.0), **{**common, "profiles": ("paper",)}),
    )
    world = suite([entry(0, "A")])
    object.__setattr__(world, "claims", claims)
    return judge(world, results([1.0, 1.1, 1.2]))


@pytest.mark.parametrize("render", [terminal.render, markdown.render, latex.render])
def test_every_format_shows_values_marks_reasons_and_the_profile(render: object) -> None:
    reported = {"score": Reported(value=3.5, text="3.50")}
    rows = [entry(0, "A", reported=reported), entry(1, "B"), entry(2, "C")]
    text = render(build_tables(suite(rows), results([1.0, 1.0, 1.3], [2.0] * 3, [None] * 3)))  # type: ignore[operator]
    text = re.sub(r"\}? & (?:\\\w+\{)?\.", ".", text)  # LaTeX puts what is behind the point into a column of its own
    for expected in (
        "1.10",
        "0.29",
        "3.50",
        "not found",
        "no counter",
        "profile mini",
        "90",
        "over 3 seeds",
        "A note.",
    ):
        assert expected in text
    assert "0.00 " not in text.replace("2.00", "").replace("± 0.00", "")


def test_a_missing_value_is_an_em_dash_with_its_reason() -> None:
    made = table(["A", "B"], [None, None, None])
    for text in (terminal.render([made]), markdown.render([made]), latex.render([made])):
        assert text.count("—") + text.count(r"\textemdash") == (
            4 if "textemdash" in text else 2
        )  # LaTeX: "not found" too
        assert "no counter" in text
        assert "not run" in text
        assert "0.00" not in text


@pytest.mark.parametrize(
    ("value", "form", "text"),
    [(147622080, "si", "147.6M"), (1.336e9, "si", "1.336B"), (12.0, ",d", "12"), (3.14159, ".2f", "3.14")],
)
def test_number_formats(value: float, form: str, text: str) -> None:
    assert number(value, form) == text


class TestText:
    @given(st.text())
    def test_clean_text_is_one_line_that_can_be_written(self, text: str) -> None:
        cleaned = clean(text)
        assert len(cleaned.splitlines()) <= 1
        assert not any(unicodedata.category(char) in ("Cc", "Cs") for char in cleaned)
        cleaned.encode()
        assert clean(cleaned) == cleaned

    def test_text_cannot_turn_its_neighbours_round_or_colour_them(self) -> None:
        assert clean("a\u202eb\x1b[31mc\ud800") == "a\ufffdb [31mc\ufffd"

    @given(st.text(), st.integers(2, 30))
    def test_folded_lines_fit_and_lose_nothing(self, text: str, columns: int) -> None:
        lines = fold(clean(text), columns)
        assert all(width(line) <= columns for line in lines)
        assert "".join("".join(lines).split()) == "".join(clean(text).split())

    def test_words_are_broken_only_where_they_must(self) -> None:
        assert fold("one two three", 7) == ["one two", "three"]
        assert fold("中文中文 x", 5) == ["中文", "中文", "x"]


class TestTerminal:
    # Characters whose width is not a matter of opinion: ASCII one column, Han two, a combining accent none.
    @given(st.lists(st.text("abc 09|中文é\u0301", max_size=12), min_size=1, max_size=4))
    def test_columns_end_where_they_should(self, names: list[str]) -> None:
        names = [f"x{name}" for name in names]
        lines = [line for line in terminal.render([equal_rows(names)]).splitlines() if line.endswith("± 0.00")]
        assert len(lines) == len(names)
        assert len({_independent_width(line) for line in lines}) == 1

    @given(labels)
    def test_any_label_gives_one_line_and_no_control_character(self, names: list[str]) -> None:
        text = terminal.render([equal_rows(names)], colour=False)
        assert len([line for line in text.split("\n") if line.endswith("± 0.00")]) == len(names)
        assert not any(unicodedata.category(char) == "Cc" for char in text.replace("\n", ""))

    @given(labels, st.integers(60, 160))
    def test_it_keeps_within_the_width(self, names: list[str], columns: int) -> None:
        text = terminal.render([equal_rows([*names, HOSTILE])], columns=columns)
        assert max(map(width, text.splitlines())) <= columns

    @pytest.mark.parametrize("columns", [40, 60, 80, 120, 160, 400])
    def test_what_is_too_wide_comes_in_blocks_that_hold_every_number_once(self, columns: int) -> None:
        text = terminal.render([wide_table()], columns=columns)
        assert max(map(width, text.splitlines())) <= columns
        assert text.count("2.00 ± ") == 6
        assert text.count("not found") == 12
        assert all(text.count(f"{index}") for index in range(6))
        for line in text.splitlines():
            assert line.count("not found") == line.count(" ± ")

    def test_digits_stand_below_digits_where_one_has_a_star(self) -> None:
        made = table(["A", "B"], [1.0, 1.1, 1.2], [2.0, 2.1, 2.2])
        lines = [line for line in terminal.render([made]).splitlines() if "±" in line and line[0] in "AB"]
        assert lines[0].endswith("*")
        assert lines[0].index("±") == lines[1].index("±")

    def test_colour_and_folding_are_only_for_terminals(self, monkeypatch: pytest.MonkeyPatch) -> None:
        made = [table(["A", "B"], [1.0, 1.1, 1.2], [2.0, 2.1, 2.2])]
        assert "\x1b" not in terminal.render(made) + terminal.render_judgements(judgements())
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.delenv("NO_COLOR", raising=False)
        coloured = terminal.render(made)
        assert "\x1b[1m" in coloured
        monkeypatch.setenv("COLUMNS", "50")
        assert max(map(width, terminal.render([wide_table()], colour=False).splitlines())) <= 50
        assert max(map(width, terminal.render([wide_table()], colour=False, columns=0).splitlines())) > 200
        monkeypatch.setenv("NO_COLOR", "1")
        plain = terminal.render(made)
        assert "\x1b" not in plain

    @given(st.text(max_size=60), st.none() | st.integers(40, 160))
    def test_verdicts_name_claims_and_count_words(self, text: str, columns: int | None) -> None:
        shown = terminal.render_judgements(judgements(text), columns=columns)
        for expected in (
            "size reproduced    holds",
            "size contradicted  fails",
            "not measured       elsewhere",
            "needs profile paper",
        ):
            assert expected in shown
        assert shown.endswith("1 reproduced (1 size), 1 contradicted (1 size), 1 not measured, 2 not as expected")
        assert columns is None or max(map(width, shown.splitlines()[:-1])) <= columns

    def test_no_claims_are_no_verdicts(self) -> None:
        assert terminal.render_judgements([]) == "no claims"


def _independent_width(text: str) -> int:
    return sum(0 if unicodedata.combining(char) else 2 if char in "中文" else 1 for char in text)


class TestCsv:
    @given(labels)
    def test_every_cell_is_a_line_and_reads_back(self, names: list[str]) -> None:
        made = table(names, *[[0.1, 0.2, 0.30000001]] * (len(names) - 1))
        rows = list(csv.DictReader(StringIO(as_csv.render([made]), newline="")))
        formula = ("=", "+", "-", "@")
        shown = [f"'{name}" if name.startswith(formula) else name for name in map(clean, names)]
        assert [row["label"] for row in rows] == shown
        assert [row["measured"] == "" for row in rows] == [False] * (len(names) - 1) + [True]
        assert rows[-1]["reason"] == "not run"
        for row, line in zip(rows[:-1], made.rows, strict=False):
            assert float(row["measured"]) == line.cells["score"].value
            assert (row["reported"], row["reported_text"]) == ("", "not found")


class TestMarkdown:
    @given(labels)
    def test_rows_have_one_shape(self, names: list[str]) -> None:
        rows = [line for line in markdown.render([equal_rows(names)]).splitlines() if line.startswith("|")]
        assert len(rows) == len(names) + 2
        assert len({len(re.findall(r"(?<!\\)(?:\\\\)*\|", row)) for row in rows}) == 1

    @given(st.text(max_size=40))
    def test_verdicts_have_one_shape(self, text: str) -> None:
        rows = markdown.render_judgements(judgements(text)).splitlines()
        assert len(rows) == 5
        assert {len(re.findall(r"(?<!\\)(?:\\\\)*\|", row)) for row in rows} == {5}

    @given(st.text(st.sampled_from("\\`*_[]|~$<>&#+-=1.) a") | st.characters(), max_size=40))
    def test_escapes_undo_to_the_text(self, text: str) -> None:
        tokens = re.findall(r"\\[!-/:-@\[-`{-~]|.", markdown_escape(text))
        assert not set(tokens) & set("\\`*_[]|~$<>"), "left bare"
        bare = "".join(token[-1] for token in tokens)
        assert bare.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&") == clean(text).strip()

    def test_html_and_blocks_are_text(self) -> None:
        text = markdown.render([table([HOSTILE], [1.0, 1.0, 1.0])])
        assert "<img" not in text
        assert "&lt;img" in text
        for block in ("# x", "- x", "+ x", "1. x", "12) x", "---", "==="):
            assert re.match(r"\d*\\", markdown_escape(block)), block
        for number_ in ("-0.5", "3.52", "1.5 ± 0.1"):
            assert markdown_escape(number_) == number_


SPECIALS = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "%": r"\%",
    "#": r"\#",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "'": r"\textquotesingle{}",
    "`": r"\textasciigrave{}",
}


class TestLatex:
    @given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40))
    def test_escapes_undo_to_the_text(self, text: str) -> None:
        """Read back token by token: any special that was left bare would not be one of the tokens."""
        back = {escaped: char for char, escaped in SPECIALS.items()}
        tokens = re.findall(r"\\text[a-z]+\{\}|\\[{}$&%#_]|\{[\[*]\}|\{\}|.", latex_escape(text))
        plain = "".join(back.get(token, token.strip("{}") if len(token) > 1 else token) for token in tokens)
        assert plain == text.strip()
        assert not {token for token in tokens if len(token) == 1} & set(SPECIALS)

    @given(st.text(max_size=40))
    def test_every_character_is_one_that_t1_fonts_have(self, text: str) -> None:
        bare = re.sub(
            r"\\text[a-z]+\{\}|\\ensuremath\{\\?[A-Za-z^\d-]+\}|\\[{}$&%#_]|\{[\[*]?\}", "", latex_escape(text)
        )
        assert not set(bare) & set(SPECIALS)
        assert all(" " <= char <= "~" or "À" <= char <= "ž" for char in bare)

    @pytest.mark.parametrize(
        ("text", "escaped"),
        [
            ("[x]", "{[}x]"),
            ("*", "{*}"),
            ("a -- b,,", "a -{}- b,{},"),
            ("FID ≤ 3 α", r"FID \ensuremath{\le} 3 \ensuremath{\alpha}"),
            ("中", "{[}U+4E2D]"),
            ("e\u0301", "é"),
        ],
    )
    def test_what_else_would_be_read_otherwise(self, text: str, escaped: str) -> None:
        assert latex_escape(text) == escaped

    def test_it_is_a_function_of_its_input(self) -> None:
        one, two = (
            latex.document([table(["A", "B"], [1.0, 2.0, 3.0], [2.0, 2.0, 2.1])], judgements()) for _ in range(2)
        )
        assert one == two

    def test_the_document_compiles(self, tmp_path: Path) -> None:
        everything = "".join(map(chr, [*range(0x20, 0x180), *range(0x391, 0x3CA), *range(0x2010, 0x2270)]))
        names = [HOSTILE, everything, "[x]", "*", "- 1,,", "\\"]
        rows = [[1.0, 2.0, 3.0], [None, None, None], *[[2.0, 2.0, 2.1]] * 4]
        bare = [entry(index, name, group="") for index, name in enumerate(names)]
        text = latex.document(
            [table(names, *rows, reason=HOSTILE), build_tables(suite(bare), results(*rows))[0]], judgements(HOSTILE)
        )
        assert text.count(r"\begin{") == text.count(r"\end{")
        if shutil.which("pdflatex") is None:
            pytest.skip(TEX.missing())  # the escapes are checked above against the specials, TeX or not
        (tmp_path / "t.tex").write_text(text, encoding="utf-8")
        command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-draftmode", "t.tex"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False, timeout=120)
        assert done.returncode == 0, done.stdout[-2000:].decode(errors="replace")
        assert "Missing character" not in (tmp_path / "t.log").read_text(errors="replace")
