"""Table: a suite's layout filled from its records; what a cell shows, and the records behind it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from statistics import fmean
from typing import Literal

from retable.bench.judge import stats
from retable.bench.judge.contested import Others, machine, nobody, told
from retable.bench.judge.results import Environments, Results, absence, mixed_software
from retable.bench.record import Direction, Measurement
from retable.bench.suite import Column, Component, Entry, Layout, Reported, Suite

Mark = Literal["", "best", "second"]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A measured value with its half-width and number of seeds, beside the paper's; `reason` says why there is none.

    `basis` is what the number was measured on: values with different ones are not compared.
    """

    value: float | None = None
    half_width: float | None = None
    n: int = 0
    exact: bool = False
    direction: Direction = "none"
    floor: float | None = None
    reason: str = ""
    reported: Reported | None = None
    mark: Mark = ""
    basis: str = ""
    at_least: float = 0.0
    """The share that is not in the value, which is then a lower bound."""
    prices: str = ""
    """What an energy's constants are, and what they leave out."""
    records: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Row:
    """One entry with a cell for each metric of the columns."""

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


def build_tables(
    suite: Suite,
    results: Results,
    environment: Environments = lambda identity: None,
    others: Others = nobody,
) -> list[Table]:
    """Every table of the suite at its profile; a number that is not there is a cell with the reason.

    With `environment` a table says which of its rows come from other versions of torch or NumPy, with `others` which of
    its numbers other machines contest.
    """
    return [_build(layout, suite, results, environment, others) for layout in suite.layouts]


def legend(table: Table, best: str, second: str) -> list[str]:
    """What marks and ± of a table mean; `best` and `second` are how a renderer shows them, empty when it does not."""
    measured = {column.metric for column in table.columns if column.show != "reported"}
    cells = [cell for row in table.rows for metric, cell in row.cells.items() if metric in measured]
    lines = []
    marks = {cell.mark for cell in cells}
    if shown := [f"{look}: {mark}" for mark, look in (("best", best), ("second", second)) if look and mark in marks]:
        lines.append(f"{', '.join(shown)} among the values measured at profile {table.profile}")
    if seeds := sorted({cell.n for cell in cells if cell.half_width is not None}):
        counts = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
        share = 100 - round(200 * stats.ALPHA)
        lines.append(f"±: half-width of the {share} % interval of the mean over {counts} seeds (Student's t)")
    if gaps := [cell.at_least for cell in cells if cell.at_least]:
        lines.append(f"≥: at least; up to {max(gaps):.2g} of what was done is in no count or without a price")
    lines += sorted({cell.prices for cell in cells if cell.prices})
    return lines


def _build(layout: Layout, suite: Suite, results: Results, environment: Environments, others: Others) -> Table:
    metrics = dict.fromkeys(column.metric for column in layout.columns)
    rows = [
        Row(
            entry=entry.name,
            label=entry.label,
            group=entry.group,
            cells={
                metric: _contested(cell_of(entry, metric, suite, results), entry, metric, results, environment, others)
                for metric in metrics
            },
        )
        for entry in suite.entries
        if chosen(entry.name, layout.rows)
    ]
    for column in layout.columns:
        if column.show != "reported":
            rows = _ranked(rows, column)
    return Table(
        name=layout.name,
        title=layout.title,
        note="; ".join(filter(None, (layout.note, mixed_software((row.entry for row in rows), results, environment)))),
        suite=suite.name,
        arxiv=suite.arxiv,
        profile=suite.profile.name,
        columns=layout.columns,
        rows=tuple(rows),
    )


def chosen(name: str, globs: tuple[str, ...]) -> bool:
    """Whether the last glob that matches takes the name in; one that starts with `!` takes it out."""
    taken = False
    for glob in globs:
        if fnmatchcase(name, glob.removeprefix("!")):
            taken = not glob.startswith("!")
    return taken


def cell_of(entry: Entry, metric: str, suite: Suite, results: Results) -> Cell:
    """The same for every column of a metric: what a column shows of it is the renderer's business."""
    cell = Cell(reported=entry.reported.get(metric))
    if entry.method is None:
        return cell
    if metric not in entry.metrics:
        return replace(cell, reason=_unplanned(entry, metric, suite))
    return _measured(cell, entry, metric, results)


