"""Plots as SVG, PDF and PNG files by matplotlib, and as text: what each shows, for who cannot see it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import BenchError
from bench.plot import Axis, Plot, Point
from bench.report.escape import clean

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = ("svg", "pdf", "png")
SIZE = (7.0, 4.6)
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000", "#999933")
"""Told apart with any colour vision (Okabe and Ito); markers repeat the distinction."""
MARKERS = "osD^vP*X"
MOST_TICKS = 12
"""So few places on a logarithmic axis are all named."""


def draw(plot: Plot, folder: Path) -> list[Path]:
    """Write the plot in every format and return the files; equal records give equal bytes.

    Raises BenchError without matplotlib, and for a plot of which no row was measured.
    """
    if plot.empty:
        raise BenchError(f"plot {plot.name}: none of its rows was measured: {'; '.join(plot.missing) or 'no rows'}")
    try:
        import matplotlib
    except ModuleNotFoundError as error:
        raise BenchError('plots need matplotlib: pip install -e ".[plots]"') from error
    matplotlib.use("Agg")
    with (
        matplotlib.rc_context({"svg.hashsalt": plot.name, "font.size": 9, "axes.spines.top": False}),
        _figure() as (figure, axes),
    ):
        _fill(axes, plot)
        files = []
        for kind in FORMATS:
            file = folder / f"{plot.name}.{kind}"
            figure.savefig(file, dpi=150, metadata=_dateless(kind))
            files.append(file)
    return files


def _dateless(kind: str) -> dict[str, Any]:
    return {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {"Software": None}}[kind]


@contextmanager
def _figure() -> Iterator[tuple[Figure, Axes]]:
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=SIZE, layout="constrained")
    axes.spines["right"].set_visible(False)
    axes.grid(alpha=0.25)
    try:
        yield figure, axes
    finally:
        pyplot.close(figure)


def _fill(axes: Axes, plot: Plot) -> None:
    axes.set_title(
        _literal(f"{plot.title}\nsuite {plot.suite}, arXiv {plot.arxiv}, profile {plot.profile}"), fontsize=9
    )
    axes.set_xlabel(_axis_label(plot.x))
    axes.set_ylabel(_axis_label(plot.y))
    axes.set_xscale(plot.x.scale)
    if plot.points:
        _points(axes, plot)
    for i, line in enumerate(plot.lines):
        _join(axes, line.label, line.points, i)
    places = sorted({point.x for line in plot.lines for point in line.points})
    if plot.x.scale == "log" and len(places) < MOST_TICKS:
        axes.set_xticks(places, [f"{place:g}" for place in places])
        axes.minorticks_off()
    if plot.x.places:
        axes.set_xticks(
            range(len(plot.x.places)), [_literal(place) for place in plot.x.places], rotation=60, ha="right"
        )
        axes.tick_params(axis="x", labelsize=6)
    if plot.lines or len({point.group for point in plot.points}) > 1:
        axes.legend(frameon=False, fontsize=8)


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
            label=_literal(group),
            elinewidth=0.8,
            markersize=5,
        )
    _name_points(axes, plot.points)
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
    """Labels beside their points, towards the middle; those of near points take turns above and below."""
    axes.autoscale_view()
    to_axes = axes.transData + axes.transAxes.inverted()
    placed = sorted(((float(to_axes.transform((p.x, p.y))[0]), p) for p in points), key=lambda pair: pair[0])
    for i, (across, point) in enumerate(placed):
        left = across > 0.6
        axes.annotate(
            _literal(point.label),
            (point.x, point.y),
            (-5 if left else 5, (4, -9, 12, -17)[i % 4]),
            textcoords="offset points",
            ha="right" if left else "left",
            fontsize=6,
        )


def _join(axes: Axes, label: str, points: tuple[Point, ...], i: int) -> None:
    axes.errorbar(
        [point.x for point in points],
        [point.y for point in points],
        yerr=[point.dy for point in points],
        marker=MARKERS[i % len(MARKERS)],
        color=COLOURS[i % len(COLOURS)],
        linestyle=("-", "--", ":")[i // len(COLOURS) % 3],
        label=_literal(label),
        elinewidth=0.8,
        markersize=4,
        linewidth=1.2,
    )


def _axis_label(axis: Axis) -> str:
    better = {"higher": ", higher is better", "lower": ", lower is better", "none": ""}[axis.direction]
    return _literal(axis.label + better)


def _literal(text: str) -> str:
    """A label as it is written: no mathematics, no control characters."""
    return "\n".join(clean(line) for line in text.split("\n")).replace("$", r"\$")


def describe(plot: Plot) -> str:
    """The plot's numbers as lines of text."""
    lines = [f"{plot.title} (suite {plot.suite}, arXiv {plot.arxiv}, profile {plot.profile})"]
    lines += [f"  {point.label}: {_pair(point)}" for point in plot.points]
    for line in plot.lines:
        lines.append(f"  {line.label}: " + "; ".join(_pair(point) for point in line.points))
    if plot.front:
        lines.append("  front: " + ", ".join(point.label for point in plot.front))
    lines += [f"  not drawn: {reason}" for reason in plot.missing]
    return "\n".join(lines)


def _pair(point: Point) -> str:
    return f"{point.x:.4g}, {point.y:.4g} ± {point.dy:.2g}"
