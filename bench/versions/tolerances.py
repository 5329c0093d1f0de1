"""Tolerances: how far frozen numbers moved when one thing was varied that need not matter; nobody chose them.

`bench run --vary threads,batch,numerics` leaves a certificate of each case and kind. Freezing writes the largest relative
difference of every number by kind, over its seeds. A number may then move by `factor` times the largest of them: few
variations, each tried once, are few draws of what another machine does. Without a certificate there is no tolerance.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from retable.bench.judge.results import Results

FACTOR = 3.0
KINDS = ("threads", "batch", "numerics", "node")
"""Of certificates; `repeat` changes nothing, and what differs there is a defect."""
VANISHED = 1.0
"""The relative difference of a number that only one of two runs has: no measure of how far it moves."""


@dataclass(frozen=True, kw_only=True)
class Tolerances:
    """`shown` holds by row and metric the largest relative difference of each kind that was varied."""

    factor: float = FACTOR
    shown: Mapping[str, Mapping[str, Mapping[str, float]]] = field(default_factory=dict)

    def of(self, entry: str, metric: str) -> float | None:
        """Share of the frozen number that it may move by; None where nothing was varied."""
        kinds = self.shown.get(entry, {}).get(metric, {})
        return self.factor * max(kinds.values()) if kinds else None

    def describe(self, entry: str, metric: str) -> str:
        """Where the tolerance is from, in a few words."""
        kinds = self.shown[entry][metric]
        shown = ", ".join(f"{kind} {100 * share:.2g} %" for kind, share in kinds.items())
        return f"{self.factor:g} times what was measured: {shown}"

    def plain(self) -> dict[str, Any]:
        return {"factor": self.factor, "shown": self.shown}


def measured(results: Results, certificates: Iterable[Mapping[str, Any]]) -> Tolerances:
    """What the certificates of frozen records showed; `certificates` as the store keeps them."""
    places = {record.key: (record.entry, record) for record in results.values()}
    shown: dict[str, dict[str, dict[str, float]]] = {}
    for certificate in certificates:
        if certificate["kind"] not in KINDS or certificate["key"] not in places:
            continue
        entry, record = places[certificate["key"]]
        for metric, difference in certificate["differences"].items():
            value = record.metrics[metric].value if metric in record.metrics else None
            if value is not None and difference < VANISHED:
                kinds = shown.setdefault(entry, {}).setdefault(metric, {})
                kinds[certificate["kind"]] = max(difference, kinds.get(certificate["kind"], 0.0))
    return Tolerances(shown=shown)


def read(content: bytes) -> Tolerances:
    """What `plain` gave. Raises ValueError, TypeError or KeyError for anything else."""
    raw = json.loads(content)
    shown = {
        str(entry): {
            str(metric): {str(kind): float(share) for kind, share in kinds.items()} for metric, kinds in metrics.items()
        }
        for entry, metrics in raw["shown"].items()
    }
    return Tolerances(factor=float(raw["factor"]), shown=shown)
