"""Words: what a metric is called where people read it, and its unit as they write it."""

from __future__ import annotations

import re

from retable.bench.suite import Suite

_UNITS = {"spikes/neuron/step": "spikes per neuron and step", "mJ/sample": "mJ per sample", "percent": "%"}
_KNOWN = {"energy_mj": "Energy", "nll": "Negative log-likelihood", "map50": "mAP at IoU 0.5", "params": "Parameters"}
_NAME = re.compile(r"([^\[]+)(?:\[(.*)\])?")


def words(suite: Suite, metric: str) -> str:
    """The heading of the first column that shows the metric; else its name in words, with what its brackets hold."""
    for layout in suite.layouts:
        for column in layout.columns:
            if column.metric == metric:
                return column.label
    found = _NAME.fullmatch(metric)
    if found is None:
        return metric
    name, bracket = found.groups()
    text = _KNOWN.get(name) or name.replace("_", " ").replace("-", " ")
    return f"{text[:1].upper()}{text[1:]}{f' ({bracket})' if bracket else ''}"


def with_unit(label: str, unit: str) -> str:
    """`Energy (mJ)`; a unit that the label names already is not said twice."""
    unit = _UNITS.get(unit, unit)
    if not unit or unit in label or unit.partition(" ")[0].partition("/")[0] in re.findall(r"[\w%]+", label):
        return label
    return f"{label} ({unit})"
