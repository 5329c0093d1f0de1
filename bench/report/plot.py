"""Plot: a suite's sketch filled from its records, as points with their spread; nothing is drawn here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any, Literal

from retable.bench.judge import stats
from retable.bench.judge.results import Results
from retable.bench.record import Direction
from retable.bench.report.table import Cell, cell_of
from retable.bench.report.words import capital, with_unit, words
from retable.bench.suite import Entry, Sketch, Suite, chosen
from retable.bench.versions.rates import Rates


@dataclass(frozen=True, kw_only=True)
class Point:
    """A mean with the half-widths of its interval; `label` is its row."""

    x: float
    y: float
    dx: float = 0.0
    dy: float = 0.0
    label: str = ""
    group: str = ""


@dataclass(frozen=True, kw_only=True)
class Line:
    """Points in the order in which they are joined."""

    label: str
    points: tuple[Point, ...]


@dataclass(frozen=True, kw_only=True)
class Axis:
    """What an axis shows; `places` are the names of x = 0, 1, ... where it has no numbers."""

    label: str
    direction: Direction = "none"
    scale: Literal["linear", "log"] = "linear"
    places: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Heat:
    """A value for every place and step of one row, places from the input on; one step where only means are known."""

    label: str
    places: tuple[str, ...]
    values: tuple[tuple[float, ...], ...]

    @property
    def steps(self) -> int:
        return max(map(len, self.values), default=0)


@dataclass(frozen=True, kw_only=True)
class Plot:
    """Points, lines or maps, ready to be drawn; `front` are the scatter's points that no other beats in both metrics."""

    name: str
    title: str
    note: str
    suite: str
    arxiv: str
    profile: str
    x: Axis
    y: Axis
    points: tuple[Point, ...] = ()
    lines: tuple[Line, ...] = ()
    front: tuple[Point, ...] = ()
    heats: tuple[Heat, ...] = ()
    missing: tuple[str, ...] = ()
    """Rows without a number, each with its reason."""

    @property
    def empty(self) -> bool:
        return not self.points and not self.heats and not any(line.points for line in self.lines)


def build_plots(suite: Suite, results: Results, rates: Rates | None = None) -> list[Plot]:
    """Every plot of the suite at its profile; rows that were not measured are named, not drawn.

    `rates` are what layers did step by step, for heat maps; without them a map has the means of the metric's details.
    """
    return [_build(sketch, suite, results, rates or {}) for sketch in suite.sketches]


def _build(sketch: Sketch, suite: Suite, results: Results, rates: Rates) -> Plot:
    build = {"scatter": _scatter, "lines": _lines, "curve": _curves, "heat": _heats}[sketch.kind]
    return build(_Sheet(sketch, suite, results, rates))


@dataclass(frozen=True)
class _Sheet:
    """What the three kinds share: how rows become points, and the head of the plot."""

    sketch: Sketch
    suite: Suite
    results: Results
    rates: Rates

    def rows(self, globs: Sequence[str]) -> list[Entry]:
        return [entry for entry in self.suite.entries if entry.method and chosen(entry.name, tuple(globs))]

    def pairs(self, rows: Iterable[Entry]) -> tuple[list[Point], list[Cell], list[str]]:
        """A point a row, the cells of the last one, and the rows without."""
        points, missing = [], []
        cells: list[Cell] = []
        for entry in rows:
            pair = [cell_of(entry, metric, self.suite, self.results) for metric in (self.sketch.x, self.sketch.y)]
            x, y = pair
            if x.value is None or y.value is None:
                missing.append(f"{entry.label}: {x.reason if x.value is None else y.reason}")
                continue
            cells = pair
            dx, dy = (cell.half_width or 0.0 for cell in pair)
            points.append(Point(x=x.value, y=y.value, dx=dx, dy=dy, label=entry.label, group=entry.group))
        return points, cells, missing

    def axis(self, metric: str, cell: Cell | None = None) -> Axis:
        unit = "" if cell is None else cell.basis.rpartition(", version ")[0].rpartition(", ")[2]
        return Axis(
            label=with_unit(words(self.suite, metric), unit),
            direction="none" if cell is None else cell.direction,
            scale=self.sketch.scale if metric == self.sketch.x else "linear",
        )

    def plot(self, x: Axis, y: Axis, missing: Sequence[str], **content: Any) -> Plot:
        sketch, suite = self.sketch, self.suite
        return Plot(
            name=sketch.name,
            title=sketch.title,
            note=sketch.note,
            suite=suite.name,
            arxiv=suite.arxiv,
            profile=suite.profile.name,
            x=x,
            y=y,
            missing=tuple(missing),
            **content,
        )


def _scatter(sheet: _Sheet) -> Plot:
    points, cells, missing = sheet.pairs(sheet.rows(sheet.sketch.rows))
    x, y = (sheet.axis(metric, cell) for metric, cell in _cells(sheet.sketch, cells))
    return sheet.plot(x, y, missing, points=tuple(points), front=front(points, x.direction, y.direction))


