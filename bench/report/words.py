"""Words: what a metric is called where people read it, and its unit as they write it."""

from __future__ import annotations

import re

from retable.bench.suite import Suite

STEM = 4
"""Letters by which `Params` and `parameters` are one word."""
_UNITS = {"spikes/neuron/step": "spikes per neuron and step", "mJ/sample": "mJ per sample", "percent": "%"}
_KNOWN = {
    "energy_mj": "Energy",
    "nll": "Negative log-likelihood",
    "map": "mAP",
    "map50": "mAP at IoU 0.5",
    "params": "Parameters",
    "acs": "ACs",
    "macs": "MACs",
}
_NAME = re.compile(r"([^\[]+)(?:\[(.*)\])?")


def words(suite: Suite, metric: str) -> str:
    """The heading of the first column that shows the metric, if it stands by itself; else the metric's name in words.

    A heading that begins small or only says what the brackets hold is a part of what stands around it.
    """
    found = _NAME.fullmatch(metric)
    name, bracket = found.groups() if found else (metric, None)
    for layout in suite.layouts:
        for column in layout.columns:
            if (
                column.metric == metric
                and column.label[:1].isupper()
                and column.label.lower() != (bracket or "").lower()
            ):
                return column.label
    text = _KNOWN.get(name) or name.removesuffix("_mj").replace("_", " ").replace("-", " ")
    return f"{capital(text)}{f', {bracket}' if bracket else ''}"


def capital(text: str) -> str:
    """With a capital letter, save where the second one is a capital (mAP)."""
    return text if text[1:2].isupper() else text[:1].upper() + text[1:]


def with_unit(label: str, unit: str) -> str:
    """`Energy (mJ)`; a unit that the label names already, or of which it is made, is not said twice."""
    unit = _UNITS.get(unit, unit)
    said = re.findall(r"[\w%]+", label)
    stems = {word.lower()[:STEM] for word in said}
    first = re.split(r"[ /]", unit)[0]
    if not unit or unit in label or first in said or (len(first) > STEM and first.lower()[:STEM] in stems):
        return label
    return f"{label} ({unit})"
