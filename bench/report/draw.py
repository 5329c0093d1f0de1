"""Plots as SVG and PDF by matplotlib, narrow ones for telephones, and as text: what each shows, for who cannot see it."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from retable.bench.errors import BenchError
from retable.bench.report import maps
from retable.bench.report.files import safe_name
from retable.bench.report.grid import source
from retable.bench.report.plot import Axis, Plot, Point
from retable.bench.report.titles import folded, literal, title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.transforms import Bbox

FORMATS = ("svg", "pdf")
SIZE, NARROW = (7.0, 4.6), (3.7, 4.6)
"""Inches; the narrow one is as wide as a telephone, where the letters keep their size."""
BESIDE = 0.8
"""Inches of them that are beside or below an axis."""
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000", "#999933")
"""Told apart with any colour vision (Okabe and Ito); markers repeat the distinction."""
MARKERS = "osD^vP*X"
_FEW, _APART = 6, 0.07
"""So many values are ticks of their own, if neighbours are this share of the axis apart."""
_PLACES = [(dx, dy) for dy in (0, 7, -7, 14, -14, 22, -22, 30, -30, 40, -40) for dx in (6, -6)]
_PLACES += [(0, dy) for dy in (9, -9, 16, -16, 24, -24, 34, -34)]
_PLACES += [(dx, dy) for dy in (12, -12, 24, -24, 40, -40) for dx in (24, -24)]
"""Where a point's label may stand, in typographic points: right of it, left of it (dx < 0), or centred (dx = 0)."""


def draw(plot: Plot) -> list[tuple[str, bytes]]:
    """The plot in every format, as names of files and their bytes; equal records give equal bytes.

    Raises BenchError without matplotlib, and for a plot of which no row was measured.
    """
    name = safe_name(plot.name)
    return [(f"{name}.{kind}", drawn) for kind, drawn in zip(FORMATS, _drawn(plot, FORMATS, SIZE), strict=True)]


def draw_narrow(plot: Plot) -> bytes:
    """The plot as SVG for a narrow window; maps stand below each other. Raises as `draw` does."""
    return _drawn(plot, ("svg",), NARROW)[0]


def _drawn(plot: Plot, kinds: Sequence[str], size: tuple[float, float]) -> list[bytes]:
    if plot.empty:
        raise BenchError(f"plot {plot.name}: none of its rows was measured: {'; '.join(plot.missing) or 'no rows'}")
    try:
        import matplotlib
    except ModuleNotFoundError as error:
        raise BenchError('plots need matplotlib: pip install -e ".[plots]"') from error
    matplotlib.use("Agg")
    with (
        warnings.catch_warnings(action="ignore", category=UserWarning),  # a glyph that the font lacks is drawn as a box
        matplotlib.rc_context({"svg.hashsalt": plot.name, "font.size": 9, "axes.spines.top": False}),
        maps.sheet(plot, size[0]) if plot.heats else _figure(plot, size) as figure,
    ):
        files = []
        for kind in kinds:
            drawn = BytesIO()
            figure.savefig(drawn, format=kind, dpi=150, metadata=_dateless(kind))
            files.append(drawn.getvalue())
    return files


def _dateless(kind: str) -> dict[str, Any]:
    return {"svg": {"Date": None}, "pdf": {"CreationDate": None}}[kind]


@contextmanager
def _figure(plot: Plot, size: tuple[float, float]) -> Iterator[Figure]:
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=size)
    axes.spines["right"].set_visible(False)
    axes.grid(alpha=0.25)
    try:
        _fill(axes, plot, size)
        yield figure
    finally:
        pyplot.close(figure)


