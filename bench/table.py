"""Table: a suite's layout filled from its records; what a cell shows, and the records behind it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from statistics import fmean
from typing import Literal

from bench import stats
from bench.record import Direction, Record
from bench.suite import Column, Entry, Layout, Reported, Suite

Results = Mapping[tuple[str, int], Record]
Mark = Literal["", "best", "second"]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A measured value with its half-width and number of seeds, beside the paper's; `reason` says why there is none."""

    value: float | None = None
    half_width: float | None = None
    n: int = 0
    exact: bool = False
    direction: Direction = "none"
    floor: float | None = None
    reason: str = ""
    reported: Reported | None = None
    mark: Mark = ""
    records: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Row:
    """One entry with a cell for each column, by metric."""

    entry: str
    label: str
    group: str
    cells: Mapping[str, Cell]


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows x columns, ready to be rendered."""

    name: str
    title: str
    note: str
    suite: str
    arxiv: str
    profile: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]


def build_tables(suite: Suite, results: Results) -> list[Table]:
    """Every table of the suite at its profile; rows without any value in its columns are those that were not run."""
    return [_build(layout, suite, results) for layout in suite.layouts]


def _build(layout: Layout, suite: Suite, results: Results) -> Table:
    entries = [entry for entry in suite.entries if _chosen(entry.name, layout.rows)]
    rows = [
        Row(
            entry=entry.name,
            label=entry.label,
            group=entry.group,
            cells={column.metric: _cell(entry, column, suite, results) for column in layout.columns},
        )
        for entry in entries
    ]
    for column in layout.columns:
        rows = _ranked(rows, column.metric)
    return Table(
        name=layout.name,
        title=layout.title,
        note=layout.note,
        suite=suite.name,
        arxiv=suite.arxiv,
        profile=suite.profile.name,
        columns=layout.columns,
        rows=tuple(rows),
    )


def _chosen(name: str, globs: tuple[str, ...]) -> bool:
    """Whether the last glob that matches takes the name in; one that starts with `!` takes it out."""
    chosen = False
    for glob in globs:
        if fnmatchcase(name, glob.removeprefix("!")):
            chosen = not glob.startswith("!")
    return chosen


def _cell(entry: Entry, column: Column, suite: Suite, results: Results) -> Cell:
    reported = entry.reported.get(column.metric) if column.show != "measured" else None
    if column.show == "reported":
        return Cell(reported=reported)
    if entry.method is None:
        return Cell(reported=reported)
    if column.metric not in entry.metrics:
        return Cell(reported=reported, reason=_unplanned(entry, column, suite))
    return _measured(entry, column.metric, results, reported)


def _unplanned(entry: Entry, column: Column, suite: Suite) -> str:
    others = [name for name in suite.profiles if name != suite.profile.name]
    return (
        f"needs profile {' or '.join(others)}" if column.metric in entry.reported and others else "not part of this row"
    )


def _measured(entry: Entry, metric: str, results: Results, reported: Reported | None) -> Cell:
    values, floors, keys, reasons = [], [], [], []
    exact = True
    direction: Direction = "none"
    for repetition in entry.repetitions:
        record = results.get((entry.name, repetition))
        if record is None:
            reasons.append("not run")
            continue
        keys.append(record.key)
        measurement = record.metrics.get(metric)
        if not record.ok or measurement is None or measurement.value is None:
            reasons.append(_absence(record, metric))
            continue
        values.append(measurement.value)
        floors += [] if measurement.floor is None else [measurement.floor]
        exact, direction = exact and measurement.exact, measurement.direction
    common = Cell(reported=reported, records=tuple(keys), reason=reasons[0] if reasons else "")
    if not values:
        return replace(common, reason=common.reason or "no repetitions")
    estimate = stats.interval(values)
    return replace(
        common,
        value=estimate.mean,
        half_width=None if exact or len(values) < 2 else estimate.high - estimate.mean,
        n=len(values),
        exact=exact,
        direction=direction,
        floor=fmean(floors) if floors else None,
        reason=f"{len(values)} of {len(entry.repetitions)} seeds: {reasons[0]}" if reasons else "",
    )


def _absence(record: Record, metric: str) -> str:
    if record.ok:
        measurement = record.metrics.get(metric)
        return measurement.reason or "" if measurement else "not measured by this row"
    message = record.failure.message.splitlines()[0] if record.failure and record.failure.message else ""
    return f"{record.status}{f': {message}' if message else ''}"


def _ranked(rows: list[Row], metric: str) -> list[Row]:
    """Mark the best and second value of a column among the measured rows, ties shared; reported values are not ranked."""
    cells = [row.cells[metric] for row in rows if row.cells[metric].value is not None]
    directions = {cell.direction for cell in cells}
    if len(cells) < 2 or directions not in ({"higher"}, {"lower"}) or all(cell.exact for cell in cells):
        return rows
    ordered = sorted({cell.value for cell in cells if cell.value is not None}, reverse=directions == {"higher"})
    marks: dict[float, Mark] = dict(zip(ordered, ("best", "second"), strict=False))

    def marked(row: Row) -> Row:
        cell = row.cells[metric]
        if cell.value is None:
            return row
        return replace(row, cells={**row.cells, metric: replace(cell, mark=marks.get(cell.value, ""))})

    return [marked(row) for row in rows]
