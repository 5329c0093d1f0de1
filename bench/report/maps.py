"""Maps: firing rates as heat maps of layer and time step, a panel a row, under one scale of colours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from retable.bench.report.plot import Heat, Plot
from retable.bench.report.titles import folded, literal, title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = "cividis"
"""Even in lightness, and alike for all colour vision."""
PANEL, BAR = 2.9, 0.7
"""Inches of a panel, and of the scale of colours beside them."""
ACROSS = 3
LONGEST, HEAD = 34, 11
"""Characters of a layer's name that are printed, and of its head: that tells encoder and decoder apart, the end what is in them."""
LEGIBLE = 6.0


@contextmanager
def sheet(plot: Plot, inches: float) -> Iterator[Figure]:
    """The figure, closed afterwards; at least a panel wide, where two do not fit one below the other."""
    from matplotlib import pyplot

    across = min(ACROSS if inches >= 2 * PANEL else 1, len(plot.heats))
    down = -(-len(plot.heats) // across)
    tallest = max(len(heat.places) for heat in plot.heats)
    size = (PANEL * across + BAR, max(1.8, 0.115 * tallest + 0.75) * down + 0.8)
    figure, grid = pyplot.subplots(down, across, figsize=size, squeeze=False, layout="constrained")
    try:
        figure.suptitle(title(plot, size[0]), fontsize=9)
        most = max((value for heat in plot.heats for row in heat.values for value in row), default=0.0) or 1.0
        image = None
        for axes, heat in zip(grid.flat, plot.heats, strict=False):
            image = _panel(axes, heat, plot, most)
        for axes in list(grid.flat)[len(plot.heats) :]:
            axes.set_visible(False)
        assert image is not None, "a plot without maps is empty"
        if across == 1 and down > 1:  # beside a tall column the scale would be far from most of it
            bar = figure.colorbar(image, ax=grid, location="top", fraction=BAR / size[1], aspect=25, pad=0.01)
            room = PANEL / 2  # as wide as a map beside the names of its layers
        else:
            bar = figure.colorbar(image, ax=grid, shrink=0.8, pad=0.01)
            room = size[1]
        bar.set_label(folded(plot.y.label, room), fontsize=8)
        bar.ax.tick_params(labelsize=7)
        yield figure
    finally:
        pyplot.close(figure)


def _panel(axes: Axes, heat: Heat, plot: Plot, most: float):  # type: ignore[no-untyped-def]  # a collection of matplotlib
    """Layers from the input at the top; a layer that takes fewer steps than another leaves its row empty there."""
    import numpy as np

    values = np.full((len(heat.places), heat.steps), np.nan)
    for row, steps in enumerate(heat.values):
        values[row, : len(steps)] = steps
    edges_x, edges_y = np.arange(heat.steps + 1) + 0.5, np.arange(len(heat.places) + 1) - 0.5
    image = axes.pcolormesh(edges_x, edges_y, values, cmap=COLOURS, vmin=0, vmax=most, linewidth=0, rasterized=False)
    axes.invert_yaxis()
    axes.set_title(literal(heat.label), fontsize=8)
    axes.set_yticks(range(len(heat.places)), [literal(_end(place)) for place in heat.places], fontsize=LEGIBLE)
    axes.tick_params(axis="both", length=2)
    if heat.steps > 1:
        axes.set_xlabel(literal(plot.x.label), fontsize=7)
        axes.set_xticks(range(1, heat.steps + 1, -(-heat.steps // 10)))
        axes.tick_params(axis="x", labelsize=6)
    else:
        axes.set_xticks([1], ["mean of all steps"], fontsize=6)
    return image


def _end(place: str) -> str:
    return place if len(place) <= LONGEST else f"{place[:HEAD]}…{place[HEAD + 1 - LONGEST :]}"