def _fill(axes: Axes, plot: Plot, size: tuple[float, float]) -> None:
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    width, height = (side - BESIDE for side in size)
    axes.set_title(title(plot, width), fontsize=9)
    axes.set_xlabel(folded(_axis_label(plot.x), width))
    axes.set_ylabel(folded(_axis_label(plot.y), height - BESIDE))
    axes.set_xscale(plot.x.scale)
    if plot.points:
        _points(axes, plot)
    for i, line in enumerate(plot.lines):
        _join(axes, line.label, line.points, i)
    if plot.x.places:
        axes.set_xticks(range(len(plot.x.places)), [literal(place) for place in plot.x.places], rotation=60, ha="right")
        axes.tick_params(axis="x", labelsize=6)
    if plot.x.scale == "log":
        _tick_log(axes, {point.x for line in plot.lines for point in line.points} or {p.x for p in plot.points})
    figure = axes.get_figure(root=True)
    assert figure is not None
    if any(line.label for line in plot.lines) or len({point.group for point in plot.points}) > 1:
        _explain(figure, columns=min(4, len(axes.get_legend_handles_labels()[1])))
    ConstrainedLayoutEngine().execute(figure)  # once, here: labels can be placed, and no format computes it again
    if plot.points:
        _name_points(axes, plot.points)


def _explain(figure: Figure, columns: int) -> None:
    """A legend below the axes with as many of the columns as the picture is wide."""
    legend = figure.legend(loc="outside lower center", ncols=columns, frameon=False, fontsize=8)
    if columns > 1 and legend.get_window_extent().width > figure.bbox.width:
        legend.remove()
        _explain(figure, columns - 1)


