"""Table: a suite's layout filled from its records; what a cell shows, and the records behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import Literal

from retable.bench import registry
from retable.bench.errors import BenchError
from retable.bench.judge import stats
from retable.bench.judge.contested import Others, machine, nobody, told
from retable.bench.judge.results import UNPLANNED, Environments, Results, absence, mixed_software
from retable.bench.record import Direction, Measurement
from retable.bench.suite import Column, Component, Entry, Layout, Reported, Suite, chosen

Mark = Literal["", "best", "second"]
ELSEWHERE = "needs profile paper"


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
    values: tuple[tuple[int, float], ...] = ()
    """The number of each repetition, from which rows are compared in pairs."""
    at_least: float = 0.0
    """The share that is not in the value, which is then a lower bound."""
    prices: str = ""
    """What an energy's constants are, and what they leave out."""
    records: tuple[str, ...] = ()

    @property
    def told(self) -> bool:
        """Whether a reader is told why there is no value, or not a whole one; of what nobody meant to measure not."""
        return self.reason not in ("", UNPLANNED)

    @property
    def planned(self) -> bool:
        """Whether there is, or should be, a measured value."""
        return self.told and self.reason != ELSEWHERE


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
    directions: Mapping[str, Direction] = field(default_factory=dict)
    """Of each metric that is a merit; a size (an exact count) has none."""
    alpha: float = stats.ALPHA


def build_tables(
    suite: Suite,
    results: Results,
    environment: Environments = lambda identity: None,
    others: Others = nobody,
) -> list[Table]:
    """Every table of the suite that has rows and columns at its profile; a number that is not there is a cell with the reason.

    With `environment` a table says which of its rows come from other versions of torch or NumPy, with `others` which of
    its numbers other machines contest.
    """
    made = (_build(layout, suite, results, environment, others) for layout in suite.layouts)
    return [table for table in made if table.rows and table.columns]


def legend(table: Table, best: str, second: str) -> list[str]:
    """What marks and ± of a table mean; `best` and `second` are how a renderer shows them, empty when it does not."""
    return [*signs(table, best, second), *sorted({cell.prices for cell in measured_cells(table) if cell.prices})]


def measured_cells(table: Table) -> list[Cell]:
    """Of the columns that show what was measured."""
    measured = {column.metric for column in table.columns if column.show != "reported"}
    return [cell for row in table.rows for metric, cell in row.cells.items() if metric in measured]


def signs(table: Table, best: str, second: str) -> list[str]:
    """The legend without what energies are priced at."""
    cells = measured_cells(table)
    lines = []
    marks = {cell.mark for cell in cells}
    if shown := [f"{look}: {mark}" for mark, look in (("best", best), ("second", second)) if look and mark in marks]:
        ties = ", with those that its seeds cannot tell from it" if _ties(table) else ""
        lines.append(f"{', '.join(shown)} among the values measured at profile {table.profile}{ties}")
    if seeds := sorted({cell.n for cell in cells if cell.half_width is not None}):
        counts = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
        share = 100 - round(200 * stats.ALPHA)
        lines.append(f"±: half-width of the {share} % interval of the mean over {counts} seeds (Student's t)")
    if gaps := [cell.at_least for cell in cells if cell.at_least]:
        lines.append(f"≥: at least; up to {max(gaps):.2g} of what was done is in no count or without a price")
    return lines


def _build(layout: Layout, suite: Suite, results: Results, environment: Environments, others: Others) -> Table:
    metrics = dict.fromkeys(column.metric for column in layout.columns)
    given = f"set by the command: {', '.join(suite.overrides)}" if suite.overrides else ""
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
    software = mixed_software((row.entry for row in rows), results, environment)
    made = Table(
        name=layout.name,
        title=layout.title,
        note="; ".join(filter(None, (layout.note, given, _elsewhere(layout.columns, rows), software))),
        suite=suite.name,
        arxiv=suite.arxiv,
        profile=suite.profile.name,
        columns=_filled(layout.columns, rows),
        rows=tuple(rows),
        directions={metric: direction for metric in metrics if (direction := _direction(metric)) != "none"},
        alpha=suite.statistics.alpha,
    )
    return ranked(made)


def _elsewhere(columns: Sequence[Column], rows: Sequence[Row]) -> str:
    """Which columns have numbers of the paper that only its own profile measures."""
    labels = [
        column.label
        for column in columns
        if column.show != "reported"
        and any(row.cells[column.metric].reason == ELSEWHERE for row in rows)
        and not any(row.cells[column.metric].value is not None for row in rows)
    ]
    return f"not measured here ({ELSEWHERE}): {', '.join(labels)}" if labels else ""


def _direction(metric: str) -> Direction:
    """As its class says; of a count that seeds cannot change none, and of what nobody registered."""
    try:
        component = registry.resolve("metric", metric.partition("[")[0])
    except BenchError:
        return "none"
    direction: Direction = getattr(component, "DIRECTION", "none")
    return "none" if getattr(component, "EXACT", False) else direction


