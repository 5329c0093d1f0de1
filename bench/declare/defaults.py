"""What a suite means that does not say it: the table of one that declares none."""

from __future__ import annotations

from collections.abc import Sequence

from retable.bench.declare.params import build_metric
from retable.bench.suite import Column, Entry, Layout


def default_layouts(name: str, title: str, entries: Sequence[Entry]) -> tuple[Layout, ...]:
    """One table of all rows, with a column a metric that some row reports or measures, in the order of their first mention."""
    metrics = dict.fromkeys(metric for entry in entries for metric in (*entry.reported, *entry.metrics))
    return (Layout(name=name, title=title, rows=("*",), columns=tuple(map(_column, metrics))),)


def _column(metric: str) -> Column:
    component = type(build_metric(metric))
    unit = str(getattr(component, "UNIT", ""))
    counted = bool(getattr(component, "EXACT", False))
    own = unit and unit not in metric and not counted
    return Column(label=f"{metric} ({unit})" if own else metric, metric=metric, format="si" if counted else ".4g")
