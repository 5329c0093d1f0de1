"""What a suite means that does not say it: the table of one that declares none."""

from __future__ import annotations

import re
from collections.abc import Sequence

from retable.bench.declare.params import build_metric
from retable.bench.suite import Column, Entry, Layout

_UNIT = re.compile(r"_(mj|ms|j)(?=\[|$)")
"""What names of metrics say of their unit; the head says it in brackets, where print may scale it."""


def default_layouts(name: str, title: str, entries: Sequence[Entry]) -> tuple[Layout, ...]:
    """One table of all rows, with a column a metric that some row reports or measures, in the order of their first mention."""
    metrics = dict.fromkeys(metric for entry in entries for metric in (*entry.reported, *entry.metrics))
    return (Layout(name=name, title=title, rows=("*",), columns=tuple(map(_column, metrics))),)


def _column(metric: str) -> Column:
    component = type(build_metric(metric))
    unit = str(getattr(component, "UNIT", ""))
    counted = bool(getattr(component, "EXACT", False))
    words = _UNIT.sub("", metric).replace("_", " ").replace("[", " [").strip()
    label = f"{words} ({unit})" if unit and not counted else words
    return Column(label=label, metric=metric, format="si" if counted else ".4g")
