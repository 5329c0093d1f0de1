"""Tables and verdicts as plain text for a terminal."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from typing import get_args

from retable.bench.judge.judgement import Judgement
from retable.bench.judge.words import counted, evidence, said
from retable.bench.report.escape import clean, fold, width
from retable.bench.report.grid import Grid, Text, caption, grid
from retable.bench.report.table import Table, legend
from retable.bench.suite import VerdictWord

_BOLD, _UNDERLINE, _GREEN, _RED, _DIM, _END = "\x1b[1m", "\x1b[4m", "\x1b[32m", "\x1b[31m", "\x1b[2m", "\x1b[0m"
_VERDICT_STYLE = {"reproduced": _GREEN, "contradicted": _RED, "not measured": _DIM}
_MARK_STYLE = {"": "", "best": _BOLD, "second": _UNDERLINE}
_GAP = "  "
_LEAST_LABEL = 16
_LEAST_COLUMNS = 40


def render(tables: Sequence[Table], *, columns: int | None = None, colour: bool | None = None) -> str:
    """Aligned columns, groups as headings; `*` marks the best measured value, [n] a footnote.

    `columns` is the width to keep within (0: any), `colour` whether to use ANSI styles; both are those of stdout unless
    given, and a file has any width. What is too wide gets folded headers, then folded labels, then blocks of columns.
    """
    columns, colour = _columns(columns), _colour(colour)
    return "\n\n".join(_table(table, columns, colour) for table in tables)


def render_judgements(
    judgements: Sequence[Judgement], *, columns: int | None = None, colour: bool | None = None
) -> str:
    """Two lines a claim: verdict, name and what the paper says; then what it rests on, or why there is nothing."""
    if not judgements:
        return "no claims"
    columns, colour = _columns(columns), _colour(colour)
    lines = [_style("Verdicts", _BOLD, colour)]
    indent = max(len(said(judged)) for judged in judgements) + len(_GAP)
    for judged in judgements:
        claim = judged.claim
        first, *more = _fold(clean(f"{claim.name}: {claim.sentence}"), columns, indent)
        verdict = _style(said(judged), _VERDICT_STYLE[judged.verdict], colour)
        lines.append(verdict + first[len(said(judged)) :])
        lines += more + _fold(clean(evidence(judged)), columns, indent)
    counts = [counted(judgements, word) for word in get_args(VerdictWord)]
    if differing := sum(not judged.as_expected for judged in judgements):
        counts.append(f"{differing} not as expected")
    return "\n".join([*lines, ", ".join(counts)])


def _table(table: Table, columns: int | None, colour: bool) -> str:
    content = grid(table)
    blocks = _blocks(table, content, columns)
    lines = _fold(clean(caption(table)), columns)
    lines = [_style(line, _BOLD, colour) for line in lines]
    for index, widths in enumerate(blocks):
        lines += [""] if index else []
        lines += _block(content, widths, colour)
    for index, note in enumerate(content.notes, 1):
        lines += _fold(f"[{index}] {clean(note)}", columns)
    for line in [*legend(table, "*", "underlined" if colour else ""), *([table.note] if table.note else [])]:
        lines += _fold(clean(line), columns)
    return "\n".join(lines)


def _blocks(table: Table, content: Grid, columns: int | None) -> list[dict[int, int]]:
    """Widths by column, the labels' always among them: one block if `columns` hold them all, else as few as possible."""
    texts = list(zip(*[row for _, row in content.rows], strict=True)) or [()] * len(content.header)
    body = [_widest(column, _starred(column)) for column in texts]
    heads = [width(clean(name)) for name in content.header]
    natural = [max(pair) for pair in zip(body, heads, strict=True)]
    if columns is None or _total(natural) <= columns:
        return [dict(enumerate(natural))]
    words = [max(map(width, clean(name).split()), default=0) for name in content.header]
    narrow = [min(max(pair), columns) for pair in zip(body, words, strict=True)]
    left = columns - _total([0, *narrow[1:]])
    if left >= min(natural[0], _LEAST_LABEL):
        return [{**dict(enumerate(narrow)), 0: min(natural[0], left)}]
    blocks = [{0: min(natural[0], columns // 3)}]
    for pair in _pairs(table):
        added = {index: narrow[index] for index in pair}
        if len(blocks[-1]) > 1 and _total([*blocks[-1].values(), *added.values()]) > columns:
            blocks.append({0: blocks[0][0]})
        blocks[-1] |= added
    return blocks


def _pairs(table: Table) -> Iterator[range]:
    """Indices of the grid's columns; the paper's value and ours stay side by side."""
    start = 1
    for column in table.columns:
        stop = start + (2 if column.show == "both" else 1)
        yield range(start, stop)
        start = stop


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + len(_GAP) * (len(widths) - 1)


def _block(content: Grid, widths: dict[int, int], colour: bool) -> list[str]:
    rule = "-" * _total(list(widths.values()))
    folded = [fold(clean(content.header[index]), size) for index, size in widths.items()]
    height = max(map(len, folded))
    heads = zip(*[[""] * (height - len(lines)) + lines for lines in folded], strict=True)
    starred = {index: _starred([row[index] for _, row in content.rows]) for index in widths}
    lines = [rule, *[_line([Text(text) for text in head], widths, {}, colour) for head in heads], rule]
    group = ""
    for name, row in content.rows:
        if name and name != group:
            lines += [_style(line, _DIM, colour) for line in fold(f"[{clean(name)}]", len(rule))]
        group = name
        label, *more = fold(clean(row[0].text), widths[0])
        lines.append(_line([Text(label), *[row[index] for index in widths if index]], widths, starred, colour))
        lines += more
    return [*lines, rule]


def _line(texts: Sequence[Text], widths: dict[int, int], starred: dict[int, bool], colour: bool) -> str:
    cells = []
    for text, (index, size) in zip(texts, widths.items(), strict=True):
        plain = _plain(text, starred.get(index, False))
        space = " " * (size - width(plain))
        shown = _style(plain, _MARK_STYLE[text.mark], colour)
        cells.append(space + shown if index else shown + space)
    return _GAP.join(cells).rstrip()


def _starred(texts: Sequence[Text]) -> bool:
    return any(text.mark == "best" for text in texts)


def _widest(texts: Sequence[Text], starred: bool) -> int:
    return max((width(_plain(text, starred)) for text in texts), default=0)


def _plain(text: Text, starred: bool) -> str:
    """A cell's text; in a column with a star the others have a space for it, so that digits stay below digits."""
    star = "*" if text.mark == "best" else " " if starred else ""
    return f"{clean(text.text)}{star}{f' [{text.note}]' if text.note else ''}"


def _fold(text: str, columns: int | None, indent: int = 0) -> list[str]:
    """Lines within `columns`, all indented; a terminal too narrow for that wraps them itself."""
    room = None if columns is None else columns - indent
    lines = [text] if room is None or width(text) <= room else fold(text, max(room, _LEAST_LABEL))
    return [" " * indent + line for line in lines]


def _columns(given: int | None) -> int | None:
    if given == 0 or (given is None and not sys.stdout.isatty()):
        return None
    return max(_LEAST_COLUMNS, shutil.get_terminal_size().columns if given is None else given)


def _colour(given: bool | None) -> bool:
    if given is not None:
        return given
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


def _style(text: str, code: str, colour: bool) -> str:
    return f"{code}{text}{_END}" if colour and code else text
