"""Sheet: a table laid out for print: heads, rows of numbers split at their decimal point, notes with their marks."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from string import ascii_lowercase

from retable.bench.report.digits import Scale, digits, scale
from retable.bench.report.grid import floors_of, origin, source
from retable.bench.report.numbers import ABSENT, NOT_FOUND, not_measured
from retable.bench.report.table import Cell, Mark, Row, Table, paired, signs
from retable.bench.suite import Column

ARROWS = {"higher": "↑", "lower": "↓", "none": ""}
_NUMBER = re.compile(r"(≥ )?([-+]?[\d,]+)(.*)", re.DOTALL)
_NUMBERED = re.compile(r"((?:Table|Tab\.|Figure|Fig\.) ?[\w.]+)\s*[:.,–—-]\s*(\S.*)", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A printed cell: what stands left and right of its decimal point, its half-width, power of ten, and the mark of its note."""

    left: str = ""
    right: str = ""
    half: str = ""
    power: int = 0
    mark: Mark = ""
    note: str = ""

    @property
    def text(self) -> bool:
        """Whether it is no number, and stands in the middle."""
        return _NUMBER.match(self.left) is None


@dataclass(frozen=True, kw_only=True)
class Head:
    """What stands above a printed column, from the top: a group, the label with its power of ten and note, and a word below."""

    label: str
    group: str = ""
    below: str = ""
    power: int = 0
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Line:
    """A printed row."""

    label: str
    pieces: tuple[Piece, ...]
    group: str = ""
    power: int = 0
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """All that print shows of a table; `notes` have their marks, remarks have none."""

    caption: str
    name: str
    stub: str
    heads: tuple[Head, ...]
    lines: tuple[Line, ...]
    notes: tuple[tuple[str, str], ...]
    remarks: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Print:
    """How a table goes into print; `caption` and `label` stand for those of the suite.

    `baseline` names a row to which every other one has its difference. `width` is that of the text, in points.
    """

    caption: str = ""
    label: str = ""
    baseline: str = ""
    transpose: bool = False
    width: float = 397.5


PLAIN = Print()
"""As the suite says, for a text of 5.5 inches."""


def sheet(table: Table, look: Print) -> Sheet:
    """Heads with arrows and scaled units, cells with as many digits as they are known to, notes by first use."""
    notes = _Notes()
    base = next((row for row in table.rows if row.entry == look.baseline), None)
    scales = {column: _scale(table, column) for column in table.columns}
    heads = [head for column, scaled in scales.items() for head in _heads(table, column, scaled, base, notes)]
    lines = [
        Line(
            label=row.label,
            group=row.group,
            pieces=tuple(
                piece for column, scaled in scales.items() for piece in _pieces(table, row, column, scaled, base, notes)
            ),
        )
        for row in table.rows
    ]
    made = Sheet(
        caption=look.caption or caption(table),
        name=table.name,
        stub="Model",
        heads=tuple(heads),
        lines=_whole(lines),
        notes=(*notes.numbered, *notes.lettered),
        remarks=_remarks(table, look, base),
    )
    return transposed(made) if look.transpose else made


def _heads(table: Table, column: Column, scaled: Scale, base: Row | None, notes: _Notes) -> Iterator[Head]:
    head = Head(
        label=_label(scaled.label, table, column),
        group=column.group,
        power=scaled.power,
        note=notes.letters(_column_notes(table, column)),
    )
    alone = "paper" if any(other.show == "both" for other in table.columns) else ""
    below = {"both": ["paper", "here"], "reported": [alone]}.get(column.show, [""])
    yield from (replace(head, below=word) for word in below)
    if _compared(column, base):
        yield replace(head, below="Δ")


def _pieces(table: Table, row: Row, column: Column, scaled: Scale, base: Row | None, notes: _Notes) -> Iterator[Piece]:
    cell = row.cells[column.metric]
    if column.show != "measured":
        yield _reported(cell, notes)
    if column.show != "reported":
        yield _measured(cell, column, scaled, notes)
    if base is not None and _compared(column, base):
        yield _delta(row, base, column, scaled, table.alpha)


def _whole(lines: Sequence[Line]) -> tuple[Line, ...]:
    """Of a printed column that has 310M above 1.4B the points say nothing: its numbers end below each other instead."""
    columns = zip(*(line.pieces for line in lines), strict=True)
    mixed = {index for index, pieces in enumerate(columns) if len(set(filter(None, map(_letter_of, pieces)))) > 1}

    def joined(line: Line) -> Line:
        pieces = [
            replace(piece, left=piece.left + piece.right, right="") if index in mixed and not piece.text else piece
            for index, piece in enumerate(line.pieces)
        ]
        return replace(line, pieces=tuple(pieces))

    return tuple(map(joined, lines))


def _letter_of(piece: Piece) -> str:
    """What a number is counted in, `M` of 310M; nothing for what is no number, or is counted in ones."""
    return "" if piece.text else piece.right.lstrip("0123456789.,")


def _compared(column: Column, base: Row | None) -> bool:
    """Whether differences to the baseline stand behind a column."""
    return base is not None and column.show != "reported" and base.cells[column.metric].value is not None


