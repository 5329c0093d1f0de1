"""Forecast: what a stage will probably take, before it runs: from earlier records of it, else from what is declared."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from retable.bench.declare.params import build
from retable.bench.record import Record, canonical
from retable.bench.run.plan import StageSpec
from retable.bench.suite import Component

TRAINED, LOADED = 4, 1
"""Copies of the weights that are held at least: with their gradient and two moments of Adam, or alone."""


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """Seconds, bytes of memory and of disk; None where nothing tells. `bound` says that seconds are the limit, memory the least."""

    seconds: float | None
    memory: int | None
    disk: int | None
    source: str
    bound: bool = False


def forecasts(stages: Sequence[StageSpec], records: Iterable[Record]) -> dict[str, Forecast]:
    """By the stages' keys. `records` are those of the suite at this profile."""
    by_row: dict[tuple[str, str], list[Record]] = {}
    by_components: dict[str, list[Record]] = {}
    for record in records:
        if record.ok:
            by_row.setdefault((record.entry, record.stage), []).append(record)
            by_components.setdefault(_components(record), []).append(record)
    found = {}
    for stage in stages:
        template = stage.template
        same = by_components.get(_components(template), [])
        row = by_row.get((template.entry, template.stage), [])
        if template.stage == "fit":  # a row has as many fits as its method has needs
            row = [record for record in row if _method(record) == _method(template)]
        found[template.key] = (
            _of_records(same, "of the same") if same else _of_records(row, "of this row, before a change")
        )
        if not (same or row):
            found[template.key] = _declared(stage)
    return found


def total(parts: Sequence[Forecast]) -> Forecast:
    """One after the other: seconds and disk add up, memory does not; what is only bounded or unknown is left out."""
    known = [part for part in parts if not part.bound]
    return Forecast(
        seconds=sum(part.seconds or 0.0 for part in known),
        memory=max((part.memory or 0 for part in parts), default=0),
        disk=sum(part.disk or 0 for part in parts),
        source=f"{len(known)} of {len(parts)} stages",
    )


def _of_records(records: Sequence[Record], what: str) -> Forecast:
    if not records:
        return Forecast(seconds=None, memory=None, disk=None, source="")
    memory = [record.memory["peak_resident"] for record in records if "peak_resident" in record.memory]
    return Forecast(
        seconds=statistics.median(record.timings.get("wall", 0.0) for record in records),
        memory=max(memory, default=None),
        disk=max(sum(file.bytes for file in record.artefacts.values()) for record in records),
        source=f"{len(records)} earlier run{'s' if len(records) > 1 else ''} {what}",
    )


def _declared(stage: StageSpec) -> Forecast:
    """At most the limit; memory and disk of the weights, where the method can be built without data."""
    size = _weights(stage.model.component.use, canonical(stage.model.component.params))
    fits = stage.template.stage == "fit"
    trains = fits and not stage.model.component.params.get("weights")
    return Forecast(
        seconds=stage.limits.timeout,
        memory=None if size is None else size * (TRAINED if trains else LOADED),
        disk=None if size is None else size if fits else 0,
        source="limits and declared sizes" if size is not None else "limits",
        bound=True,
    )


@cache
def _weights(use: str, params: str) -> int | None:
    """Bytes of a method's tensors, counted without memory; None for one that needs its data or cannot be built so."""
    import json

    import torch

    try:
        with torch.device("meta"):
            model = build("method", Component(use=use, params=json.loads(params))).build(None)
        return sum(tensor.numel() * tensor.element_size() for tensor in (*model.parameters(), *model.buffers()))
    except Exception:  # whatever a method raises that has not been asked for this before
        return None


def _method(record: Record) -> str:
    method = record.ingredients.get("method", {})
    return str(method.get("use", "")) if isinstance(method, Mapping) else ""


def _components(record: Record) -> str:
    """A stage by what it is made of, whatever its seed and the sources behind it."""
    kept = {name: value for name, value in record.ingredients.items() if name in ("method", "task", "dataset", "fit")}
    for part in ("method", "task", "dataset"):
        if isinstance(kept.get(part), Mapping):
            kept[part] = {"use": kept[part].get("use"), "params": kept[part].get("params")}
    kept["fit"] = record.entry if "fit" in kept else ""
    return canonical({"stage": record.stage, **kept})
