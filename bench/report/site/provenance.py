"""What a page's script needs to say where a number came from: cells and records as plain data, equal parts stored once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from retable.bench.record import Record, canonical
from retable.bench.report.chapter import Chapter
from retable.bench.report.escape import clean

SHOWN_ITEMS = 4
"""Longer lists (loss curves) are shown by their length and last item."""
SHOWN_DETAILS = 24


class _Pool:
    """Values by number; equal ones have one."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self._numbers: dict[str, int] = {}

    def add(self, value: Any) -> int:
        text = canonical(value)
        if text not in self._numbers:
            self._numbers[text] = len(self.values)
            self.values.append(_readable(value))
        return self._numbers[text]


def provenance(chapter: Chapter, cells: Mapping[str, Any]) -> str:
    """JSON for a script element: `cells` by id, `records` by key, `pool` of ingredients, `environments`.

    No `<` is left in it, so that nothing ends the element early; text is cleaned as on the page.
    """
    pool = _Pool()
    data = {
        "cells": cells,
        "records": {key: _record(record, pool) for key, record in chapter.records.items()},
        "pool": pool.values,
        "environments": {identity: _readable(facts) for identity, facts in chapter.environments.items()},
    }
    return embedded(data)


def embedded(data: Mapping[str, Any]) -> str:
    """Data as the text of a script element: cleaned, and with nothing in it that could end the element."""
    text = json.dumps(_cleaned(data), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _record(record: Record, pool: _Pool) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "stage": record.stage,
        "case": f"{record.suite}/{record.entry}/{record.profile}/{record.repetition}",
        "repetition": record.repetition,
        "seed": record.seed,
        "status": str(record.status),
        "created": record.created,
        "environment": record.environment,
        "needs": list(record.needs),
        "timings": {name: float(f"{seconds:.6g}") for name, seconds in record.timings.items()},
        "memory": dict(record.memory),
        "kernels": record.kernels,
        "artefacts": {name: f"{file.bytes} bytes, sha256 {file.sha256}" for name, file in record.artefacts.items()},
        "log": _readable(record.log),
        "ingredients": {name: pool.add(value) for name, value in record.ingredients.items() if name != "stage"},
        "metrics": {name: _measurement(measured, pool) for name, measured in record.metrics.items()},
    }
    if record.failure:
        shown["failure"] = f"{record.failure.type}: {record.failure.message}"
    return {name: value for name, value in shown.items() if value not in ({}, [], "")}


def _measurement(measured: Any, pool: _Pool) -> dict[str, Any]:
    facts = {"value": measured.value, "reason": measured.reason, "unit": measured.unit, "n": measured.n}
    facts |= {"version": measured.version, "floor": measured.floor}
    if measured.details:
        items = list(measured.details.items())
        details = dict(items[:SHOWN_DETAILS])
        if len(items) > SHOWN_DETAILS:
            details["…"] = f"{len(items) - SHOWN_DETAILS} more; bench show {{key}} has them all"
        facts["details"] = pool.add(details)
    return {name: value for name, value in facts.items() if value not in (None, "")}


def _readable(value: Any) -> Any:
    """Numbers to six digits; long lists by their last item."""
    if isinstance(value, Mapping):
        return {str(name): _readable(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        if len(value) > SHOWN_ITEMS:
            return f"{len(value)} items, the last {_readable(value[-1])}"
        return [_readable(part) for part in value]
    if isinstance(value, float):
        return float(f"{value:.6g}")
    return value


def _cleaned(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {clean(str(name)): _cleaned(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_cleaned(part) for part in value]
    return clean(value) if isinstance(value, str) else value