def _filled(columns: Sequence[Column], rows: Sequence[Row]) -> tuple[Column, ...]:
    """The columns that hold something, each showing no more than it has: the paper's numbers, ours, or both."""
    filled = []
    for column in columns:
        cells = [row.cells[column.metric] for row in rows]
        paper = column.show != "measured" and any(cell.reported is not None for cell in cells)
        here = column.show != "reported" and any(cell.value is not None or cell.planned for cell in cells)
        if paper or here:
            filled.append(replace(column, show="both" if paper and here else "reported" if paper else "measured"))
    return tuple(filled)


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
    return ELSEWHERE if elsewhere else UNPLANNED


def _measured(cell: Cell, entry: Entry, metric: str, results: Results) -> Cell:
    found: list[Measurement] = []
    values: list[tuple[int, float]] = []
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
            values.append((repetition, measured.value))
        else:
            reasons.append(absence(record, metric))
    cell = replace(cell, records=tuple(keys), values=tuple(values))
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


def ranked(table: Table) -> Table:
    """The table with best and second marked, column by column, among the rows that it has."""
    rows = list(table.rows)
    for column in table.columns:
        if column.show != "reported":
            rows = _ranked(rows, column, table.alpha)
    return replace(table, rows=tuple(rows))


def _ranked(rows: list[Row], column: Column, alpha: float) -> list[Row]:
    """Mark best and second among the measured rows of equal basis; values that nobody can tell apart share a mark.

    What a paper reports is not ranked, nor are exact numbers: a parameter count is a size, not a merit.
    """
    rivals: dict[str, list[Cell]] = {}
    for row in rows:
        if _has_rank(cell := row.cells[column.metric]):
            rivals.setdefault(cell.basis, []).append(cell)
    marks: dict[int, Mark] = {}
    for cells in rivals.values():
        marks |= _marks(cells, column.format, alpha)

    def marked(row: Row) -> Row:
        cell = row.cells[column.metric]
        return replace(row, cells={**row.cells, column.metric: replace(cell, mark=marks.get(id(cell), ""))})

    return [marked(row) for row in rows]


def _marks(cells: list[Cell], form: str, alpha: float) -> dict[int, Mark]:
    """Marks by the identity of a cell; none behind which nothing is: what is last is not second."""
    ordered = sorted(cells, key=_value, reverse=cells[0].direction == "higher")
    marks: dict[int, Mark] = {}
    for mark in ("best", "second"):
        alike = [cell for cell in ordered if _alike(ordered[0], cell, form, alpha)]
        if len(alike) == len(ordered):
            break
        marks |= {id(cell): mark for cell in alike}
        ordered = [cell for cell in ordered if id(cell) not in marks]
    return marks


def _alike(one: Cell, other: Cell, form: str, alpha: float) -> bool:
    """Whether two values look the same in print, or the pairs of their seeds, or what is not in them, leave open which is larger."""
    if _look(one, form) == _look(other, form):
        return True
    low, high = sorted((one, other), key=_value)
    if low.at_least and _value(low) / (1 - min(low.at_least, 1 - 1e-9)) >= _value(high):
        return True
    found = paired(other, one, alpha)
    return found is not None and found.low is not None and not (found.above(0) or found.below(0))


def paired(cell: Cell, base: Cell, alpha: float) -> stats.Interval | None:
    """The difference of two cells over the seeds that both have; None without such a pair, or on other data."""
    mine, theirs = dict(cell.values), dict(base.values)
    shared = [n for n in mine if n in theirs]
    if not shared or cell.basis != base.basis:
        return None
    pairs = [mine[n] for n in shared], [theirs[n] for n in shared]
    try:
        return stats.differences(*pairs, alpha, exact=cell.exact and base.exact)
    except ValueError:
        return None


def _ties(table: Table) -> bool:
    """Whether values that do not look the same share a mark."""
    for column in table.columns:
        looks: dict[tuple[str, str], set[str]] = {}
        for row in table.rows:
            if (cell := row.cells[column.metric]).mark:
                looks.setdefault((cell.basis, cell.mark), set()).add(_look(cell, column.format))
        if any(len(found) > 1 for found in looks.values()):
            return True
    return False


def _has_rank(cell: Cell) -> bool:
    return cell.value is not None and not cell.exact and cell.direction != "none"


def _value(cell: Cell) -> float:
    assert cell.value is not None, "only cells that hold a value are ranked"
    return cell.value


def _look(cell: Cell, form: str) -> str:
    """What of a value can be told apart in print; `si` shows four digits, and 0.0 and -0.0 are one number."""
    value = _value(cell) + 0.0
    return f"{value:.4g}" if form == "si" else format(round(value) if form.endswith("d") else value, form)