def _contested(
    cell: Cell, entry: Entry, metric: str, results: Results, environment: Environments, others: Others
) -> Cell:
    """A number that other machines have measured otherwise says so; it stays what it is."""
    records = [results[entry.name, n] for n in entry.repetitions if (entry.name, n) in results]
    said = told(records, metric, others, lambda other: machine(other, environment))
    return replace(cell, reason="; ".join(filter(None, (cell.reason, said)))) if said else cell


def _unplanned(entry: Entry, metric: str, suite: Suite) -> str:
    """A number of the paper that another profile leaves out needs the paper's configuration."""
    elsewhere = metric in entry.reported and suite.profile.name != "paper" and "paper" in suite.profiles
    return "needs profile paper" if elsewhere else "not measured by this row"


def _measured(cell: Cell, entry: Entry, metric: str, results: Results) -> Cell:
    found: list[Measurement] = []
    keys, reasons = [], []
    for repetition in entry.repetitions:
        record = results.get((entry.name, repetition))
        if record is None:
            reasons.append("not run")
            continue
        keys.append(record.key)
        measured = record.metrics.get(metric)
        if record.ended and measured is not None and measured.value is not None:
            found.append(measured)
        else:
            reasons.append(absence(record, metric))
    cell = replace(cell, records=tuple(keys))
    if not found:
        return replace(cell, reason=reasons[0] if reasons else "no repetitions")
    partly = f"{len(found)} of {len(entry.repetitions)} seeds: {reasons[0]}" if reasons else ""
    return _summarised(replace(cell, reason=partly), entry, found)


def _summarised(cell: Cell, entry: Entry, found: list[Measurement]) -> Cell:
    exact = all(measured.exact for measured in found)
    try:
        estimate = stats.interval([measured.value for measured in found if measured.value is not None], exact=exact)
    except ValueError as why:
        return replace(cell, reason=str(why))
    floors = [measured.floor for measured in found if measured.floor is not None]
    return replace(
        cell,
        value=estimate.mean,
        half_width=None if exact or estimate.high is None else estimate.high - estimate.mean,
        n=len(found),
        exact=exact,
        direction=found[0].direction,
        floor=fmean(floors) if floors else None,
        at_least=max(float(measured.details.get("at_least", 0)) for measured in found),
        prices=str(found[0].details.get("prices", "")),
        basis="; ".join(dict.fromkeys(_basis(entry.dataset, measured) for measured in found)),
    )


def _basis(dataset: Component | None, measured: Measurement) -> str:
    data = "" if dataset is None else f"{dataset.use}({', '.join(f'{k}={v}' for k, v in dataset.params.items())})"
    samples = "" if measured.n is None else f"{measured.n} samples"
    return ", ".join(part for part in (data, samples, measured.unit, f"version {measured.version}") if part)


def _ranked(rows: list[Row], column: Column) -> list[Row]:
    """Mark best and second among the measured rows of equal basis; values that look the same share a mark.

    What a paper reports is not ranked, nor are exact numbers: a parameter count is a size, not a merit.
    """
    rivals: dict[str, list[Cell]] = {}
    for row in rows:
        if _has_rank(cell := row.cells[column.metric]):
            rivals.setdefault(cell.basis, []).append(cell)
    marks = {basis: _marks(cells, column.format) for basis, cells in rivals.items()}

    def marked(row: Row) -> Row:
        cell = row.cells[column.metric]
        if not _has_rank(cell):
            return row
        mark = marks[cell.basis].get(_look(cell, column.format), "")
        return replace(row, cells={**row.cells, column.metric: replace(cell, mark=mark)})

    return [marked(row) for row in rows]


def _marks(cells: list[Cell], form: str) -> dict[str, Mark]:
    """Which look is best and which second; none where all look the same."""
    ordered = sorted(cells, key=_value, reverse=cells[0].direction == "higher")
    places = list(dict.fromkeys(_look(cell, form) for cell in ordered))
    return dict(zip(places, ("best", "second"), strict=False)) if len(places) > 1 else {}


def _has_rank(cell: Cell) -> bool:
    return cell.value is not None and not cell.exact and cell.direction != "none"


def _value(cell: Cell) -> float:
    assert cell.value is not None, "only cells that hold a value are ranked"
    return cell.value


def _look(cell: Cell, form: str) -> str:
    """What of a value can be told apart in print; `si` shows four digits, and 0.0 and -0.0 are one number."""
    value = _value(cell) + 0.0
    return f"{value:.4g}" if form == "si" else format(round(value) if form.endswith("d") else value, form)
