"""Titles: the texts of a picture, as they are written, in lines as long as the picture has room for."""

from __future__ import annotations

from textwrap import wrap

from retable.bench.report.escape import clean
from retable.bench.report.grid import source
from retable.bench.report.plot import Plot

LETTER = 5.0
"""Typographic points that a letter of 9 points takes on average; 72 are an inch."""


def title(plot: Plot, inches: float) -> str:
    """What stands above a plot of this width: a mini number must never look like the paper's."""
    return folded(f"{plot.title}\n{source(plot.suite, plot.arxiv, plot.profile)}", inches)


def folded(text: str, inches: float) -> str:
    """A text of 9 points in lines of this length at most, broken between words."""
    letters = max(12, int(72 * inches / LETTER))
    return literal("\n".join("\n".join(wrap(line, letters, break_long_words=False)) for line in text.split("\n")))


def literal(text: str) -> str:
    """A label as it is written: no mathematics, no control characters."""
    return "\n".join(clean(line) for line in text.split("\n")).replace("$", r"\$")
