"""Expect: how long stages will take, by what the same ones took at other seeds."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median
from typing import TYPE_CHECKING

from retable.bench.record import Record

if TYPE_CHECKING:
    from retable.bench.store.store import Store
    from retable.bench.suite import Suite

Kind = tuple[str, str, str]
"""Row, stage and method: needs of a row are stages of other methods."""


class Expectations:
    """Seconds by kind of stage; what ends while a run goes on is added."""

    def __init__(self, suite: Suite, store: Store | None) -> None:
        self._seen: dict[Kind, list[float]] = {}
        for record in [] if store is None else store.records(suite.name, suite.profile.name):
            self.add(record)

    def add(self, record: Record) -> None:
        """A stage that ended well."""
        if record.ok and (seconds := record.timings.get("wall")) is not None:
            self._seen.setdefault(kind_of(record), []).append(seconds)

    def seconds(self, template: Record) -> float | None:
        """The median of the same row at other seeds; None for what was never seen."""
        seen = self._seen.get(kind_of(template))
        return median(seen) if seen else None

    def left(self, templates: Iterable[Record], workers: int, spent: float = 0.0) -> float | None:
        """Seconds for all of them on so many workers, less those already `spent`; None where one is not known."""
        found = [self.seconds(template) for template in templates]
        known = [seconds for seconds in found if seconds is not None]
        return max(0.0, sum(known) - spent) / max(1, workers) if len(known) == len(found) else None


def kind_of(record: Record) -> Kind:
    """Of an evaluation the method plays no part: it has one a row."""
    method = record.ingredients.get("method", {}).get("use", "") if record.stage == "fit" else ""
    return record.entry, record.stage, method
