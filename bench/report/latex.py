"""Tables and verdicts as LaTeX (booktabs): best bold, second underlined, every text escaped; equal input, equal bytes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import groupby

from retable.bench.judge.judgement import Judgement
from retable.bench.judge.words import evidence, said
from retable.bench.report.escape import latex as escape
from retable.bench.report.grid import Text, caption, grid
from retable.bench.report.table import Table, legend

PREAMBLE = r"""
\documentclass{article}
\usepackage[T1]{fontenc}
\usepackage[utf8]{inputenc}
\usepackage[margin=2cm]{geometry}
\usepackage{array,booktabs,graphicx,longtable,textcomp}
\IfFileExists{lmodern.sty}{\usepackage{lmodern}}{}
\IfFileExists{multirow.sty}{\usepackage{multirow}}{}
\providecommand{\multirow}[3]{#3}
\begin{document}
""".strip()


_NEGATIVE = re.compile(r"-\d")
_LONGEST = 60
FOLDED = r">{\raggedright\arraybackslash}p"


def document(tables: Sequence[Table], judgements: Sequence[Judgement] = ()) -> str:
    """A document that compiles by itself (pdflatex) and holds just the tables, then the verdicts if there are any."""
    verdicts = [r"\clearpage", render_judgements(judgements)] if judgements else []
    return "\n".join([PREAMBLE, render(tables), *verdicts, r"\end{document}"])


def render(tables: Sequence[Table]) -> str:
    """One `table` environment each; needs the packages array, booktabs, graphicx, multirow and textcomp, and T1 fonts."""
    return "\n\n".join(_table(table) for table in tables)


def render_judgements(judgements: Sequence[Judgement]) -> str:
    """Verdicts as a `longtable`, which may break between pages; needs that package too."""
    widths = "".join(f"{FOLDED}{{{share}\\linewidth}}" for share in (0.3, 0.12, 0.36))
    rows = [
        _row([escape(text) for text in (said(judged), judged.claim.text, judged.claim.source, evidence(judged))])
        for judged in judgements
    ]
    lines = [
        r"\begingroup\footnotesize",
        rf"\begin{{longtable}}{{l{widths}}}",
        r"\toprule",
        _row(["Verdict", "Claim", "Source", "Evidence"]),
        r"\midrule",
        r"\endhead",
        "\\addlinespace\n".join(f"{row}\n" for row in rows).rstrip(),
        r"\bottomrule",
        r"\end{longtable}\addtocounter{table}{-1}",
        r"\endgroup",
    ]
    return "\n".join(line for line in lines if line)


def _table(table: Table) -> str:
    content = grid(table, footnoted=True)
    grouped = any(group for group, _ in content.rows)
    texts = [[group for group, _ in content.rows]] if grouped else []
    kinds = [_kind(column) for column in [*texts, [row[0].text for _, row in content.rows]]]
    lines = [
        r"\begin{table}[htbp]",
        r"\centering",
        rf"\caption{{{escape(caption(table))}}}",
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        rf"\begin{{tabular}}{{{''.join(kinds)}{'r' * (len(content.header) - 1)}}}",
        r"\toprule",
        *_header(table, ["Type", "Model"] if grouped else ["Model"]),
        r"\midrule",
        *_body(content.rows, grouped, "*" if kinds[0] == "l" else "="),
        r"\bottomrule",
        r"\end{tabular}}",
    ]
    notes = [rf"\textsuperscript{{{index}}}\,{escape(note)}" for index, note in enumerate(content.notes, 1)]
    notes += map(escape, legend(table, "bold", "underlined"))
    notes += [escape(table.note)] if table.note else []
    lines += [r"\par\smallskip\footnotesize\raggedright " + r"\par ".join(notes)] if notes else []
    return "\n".join([*lines, r"\end{table}"])


def _header(table: Table, leading: Sequence[str]) -> list[str]:
    """Labels of the columns; the paper's value and ours share one, with a second line that tells them apart."""
    top, rules, bottom = list(leading), [], [""] * len(leading)
    for column in table.columns:
        label = escape(column.label)
        if column.show == "both":
            start = len(bottom) + 1
            top.append(rf"\multicolumn{{2}}{{c}}{{{label}}}")
            rules.append(rf"\cmidrule(lr){{{start}-{start + 1}}}")
            bottom += ["paper", "here"]
        else:
            top.append(label)
            bottom.append("paper" if column.show == "reported" else "")
    return [_row(top), *(["".join(rules)] if rules else []), *([_row(bottom)] if any(bottom) else [])]


def _kind(texts: Sequence[str]) -> str:
    """Left-aligned, folded where a text is so long that the table would have to shrink for it."""
    return "l" if max(map(len, texts), default=0) <= _LONGEST else FOLDED + "{24em}"


def _body(rows: Sequence[tuple[str, list[Text]]], grouped: bool, group_width: str) -> list[str]:
    """Neighbours of one group share its name, with a rule between groups."""
    lines: list[str] = []
    for group, members in groupby(rows, key=lambda row: row[0]):
        block = [_row(list(map(_cell, texts))) for _, texts in members]
        if grouped:
            name = rf"\multirow{{{len(block)}}}{{{group_width}}}{{{escape(group)}}}" if group else ""
            block = [f"{name if index == 0 else ''} & {row}" for index, row in enumerate(block)]
        lines += [r"\midrule", *block] if lines else block
    return lines


def _cell(text: Text) -> str:
    shown = escape(text.text)
    shown = rf"\ensuremath{{-}}{shown[1:]}" if _NEGATIVE.match(shown) else shown
    if shown and text.mark:
        shown = rf"\textbf{{{shown}}}" if text.mark == "best" else rf"\underline{{{shown}}}"
    return rf"{shown}\textsuperscript{{{text.note}}}" if text.note else shown


def _row(cells: list[str]) -> str:
    return " & ".join(cells) + r" \\"
