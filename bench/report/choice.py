"""Choice: which of a suite's tables, rows and columns are shown. Marks of the best are those among the rows that are left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from retable.bench.errors import BenchError, nearest
from retable.bench.report.table import Row, Table, ranked
from retable.bench.suite import Column, chosen


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Names of tables, globs over rows (`!glob` leaves out), heads or metrics of columns in their order; empty: all."""

    tables: tuple[str, ...] = ()
    rows: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()


def choose(tables: Sequence[Table], choice: Choice) -> list[Table]:
    """The chosen tables with the chosen rows and columns; those that keep neither are left out.

    Raises BenchError for a choice that matches nothing anywhere.
    """
    names = [table.name for table in tables]
    if unknown := [name for name in choice.tables if name not in names]:
        raise BenchError(f"there is no table {unknown[0]!r}{nearest(unknown[0], names) or _known(names)}")
    kept = [table for table in tables if not choice.tables or table.name in choice.tables]
    _refuse_idle(kept, choice)
    made = [_narrowed(table, choice) for table in kept]
    return [table for table in made if table.rows and table.columns]


def _narrowed(table: Table, choice: Choice) -> Table:
    rows = tuple(row for row in table.rows if not choice.rows or _taken(row, choice.rows))
    columns = table.columns
    if choice.columns:
        columns = tuple(one for word in choice.columns for one in table.columns if _called(one, word))
    return ranked(replace(table, rows=rows, columns=columns))


def _refuse_idle(tables: Sequence[Table], choice: Choice) -> None:
    rows = [row.entry for table in tables for row in table.rows]
    for glob in choice.rows:
        if not any(fnmatchcase(row, glob.removeprefix("!")) for row in rows):
            raise BenchError(f"no row of these tables matches {glob!r}{nearest(glob.removeprefix('!'), rows)}")
    columns = [column for table in tables for column in table.columns]
    for word in choice.columns:
        if not any(_called(column, word) for column in columns):
            known = list(dict.fromkeys(name for column in columns for name in (column.label, column.metric)))
            raise BenchError(f"no column of these tables is called {word!r}{nearest(word, known) or _known(known)}")


def _taken(row: Row, globs: tuple[str, ...]) -> bool:
    every = ("*",) if all(glob.startswith("!") for glob in globs) else ()
    return chosen(row.entry, (*every, *globs))


def _called(column: Column, word: str) -> bool:
    return word in (column.label, column.metric) or fnmatchcase(column.metric, word)


def _known(names: Sequence[str]) -> str:
    return f"; there {'is' if len(names) == 1 else 'are'} {', '.join(names)}" if names else ""
