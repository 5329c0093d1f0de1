"""A table as plain texts in rows and columns: what every renderer starts from."""

from __future__ import annotations

from dataclasses import dataclass

from retable.bench.report.numbers import ABSENT, NOT_FOUND, measured, not_measured, number, reported
from retable.bench.report.table import Mark, Table
from retable.bench.suite import Column


@dataclass(frozen=True)
class Text:
    """A cell's text, how it ranks, and the number of its footnote (0: none)."""

    text: str
    mark: Mark = ""
    note: int = 0


@dataclass(frozen=True)
class Grid:
    """Header, rows of texts with their group, and the footnotes: why cells are absent, what real against real gives."""

    header: list[str]
    rows: list[tuple[str, list[Text]]]
    notes: list[str]


def grid(table: Table, *, footnoted: bool = False) -> Grid:
    """Columns shown side by side become two; equal reasons share a footnote.

    `footnoted` is for print: also what the paper does not say is a dash with a footnote, and each says which kind it is.
    """
    header = ["Model"]
    for column in table.columns:
        if column.show in ("reported", "both"):
            header.append(f"{column.label} (paper)")
        if column.show in ("measured", "both"):
            header.append(f"{column.label} (here)" if column.show == "both" else column.label)
    notes: list[str] = []

    def note(reason: str) -> int:
        if reason not in notes:
            notes.append(reason)
        return notes.index(reason) + 1

    rows = []
    for row in table.rows:
        texts = [Text(row.label)]
        for column in table.columns:
            cell = row.cells[column.metric]
            if column.show in ("reported", "both"):
                unknown = footnoted and cell.reported is not None and cell.reported.value is None
                texts.append(Text(ABSENT, note=note(NOT_FOUND)) if unknown else Text(reported(cell)))
            if column.show in ("measured", "both"):
                reason = not_measured(cell.reason) if footnoted and cell.value is None else cell.reason
                texts.append(Text(measured(cell, column), cell.mark, note(reason) if cell.told else 0))
        rows.append((row.group, texts))
    return Grid(header, rows, notes + floors(table))


def floors(table: Table) -> list[str]:
    """What real data against real ones give, a line a column that knows it."""
    return [line for column in table.columns for line in floors_of(table, column)]


def floors_of(table: Table, column: Column) -> list[str]:
    """The line of one column, if it knows it."""
    found = [floor for row in table.rows if (floor := row.cells[column.metric].floor) is not None]
    if not found or column.show == "reported":
        return []
    return [f"{column.label}: real images against real ones give {number(sum(found) / len(found), column.format)}"]


def caption(table: Table) -> str:
    """Title, profile and source: a mini number must never look like the paper's."""
    return f"{table.title} ({origin(table)})"


def origin(table: Table) -> str:
    """As `source`; a table that only quotes was measured at no profile."""
    measured = any(column.show != "reported" for column in table.columns)
    return source(table.suite, table.arxiv, table.profile if measured else "")


def source(suite: str, arxiv: str, profile: str) -> str:
    """`suite table2_aim, arXiv 2408.12245, profile mini`."""
    return ", ".join(
        filter(None, (f"suite {suite}", f"arXiv {arxiv}" if arxiv else "", f"profile {profile}" if profile else ""))
    )
