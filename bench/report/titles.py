"""Titles: the texts of a picture, as they are written."""

from __future__ import annotations

from retable.bench.report.escape import clean
from retable.bench.report.grid import source
from retable.bench.report.plot import Plot


def title(plot: Plot) -> str:
    """What stands above a plot: a mini number must never look like the paper's."""
    return literal(f"{plot.title}\n{source(plot.suite, plot.arxiv, plot.profile)}")


def literal(text: str) -> str:
    """A label as it is written: no mathematics, no control characters."""
    return "\n".join(clean(line) for line in text.split("\n")).replace("$", r"\$")
