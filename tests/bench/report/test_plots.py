"""Plots: declared in a suite, filled from records, drawn to files that are equal for equal records."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retable.bench.errors import BenchError
from retable.bench.record import Direction
from retable.bench.report import maps
from retable.bench.report.draw import FORMATS, NARROW, SIZE, _figure, describe, draw
from retable.bench.report.maps import LONGEST, _end
from retable.bench.report.plot import Axis, Heat, Line, Plot, Point, build_plots, front
from retable.bench.suite import Series, Sketch
from tests.bench.conftest import Bench
from tests.bench.report.made_tables import HOSTILE, entry, results, suite

PLOTS = """
plots:
  - {name: weights, title: Weight against itself, kind: scatter, rows: ["*"], x: weight, y: weight}
  - {name: joined, title: Weights, kind: lines, x: weight, y: weight, series: [{label: Ours, rows: [low, high]}]}
"""


def test_a_report_is_a_page_with_its_plots(bench: Bench) -> None:
    bench.suite.write_text(bench.suite.read_text() + PLOTS)
    assert bench("run", "tiny", "--jobs", "0", "--quiet").returncode == 0
    done = bench("report", "tiny", "--out", "shown")
    assert done.returncode == 0, done.stderr
    folder = bench.folder / "shown" / "tiny"
    page = (folder / "report.md").read_text()
    for name in ("weights", "joined"):
        assert f"](plots/{name}.svg)" in page
        assert all((folder / "plots" / f"{name}.{kind}").stat().st_size > 1000 for kind in FORMATS)
    assert "High has more weight than Low" in page
    files = [file for file in (bench.folder / "shown").rglob("*") if file.is_file()]
    before = {file: file.read_bytes() for file in files}
    assert bench("report", "tiny", "--out", "shown").returncode == 0
    assert {file: file.read_bytes() for file in (bench.folder / "shown").rglob("*") if file.is_file()} == before


def test_a_report_without_records_draws_nothing_and_says_so(bench: Bench) -> None:
    bench.suite.write_text(bench.suite.read_text() + PLOTS)
    assert bench("run", "tiny", "--jobs", "0", "--quiet", "--only", "cited-not").returncode == 2
    assert bench("run", "tiny", "--jobs", "0", "--quiet", "--only", "low", "--seeds", "1").returncode == 0
    bench.edit("level: 1.0", "level: 1.5")
    assert bench("report", "tiny", "--out", "shown").returncode == 0
    page = (bench.folder / "shown" / "tiny" / "report.md").read_text()
    assert "not drawn: Low: not run" in page
    assert not list((bench.folder / "shown").rglob("*.svg"))


@pytest.mark.parametrize(
    ("plot", "sentence"),
    [
        ("{name: p, title: P, kind: scatter, rows: [low], y: weight}", "a plot of the kind 'scatter' needs 'x'"),
        ("{name: p, title: P, kind: lines, x: weight, y: weight}", "a plot of the kind 'lines' needs 'series'"),
        ("{name: p, title: P, kind: curve, rows: [low], y: weight}", "a plot of the kind 'curve' needs 'prefix'"),
        (
            "{name: p, title: P, kind: scatter, rows: [low], x: weight, y: weight, label: W}",
            "a plot of the kind 'scatter' has no 'label'",
        ),
        (
            '{name: p, title: P, kind: curve, rows: [low], y: weight, prefix: "a ", x: weight}',
            "a plot of the kind 'curve' has no 'x'",
        ),
        ("{name: p, title: P, kind: scatter, rows: [lo], x: weight, y: weight}", "no entry matches the row 'lo'"),
        ("{name: p, title: P, kind: scatter, rows: [low], x: weigth, y: weight}", "did you mean 'weight'"),
        ("{name: p, title: P, kind: pie, rows: [low], y: weight}", "scatter"),
    ],
)
def test_impossible_plots_name_their_line(bench: Bench, plot: str, sentence: str) -> None:
    bench.suite.write_text(f"{bench.suite.read_text()}plots:\n  - {plot}\n")
    done = bench("check", str(bench.suite))
    assert done.returncode == 2
    assert sentence in done.stderr
    assert f"tiny.yaml:{len(bench.suite.read_text().splitlines())}" in done.stderr


def world(sketch: Sketch, *values: list[float | None]) -> Plot:
    rows = [entry(i, f"Row {i}") for i in range(len(values))]
    made = suite(rows)
    object.__setattr__(made, "sketches", (sketch,))
    return build_plots(made, results(*values))[0]


def test_points_carry_intervals_and_missing_rows_their_reason() -> None:
    sketch = Sketch(name="p", title="P", kind="scatter", x="score", y="score", rows=("*",))
    plot = world(sketch, [1.0, 1.1, 1.2], [None, None, None])
    (point,) = plot.points
    assert (point.x, point.label) == (pytest.approx(1.1), "Row 0")
    assert point.dy == point.dx > 0
    assert len(plot.missing) == 1
    assert plot.missing[0].startswith("Row 1: ")


def test_a_line_is_joined_by_x() -> None:
    line = Series(label="all", rows=("*",))
    sketch = Sketch(name="p", title="P", kind="lines", x="score", y="score", series=(line,))
    (joined,) = world(sketch, [3.0, 3.1], [1.0, 1.1], [2.0, 2.1]).lines
    assert [point.label for point in joined.points] == ["Row 1", "Row 2", "Row 0"]


def test_a_curve_goes_through_the_details_after_the_prefix_by_number() -> None:
    sketch = Sketch(name="p", title="P", kind="curve", y="score", rows=("*",), prefix="eps ", label="Accuracy")
    made = suite([entry(0, "Row 0"), entry(1, "Row 1")])
    object.__setattr__(made, "sketches", (sketch,))
    found = results([1.0, 2.0], details={"eps": 9, "eps 10": 3.0, "eps 0.5": 5.0})
    plot = build_plots(made, found)[0]
    (line,) = plot.lines
    assert [(point.x, point.y) for point in line.points] == [(0.5, 5.0), (10.0, 3.0)]
    assert (plot.x.label, plot.y.label) == ("Eps", "Accuracy")
    assert plot.missing == ("Row 1: not run",)


def test_axes_are_named_as_declared_and_keep_their_direction() -> None:
    line = Series(label="all", rows=("*",))
    sketch = Sketch(name="p", title="P", kind="lines", x="score", y="score", series=(line,), label="Right answers (%)")
    plot = world(sketch, [1.0, 1.1])
    plain = world(replace(sketch, label=""), [1.0, 1.1])
    assert plot.y == replace(plain.y, label="Right answers (%)")
    assert plot.x == plain.x
    made = suite([entry(0, "Row 0")])
    curve = Sketch(name="p", title="P", kind="curve", y="score", rows=("*",), prefix="eps ", across="Budget (of 255)")
    object.__setattr__(made, "sketches", (curve,))
    assert build_plots(made, results([1.0], details={"eps 1": 3.0}))[0].x.label == "Budget (of 255)"


@pytest.mark.parametrize(("values", "at_values"), [((1, 3, 10, 30), True), ((0.0092, 0.0094, 0.01, 0.12), False)])
def test_ticks_stand_at_the_values_only_where_they_can_be_read(values: tuple[float, ...], at_values: bool) -> None:
    points = tuple(Point(x=x, y=i) for i, x in enumerate(values))
    axis = Axis(label="x", scale="log")
    plot = Plot(
        name="p", title="P", note="", suite="s", arxiv="0", profile="mini", x=axis, y=Axis(label="y"), points=points
    )
    with _figure(plot, SIZE) as figure:
        ticks = figure.axes[0].get_xticks()
        low, high = figure.axes[0].get_xlim()
    assert (set(values) == {float(tick) for tick in ticks}) == at_values
    assert sum(low <= tick <= high for tick in ticks) >= 2


def test_a_layer_s_short_name_keeps_its_head_and_its_end() -> None:
    names = [f"{part}.layer_stack.{i}.slf_attn_t.lif_kv" for part in ("encoder", "decoder") for i in range(3)]
    short = [_end(name) for name in names]
    assert len(set(short)) == len(names)
    assert all(len(name) <= LONGEST for name in short)


places = st.integers(-5, 5).map(float)


@given(
    pairs=st.lists(st.tuples(places, places), max_size=12),
    x=st.sampled_from(["higher", "lower"]),
    y=st.sampled_from(["higher", "lower"]),
)
def test_the_front_is_what_nothing_beats(pairs: list[tuple[float, float]], x: Direction, y: Direction) -> None:
    points = [Point(x=a, y=b) for a, b in pairs]
    sign = {"higher": 1, "lower": -1}
    merits = [(sign[x] * p.x, sign[y] * p.y) for p in points]
    kept = front(points, x, y)
    for point, merit in zip(points, merits, strict=True):
        beaten = any(other != merit and other[0] >= merit[0] and other[1] >= merit[1] for other in merits)
        assert (point in kept) is not beaten
    assert front(points, "none", y) == ()


@pytest.mark.parametrize("text", [HOSTILE, "$x$", "\\frac{", "", "a" * 300])
def test_hostile_labels_are_drawn_as_they_are_written(text: str) -> None:
    axis = Axis(label=text, places=(text, "b"))
    line = Line(label=text, points=(Point(x=0, y=1, label=text), Point(x=1, y=2)))
    plot = Plot(
        name="p", title=text, note="", suite="s", arxiv="0", profile="mini", x=axis, y=Axis(label=text), lines=(line,)
    )
    for _, content in draw(plot):
        assert len(content) > 1000
    assert "1 ± 0" in describe(plot)


@pytest.mark.parametrize("length", [3, 30, 60])
def test_the_legend_stays_in_the_picture(length: int) -> None:
    lines = tuple(Line(label=f"{i}" * length, points=(Point(x=0, y=i), Point(x=1, y=i))) for i in range(5))
    axis = Axis(label="x")
    plot = Plot(name="p", title="P", note="", suite="s", arxiv="0", profile="mini", x=axis, y=axis, lines=lines)
    with _figure(plot, SIZE) as figure:
        (legend,) = figure.legends
        assert len(legend.texts) == 5
        assert legend.get_window_extent().width <= figure.bbox.width


def test_a_narrow_picture_of_maps_holds_its_scale_and_what_the_scale_says() -> None:
    places = tuple(f"encoder.layer.{i}.attention.self.neuron" for i in range(12))
    heat = Heat(label="Row", places=places, values=((0.25, 0.5),) * 12)
    label = "Spikes a neuron and step (an integer spike counts with its value)"
    axis = Axis(label="Time step")
    plot = Plot(
        name="p",
        title="P",
        note="",
        suite="s",
        arxiv="0",
        profile="mini",
        x=axis,
        y=Axis(label=label),
        heats=(heat,) * 3,
    )
    with maps.sheet(plot, NARROW[0]) as figure:
        figure.draw_without_rendering()
        said = figure.axes[-1].xaxis.label.get_window_extent()
        assert figure.bbox.x0 <= said.x0
        assert said.x1 <= figure.bbox.x1
        assert figure.get_figwidth() == pytest.approx(NARROW[0], abs=0.2)


@pytest.mark.parametrize(("values", "own"), [((1, 2, 4), True), ((0.0128893, 0.0248761, 0.256315), False)])
def test_ticks_are_the_values_themselves_only_where_they_are_short(values: tuple[float, ...], own: bool) -> None:
    points = tuple(Point(x=value, y=value, label=f"{value}") for value in values)
    axis = Axis(label="x", scale="log")
    plot = Plot(
        name="p", title="P", note="", suite="s", arxiv="0", profile="mini", x=axis, y=Axis(label="y"), points=points
    )
    with _figure(plot, NARROW) as figure:
        figure.draw_without_rendering()
        shown = [text.get_text() for text in figure.axes[0].get_xticklabels()]
        assert (shown == [f"{value:g}" for value in values]) is own
        assert all(len(text) <= 5 for text in shown)


def test_an_empty_plot_is_refused_with_its_reasons() -> None:
    axis = Axis(label="x")
    plot = Plot(
        name="p", title="P", note="", suite="s", arxiv="0", profile="mini", x=axis, y=axis, missing=("A: not run",)
    )
    with pytest.raises(BenchError, match="none of its rows was measured: A: not run"):
        draw(plot)
