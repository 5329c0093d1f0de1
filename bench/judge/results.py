"""Results: the stored records of a suite's cases, as tables and gates read them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from retable.bench.record import Record
from retable.bench.store.keys import case_key
from retable.bench.suite import Suite

if TYPE_CHECKING:
    from retable.bench.store.store import Store

Results = Mapping[tuple[str, int], Record]
"""Evaluation records by (entry, repetition): the stored result, else the last failed attempt; a case never run is absent."""


def collect(suite: Suite, store: Store) -> Results:
    """Look up every case of a suite under the key that its declaration, data and sources have now."""
    found: dict[tuple[str, int], Record] = {}
    for case in suite.cases():
        key = case_key(case)
        record = store.get(key) or store.last(key)
        if record is not None:
            found[case.entry.name, case.repetition] = record
    return found


def with_needs(evaluations: Iterable[Record], store: Store) -> dict[str, Record]:
    """The records by key, in their order, then all that they build on and the store still holds."""
    records = {record.key: record for record in evaluations}
    waiting = deque(key for record in records.values() for key in record.needs)
    while waiting:
        key = waiting.popleft()
        if key not in records and (record := store.get(key)) is not None:
            records[key] = record
            waiting += record.needs
    return records


def unmeasured(suite: Suite, results: Results) -> list[str]:
    """Cases without a stored result, each with the reason."""
    missing = []
    for case in suite.cases():
        record = results.get((case.entry.name, case.repetition))
        if record is None:
            missing.append(f"{case.name}: not run")
        elif not record.ok:
            detail = record.failure.message if record.failure else ""
            missing.append(f"{case.name}: {record.status}{f': {detail}' if detail else ''}")
    return missing


def absence(record: Record, metric: str) -> str:
    """Why a record holds no number for a metric, in one line."""
    if not record.ok:
        message = record.failure.message.strip().splitlines() if record.failure else []
        return f"{record.status}: {message[0]}" if message else str(record.status)
    measured = record.metrics.get(metric)
    return "not measured by this row" if measured is None else measured.reason or ""