def _tick_log(axes: Axes, values: set[float]) -> None:
    """Plain numbers, at the values themselves where they are few; a short axis would have hardly any without help."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator

    low, high = axes.get_xlim()
    if len(values) <= _FEW and _far_apart(values, low, high) and all(map(_short, values)):
        axes.xaxis.set_major_locator(FixedLocator(sorted(values)))
    elif low > 0 and high < 5 * low:
        axes.xaxis.set_major_locator(MaxNLocator(6))
    else:
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=12))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())


def _short(value: float) -> bool:
    """Whether a tick may bear the value itself: 0.0128893 says no more than its place does, and runs into the next."""
    return float(f"{value:.3g}") == value


def _far_apart(values: set[float], low: float, high: float) -> bool:
    """Whether what is written below them does not run into each other on a logarithmic axis from `low` to `high`."""
    places = sorted(math.log(value / low) / math.log(high / low) for value in values if value > 0)
    return all(b - a >= _APART for a, b in pairwise(places))


def _points(axes: Axes, plot: Plot) -> None:
    groups = list(dict.fromkeys(point.group for point in plot.points))
    for i, group in enumerate(groups):
        members = [point for point in plot.points if point.group == group]
        axes.errorbar(
            [point.x for point in members],
            [point.y for point in members],
            xerr=[point.dx for point in members],
            yerr=[point.dy for point in members],
            fmt=MARKERS[i % len(MARKERS)],
            color=COLOURS[i % len(COLOURS)],
            label=literal(group),
            elinewidth=0.8,
            markersize=5,
        )
    if plot.front:
        axes.plot(
            [point.x for point in plot.front],
            [point.y for point in plot.front],
            color="#888888",
            linestyle="--",
            linewidth=1,
            zorder=0,
            label="Pareto front",
        )


def _name_points(axes: Axes, points: tuple[Point, ...]) -> None:
    """Labels beside their points, each where it hides least of what is there already, with a line to its point."""
    from matplotlib.text import Text
    from matplotlib.transforms import Bbox

    figure = axes.get_figure(root=True)
    assert figure is not None
    scale = figure.dpi / 72  # pixels of a typographic point
    taken = [box for point in points for box in _boxes(axes, point)]
    for point in sorted(points, key=lambda point: (-point.y, point.x)):
        label = axes.annotate(
            literal(point.label),
            (point.x, point.y),
            (0, 0),
            textcoords="offset points",
            va="center",
            ha="left",
            fontsize=6,
            arrowprops={"arrowstyle": "-", "linewidth": 0.4, "color": "#888888", "shrinkA": 0, "shrinkB": 2},
        )
        label.set_in_layout(False)
        own = Text.get_window_extent(label)  # without the arrow
        x, y = axes.transData.transform((point.x, point.y))
        places = []
        for dx, dy in _PLACES:
            left = x + dx * scale - own.width * (0.5 if dx == 0 else dx < 0)
            box = Bbox.from_bounds(left, y + dy * scale - own.height / 2, own.width, own.height)
            places.append((_cost(box, dx, dy, taken, axes), dx, dy, box))
        _, dx, dy, box = min(places, key=lambda place: place[0])
        label.set_position((dx, dy))
        label.set_horizontalalignment("center" if dx == 0 else "right" if dx < 0 else "left")
        taken.append(box)


def _cost(box: Bbox, dx: float, dy: float, taken: Sequence[Bbox], axes: Axes) -> float:
    """How bad a place is: area shared with other things, what sticks out of the axes, and a little for distance."""
    shared = sum(_shared(box, other) for other in taken)
    return 4 * shared + 3 * (box.width * box.height - _shared(box, axes.bbox)) + 2 * (abs(dx) + abs(dy))


def _shared(one: Bbox, other: Bbox) -> float:
    width = min(one.x1, other.x1) - max(one.x0, other.x0)
    height = min(one.y1, other.y1) - max(one.y0, other.y0)
    return float(max(width, 0) * max(height, 0))


def _boxes(axes: Axes, point: Point) -> list[Bbox]:
    """What a point covers: its marker, and its two bars."""
    from matplotlib.transforms import Bbox

    x, y = axes.transData.transform((point.x, point.y))
    left, low = axes.transData.transform((point.x - point.dx, point.y - point.dy))
    right, high = axes.transData.transform((point.x + point.dx, point.y + point.dy))
    boxes = [Bbox([[x - 5, y - 5], [x + 5, y + 5]])]
    boxes += [Bbox([[left, y - 1], [right, y + 1]]), Bbox([[x - 1, low], [x + 1, high]])]
    return [box for box in boxes if all(map(math.isfinite, (box.x0, box.x1, box.y0, box.y1)))]


def _join(axes: Axes, label: str, points: tuple[Point, ...], i: int) -> None:
    axes.errorbar(
        [point.x for point in points],
        [point.y for point in points],
        yerr=[point.dy for point in points],
        marker=MARKERS[i % len(MARKERS)],
        color=COLOURS[i % len(COLOURS)],
        linestyle=("-", "--", ":")[i // len(COLOURS) % 3],
        label=literal(label),
        elinewidth=0.8,
        markersize=4,
        linewidth=1.2,
    )


def _axis_label(axis: Axis) -> str:
    better = {"higher": ", higher is better", "lower": ", lower is better", "none": ""}[axis.direction]
    return axis.label + better


def describe(plot: Plot) -> str:
    """The plot's numbers as lines of text."""
    lines = [f"{plot.title} ({source(plot.suite, plot.arxiv, plot.profile)})"]
    lines += [f"  {point.label}: {_pair(point)}" for point in plot.points]
    for line in plot.lines:
        lines.append(f"  {line.label}: " + "; ".join(_pair(point) for point in line.points))
    for heat in plot.heats:
        lines.append(f"  {heat.label}, layer by layer, step by step:")
        for place, values in zip(heat.places, heat.values, strict=True):
            lines.append(f"    {place}: {' '.join(f'{value:.3f}' for value in values)}")
    if plot.front:
        lines.append("  front: " + ", ".join(point.label for point in plot.front))
    lines += [f"  not drawn: {reason}" for reason in plot.missing]
    return "\n".join(lines)


def _pair(point: Point) -> str:
    return f"{point.x:.4g}, {point.y:.4g} ± {point.dy:.2g}"
