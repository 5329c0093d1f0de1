"""A suite's report as one Markdown page: tables, verdicts, plots with their numbers as text."""

from __future__ import annotations

from collections.abc import Sequence

from retable.bench.judge.judgement import Judgement
from retable.bench.report import markdown
from retable.bench.report.draw import describe
from retable.bench.report.escape import markdown as escaped
from retable.bench.report.files import safe_name
from retable.bench.report.plot import Plot
from retable.bench.report.table import Table
from retable.bench.suite import Suite


def render(suite: Suite, tables: Sequence[Table], judgements: Sequence[Judgement], plots: Sequence[Plot]) -> str:
    """The images lie in `plots/` beside the page, as `draw.draw` names them."""
    parts = [
        f"# {escaped(suite.title)}",
        f"Suite `{suite.name}`, profile `{suite.profile.name}`{f': {escaped(suite.cited)}' if suite.cited else ''}.",
        markdown.render(tables),
        *(_plot(plot) for plot in plots),
        "## Verdicts",
        markdown.render_judgements(judgements),
    ]
    return "\n\n".join(part.strip("\n") for part in parts if part) + "\n"


def _plot(plot: Plot) -> str:
    parts = [f"## {escaped(plot.title)}"]
    if not plot.empty:
        parts.append(f"![{escaped(plot.title)}](plots/{safe_name(plot.name)}.svg)")
    if plot.note:
        parts.append(escaped(plot.note))
    numbers = "\n".join(f"    {line}" for line in describe(plot).splitlines())
    parts.append(
        f"x: {escaped(plot.x.label)}; y: {escaped(plot.y.label)}; ± is the half-width of the interval.\n\n{numbers}"
    )
    return "\n\n".join(parts)