def caption(table: Table) -> str:
    """Title and source; a paper's `Table 2:` is told with the source, since the caption gets a number of its own."""
    found = _NUMBERED.fullmatch(table.title)
    where = origin(table)
    if found is None:
        return f"{table.title} ({where})"
    return f"{found[2][0].upper()}{found[2][1:]} ({found[1]} of the paper; {where})"


def transposed(one: Sheet) -> Sheet:
    """Rows as columns; the word below a head goes behind it."""
    heads = tuple(Head(label=line.label, group=line.group) for line in one.lines)
    lines = tuple(
        Line(
            label=f"{head.label}, {head.below}" if head.below else head.label,
            group=head.group,
            power=head.power,
            note=head.note,
            pieces=tuple(line.pieces[index] for line in one.lines),
        )
        for index, head in enumerate(one.heads)
    )
    return replace(one, stub="", heads=heads, lines=lines)


class _Notes:
    """Marks by first use: numbers for cells, letters for heads; equal texts share one."""

    def __init__(self) -> None:
        self.numbered: list[tuple[str, str]] = []
        self.lettered: list[tuple[str, str]] = []

    def number(self, text: str) -> str:
        return _mark(self.numbered, text, str(len(self.numbered) + 1))

    def letters(self, texts: Sequence[str]) -> str:
        return ",".join(_mark(self.lettered, text, _letter(len(self.lettered))) for text in texts)


def _mark(known: list[tuple[str, str]], text: str, fresh: str) -> str:
    """The mark that a text has, or a fresh one."""
    for mark, other in known:
        if other == text:
            return mark
    known.append((fresh, text))
    return fresh


def _letter(index: int) -> str:
    """a to z, then aa to zz."""
    return ascii_lowercase[index % 26] * (1 + index // 26)


def _scale(table: Table, column: Column) -> Scale:
    """Numbers of a paper stay in its unit."""
    cells = [row.cells[column.metric] for row in table.rows]
    exact = all(cell.exact for cell in cells if cell.value is not None)
    if column.show != "measured" or column.format == "si" or exact:
        return Scale(label=column.label)
    return scale(column.label, [cell.value for cell in cells if cell.value is not None])


def _label(label: str, table: Table, column: Column) -> str:
    arrow = ARROWS[table.directions.get(column.metric, "none")]
    return label if not arrow or any(sign in label for sign in ARROWS.values() if sign) else f"{label} {arrow}"


def _column_notes(table: Table, column: Column) -> list[str]:
    if column.show == "reported":
        return []
    prices = dict.fromkeys(cell.prices for row in table.rows if (cell := row.cells[column.metric]).prices)
    return [*prices, *floors_of(table, column)]


def _reported(cell: Cell, notes: _Notes) -> Piece:
    if cell.reported is None:
        return Piece()
    if cell.reported.value is None:
        return Piece(left=ABSENT, note=notes.number(NOT_FOUND))
    return _split(cell.reported.text)


def _measured(cell: Cell, column: Column, scaled: Scale, notes: _Notes) -> Piece:
    if cell.value is None:
        return Piece(left=ABSENT, note=notes.number(not_measured(cell.reason))) if cell.told else Piece()
    half = None if cell.half_width is None else cell.half_width * scaled.factor
    form = ".4g" if not half and scaled.factor != 1 else column.format
    found = digits(cell.value * scaled.factor, half, form)
    piece = _split(f"{'≥ ' if cell.at_least else ''}{found.mean}")
    note = notes.number(cell.reason) if cell.told else ""
    return replace(piece, half=found.half, power=found.power, mark=cell.mark, note=note)


def _delta(row: Row, base: Row, column: Column, scaled: Scale, alpha: float) -> Piece:
    """The difference to the baseline over equal seeds; a star where its interval leaves 0 out."""
    cell, other = row.cells[column.metric], base.cells[column.metric]
    found = None if row is base or cell.value is None else paired(cell, other, alpha)
    if found is None:
        return Piece()
    half = None if found.high is None else (found.high - found.mean) * scaled.factor
    told = digits(found.mean * scaled.factor, half, column.format)
    sign = "+" if found.mean > 0 and told.mean.strip("0.") else ""
    sure = found.low is not None and (found.above(0) or found.below(0))
    return replace(_split(f"{sign}{told.mean}"), power=told.power, note="*" if sure else "")


def _split(text: str) -> Piece:
    """A number at its decimal point; any other text stays whole."""
    found = _NUMBER.fullmatch(text)
    return Piece(left=f"{found[1] or ''}{found[2]}", right=found[3]) if found else Piece(left=text)


def _remarks(table: Table, look: Print, base: Row | None) -> tuple[str, ...]:
    lines = signs(table, "bold", "underlined")
    if base is not None:
        share = 100 - round(200 * table.alpha)
        lines.append(f"Δ: difference to {base.label} over equal seeds; *: its {share} % interval leaves 0 out")
    if look.caption and any(column.show != "reported" for column in table.columns):
        lines.append(f"measured by {source(table.suite, table.arxiv, table.profile)}")
    return tuple(filter(None, (*lines, table.note)))
