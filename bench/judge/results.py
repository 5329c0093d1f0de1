"""Results: the stored records of a suite's cases, as tables and gates read them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from retable.bench.record import Record
from retable.bench.store.elsewhere import keys_elsewhere, lacking
from retable.bench.store.keys import Memo, case_key
from retable.bench.store.reader import Reader
from retable.bench.suite import Case, Suite

if TYPE_CHECKING:
    from retable.bench.store.store import Store

Environments = Callable[[str], Mapping[str, Any] | None]
"""The facts of a machine and its software by id, as the store keeps them."""
SOFTWARE = ("torch", "numpy")
UNPLANNED = "not measured by this row"
Results = Mapping[tuple[str, int], Record]
"""Evaluation records by (entry, repetition): the stored result, else the last failed attempt; a case never run is absent."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """What is held of a suite's cases, and a sentence for everything about it that its numbers do not tell."""

    results: Results
    said: tuple[str, ...] = ()


def collect(suite: Suite, store: Store) -> Results:
    """Look up every case of a suite under the key that its declaration, data and sources have now."""
    return look_up(suite, store).results


def look_up(suite: Suite, store: Store) -> Found:
    """As `collect`; numbers whose data or weights are not at hand are found by the digests that records know of them."""
    found: dict[tuple[str, int], Record] = {}
    away: dict[str, list[str]] = {}
    memo: Memo = {}
    for case in suite.cases():
        key = case_key(case, memo)
        record = store.get(key)
        if record is None and (absent := lacking(case, memo)):
            record = _from_elsewhere(case, store, memo)
            if record is not None:
                away.setdefault(absent[0], []).append(case.entry.name)
        record = record or store.last(key)
        if record is not None:  # it may have been stored under the name of an equal row, or under an earlier name
            found[case.entry.name, case.repetition] = replace(
                record, suite=suite.name, entry=case.entry.name, repetition=case.repetition
            )
    said = [
        f"stored where the data were at hand, which here they are not ({', '.join(dict.fromkeys(rows))}): {why}"
        for why, rows in away.items()
    ]
    return Found(results=found, said=tuple(said))


def _from_elsewhere(case: Case, store: Store, memo: Memo) -> Record | None:
    if "elsewhere" not in memo:
        memo["elsewhere"] = [record for record in store.records(case.suite.name, case.suite.profile.name) if record.ok]
    found = map(store.get, keys_elsewhere(case, memo, memo["elsewhere"]))
    return next((record for record in found if record is not None), None)


def with_needs(evaluations: Iterable[Record], reader: Reader) -> dict[str, Record]:
    """The records by key, in their order, then all that they build on and the reader still holds."""
    records = {record.key: record for record in evaluations}
    waiting = deque(key for record in records.values() for key in record.needs)
    while waiting:
        key = waiting.popleft()
        if key not in records and (record := reader.get(key)) is not None:
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


def mixed_software(rows: Iterable[str], results: Results, environment: Environments) -> str:
    """Which of the rows were measured with other versions of torch or NumPy than the others; empty where all agree."""
    chosen, found = set(rows), dict[str, set[str]]()
    for (entry, _), record in results.items():
        if entry in chosen and record.ok and (facts := environment(record.environment)):
            packages = facts.get("software", {}).get("packages", {})
            known = [f"{name} {packages[name]}" for name in SOFTWARE if isinstance(packages.get(name), str)]
            found.setdefault(", ".join(known) or "versions that nobody recorded", set()).add(entry)
    if len(found) < 2:
        return ""
    told = [f"{versions}: {', '.join(sorted(entries))}" for versions, entries in sorted(found.items())]
    return f"rows of this table were measured with different versions ({'; '.join(told)})"


def absence(record: Record, metric: str) -> str:
    """Why a record holds no number for a metric, in one line."""
    if record.ended and (measured := record.metrics.get(metric)) is not None:
        return measured.reason or ""
    if record.ok:
        return UNPLANNED
    message = record.failure.message.strip().splitlines() if record.failure else []
    return f"{record.status}: {message[0]}" if message else str(record.status)
