r"""One LaTeX macro a number, for prose: `\bench{table2-aim/aim-b/fid}`; what was not measured says so, a wrong name stops TeX."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from retable.bench.errors import BenchError
from retable.bench.report.chapter import Chapter
from retable.bench.report.escape import latex as escape
from retable.bench.report.numbers import number
from retable.bench.report.table import Cell

_HEAD = r"""
% One macro a number: \bench{suite/row/metric}, underscores written as hyphens. After a name may follow
% /interval (half-width), /seeds, /paper (the paper's own text); claims are \bench{suite/claim/name} and
% \bench{suite/claim/name/estimate}. Needs T1 fonts and textcomp.
\makeatletter
\newcommand{\bench}[1]{\ifcsname bench@#1\endcsname\csname bench@#1\endcsname\else
  \PackageError{bench}{no number is named #1}{The names stand in numbers.tex.}\textbf{??}\fi}
\newcommand{\bench@number}[2]{\expandafter\gdef\csname bench@#1\endcsname{#2}}
""".strip()
_NOT_MEASURED = "(not measured)"
_NOT_FOUND = "(not found)"


def macros(chapters: Sequence[Chapter]) -> str:
    """A file to `\\input` in a preamble. Raises BenchError where two numbers would get one name."""
    lines = [_HEAD]
    origins: dict[str, tuple[str, ...]] = {}
    for chapter in chapters:
        for parts, text in _numbers(chapter):
            name = macro_name(*parts)
            if origins.setdefault(name, parts) != parts:
                raise BenchError(f"{'/'.join(origins[name])} and {'/'.join(parts)} would both be \\bench{{{name}}}")
            lines.append(rf"\bench@number{{{name}}}{{{_minus(escape(text))}}}%")
    return "\n".join([*lines, r"\makeatother", ""])


def macro_name(*parts: str) -> str:
    """The name of a number; whatever TeX could take for something else in one becomes a hyphen."""
    return "/".join(re.sub(r"[^A-Za-z0-9.\[\]+=-]", "-", part) for part in parts)


def _numbers(chapter: Chapter) -> Iterator[tuple[tuple[str, ...], str]]:
    """Every number of the tables, in the format of the first column that shows its metric; then the claims."""
    suite = chapter.suite.name
    seen = set()
    for table in chapter.tables:
        for column in table.columns:
            for row in table.rows:
                if (row.entry, column.metric) in seen:
                    continue
                seen.add((row.entry, column.metric))
                for suffix, text in _texts(row.cells[column.metric], column.format):
                    yield (suite, row.entry, column.metric, *suffix), text
    for judged in chapter.judgements:
        yield (suite, "claim", judged.claim.name), judged.verdict
        estimate = "(not measured)" if judged.estimate is None else f"{judged.estimate.mean:.4g}"
        yield (suite, "claim", judged.claim.name, "estimate"), estimate


def _texts(cell: Cell, form: str) -> Iterator[tuple[tuple[str, ...], str]]:
    if cell.value is not None:
        yield (), number(cell.value, form)
        yield ("seeds",), str(cell.n)
    elif cell.reason or cell.reported:
        yield (), _NOT_MEASURED
    if cell.half_width is not None:
        yield ("interval",), number(cell.half_width, form)
    if cell.reported is not None:
        yield ("paper",), _NOT_FOUND if cell.reported.value is None else cell.reported.text


def _minus(text: str) -> str:
    return rf"\ensuremath{{-}}{text[1:]}" if re.match(r"-\d", text) else text