def _lines(sheet: _Sheet) -> Plot:
    lines, missing = [], []
    seen: list[Cell] = []
    for series in sheet.sketch.series:
        points, cells, without = sheet.pairs(sheet.rows(series.rows))
        lines.append(Line(label=series.label, points=tuple(sorted(points, key=lambda point: point.x))))
        missing += without
        seen = cells or seen
    x, y = (sheet.axis(metric, cell) for metric, cell in _cells(sheet.sketch, seen))
    return sheet.plot(x, replace(y, label=sheet.sketch.label or y.label), missing, lines=tuple(lines))


def _cells(sketch: Sketch, cells: list[Cell]) -> list[tuple[str, Cell | None]]:
    return list(zip((sketch.x, sketch.y), cells or (None, None), strict=True))


def _curves(sheet: _Sheet) -> Plot:
    """Details of a metric by what follows the prefix: by number where all are numbers, else in the order of the first row."""
    found, missing = _details(sheet)
    numeric = all(_number(place) is not None for values in found.values() for place in values)
    depth = {label: {place: float(i) for i, place in enumerate(values)} for label, values in found.items()}
    lines = []
    for label, values in found.items():
        at = {place: _number(place) for place in values} if numeric else depth[label]
        points = [_mean_point(x, values[place], place) for place, x in at.items() if x is not None]
        lines.append(Line(label=label, points=tuple(sorted(points, key=lambda point: point.x))))
    axis = Axis(label=sheet.sketch.across or capital(sheet.sketch.prefix.strip()), scale=sheet.sketch.scale)
    if not numeric and len({tuple(values) for values in found.values()}) == 1:
        axis = Axis(label=axis.label, places=tuple(next(iter(found.values()))))
    return sheet.plot(axis, _own_axis(sheet), missing, lines=tuple(lines))


def _own_axis(sheet: _Sheet) -> Axis:
    sketch = sheet.sketch
    return Axis(label=sketch.label) if sketch.label else sheet.axis(sketch.y)


def _details(sheet: _Sheet) -> tuple[dict[str, dict[str, list[float]]], list[str]]:
    """By row and by what follows the prefix: the details' values over the seeds; and the rows that have none."""
    found: dict[str, dict[str, list[float]]] = {}
    missing = []
    for entry in sheet.rows(sheet.sketch.rows):
        values: dict[str, list[float]] = {}
        for repetition in entry.repetitions:
            record = sheet.results.get((entry.name, repetition))
            measured = record.metrics.get(sheet.sketch.y) if record else None
            for key, value in (measured.details if measured else {}).items():
                if key.startswith(sheet.sketch.prefix) and isinstance(value, int | float):
                    values.setdefault(key.removeprefix(sheet.sketch.prefix), []).append(float(value))
        if values:
            found[entry.label] = values
        else:
            missing.append(f"{entry.label}: {cell_of(entry, sheet.sketch.y, sheet.suite, sheet.results).reason}")
    return found, missing


def _heats(sheet: _Sheet) -> Plot:
    """A map a row, of layers and time steps where they are known, else of layers alone (their means over the seeds)."""
    found, missing = _details(sheet)
    names = {entry.label: entry.name for entry in sheet.rows(sheet.sketch.rows)}
    heats = []
    for label, values in found.items():
        by_step = sheet.rates.get(names[label]) or {place: [fmean(seeds)] for place, seeds in values.items()}
        heats.append(Heat(label=label, places=tuple(map(_place, by_step)), values=tuple(map(tuple, by_step.values()))))
    y = sheet.axis(sheet.sketch.y, _first_cell(sheet))
    if sheet.sketch.label:
        y = Axis(label=sheet.sketch.label)
    return sheet.plot(Axis(label="Time step"), y, missing, heats=tuple(heats))


def _first_cell(sheet: _Sheet) -> Cell | None:
    cells = (cell_of(e, sheet.sketch.y, sheet.suite, sheet.results) for e in sheet.rows(sheet.sketch.rows))
    return next((cell for cell in cells if cell.value is not None), None)


def _place(layer: str) -> str:
    """A layer without the number that keeps details in order, and without what all layers begin with."""
    return re.sub(r"^\d+ ", "", layer).removeprefix("network.")


def _mean_point(x: float, values: list[float], label: str) -> Point:
    estimate = stats.interval(values)
    spread = 0.0 if estimate.high is None else estimate.high - estimate.mean
    return Point(x=x, y=estimate.mean, dy=spread, label=label)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def front(points: Sequence[Point], x: Direction, y: Direction) -> tuple[Point, ...]:
    """The points that no other is at least as good as in both metrics and better in one, by x; none without directions."""
    if "none" in (x, y):
        return ()
    sign = {"higher": 1.0, "lower": -1.0}

    def merit(point: Point) -> tuple[float, float]:
        return sign[x] * point.x, sign[y] * point.y

    def beaten(point: Point) -> bool:
        a, b = merit(point)
        return any(c >= a and d >= b and (c, d) != (a, b) for c, d in map(merit, points))

    return tuple(sorted((point for point in points if not beaten(point)), key=lambda point: point.x))
