"""Tables as LaTeX (booktabs): best bold, second underlined, every text escaped; equal input gives equal bytes."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from itertools import groupby

from bench.report.grid import Text, caption, grid
from bench.report.terminal import clean
from bench.table import Table

_SPECIAL = {
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
    "-": r"{-}",
    "±": r"\ensuremath{\pm}",
    "—": r"\textemdash{}",
    "–": r"\textendash{}",
}


def document(tables: Sequence[Table]) -> str:
    """A document that compiles by itself and holds just the tables."""
    packages = "booktabs,graphicx,textcomp"
    return "\n".join(
        [
            r"\documentclass{article}",
            r"\usepackage[T1]{fontenc}",
            rf"\usepackage{{{packages}}}",
            r"\begin{document}",
            render(tables),
            r"\end{document}",
        ]
    )


def render(tables: Sequence[Table]) -> str:
    """One `table` environment each; needs the packages booktabs, graphicx and textcomp, and T1 fonts."""
    return "\n\n".join(_table(table) for table in tables)


def _table(table: Table) -> str:
    content = grid(table)
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escape(caption(table))}}}",
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        rf"\begin{{tabular}}{{ll{'r' * (len(content.header) - 1)}}}",
        r"\toprule",
        _row(["Type", *map(escape, content.header)]),
        r"\midrule",
    ]
    blocks = [list(rows) for _, rows in groupby(content.rows, key=lambda row: row[0])]
    for number, rows in enumerate(blocks):
        lines += [r"\midrule"] if number else []
        for index, (group, texts) in enumerate(rows):
            lines.append(_row([escape(group) if index == 0 else "", *map(_cell, texts)]))
    lines += [r"\bottomrule", r"\end{tabular}}", ""]
    notes = [rf"\textsuperscript{{{index}}}\,{escape(note)}." for index, note in enumerate(content.notes, 1)]
    notes += [escape(table.note)] if table.note else []
    lines += [r"\par\smallskip\footnotesize " + " ".join(notes)] if notes else []
    return "\n".join([*[line for line in lines if line], r"\end{table}"])


def _cell(text: Text) -> str:
    shown = escape(text.text)
    if shown and text.mark:
        shown = rf"\textbf{{{shown}}}" if text.mark == "best" else rf"\underline{{{shown}}}"
    return rf"{shown}\textsuperscript{{{text.note}}}" if text.note else shown


def _row(cells: list[str]) -> str:
    return " & ".join(cells) + r" \\"


def escape(text: str) -> str:
    """Text that LaTeX prints as it is; a character that T1 fonts cannot print becomes its code point."""
    return "".join(_character(char) for char in unicodedata.normalize("NFC", clean(text)))


def _character(char: str) -> str:
    if char in _SPECIAL:
        return _SPECIAL[char]
    printable = " " <= char <= "~" or ("À" <= char <= "ÿ" and char not in "×÷")
    return char if printable else rf"[U+{ord(char):04X}]"
