"""Cost tables: picojoules of one event, read from `costs.yaml`, each with its source and what it leaves without a price."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from retable.bench.declare import strict_yaml
from retable.bench.errors import UnknownNameError, nearest

DEFAULT = "45nm-fp32"
NOT_FOUND = "not found"
PICOJOULES_A_MILLIJOULE = 1e9

Evidence = Literal["measured", "simulated", "secondary"]
Scope = Literal["per-term", "all-in"]


@dataclass(frozen=True)
class CostTable:
    """Prices in pJ; an event without a price is not in `pJ`, and nothing that holds it has a whole energy."""

    name: str
    source: str
    technology: str
    evidence: Evidence
    scope: Scope
    unpriced: tuple[str, ...]
    pJ: dict[str, float]
    not_found: tuple[str, ...] = ()
    """Events that cost something which no source at hand states."""

    def __getitem__(self, event: str) -> float:
        return self.pJ[event]

    def price(self, counts: dict[str, float]) -> tuple[float, dict[str, float]]:
        """(millijoules of the operations that have a price, those without one and how many)."""
        priced = sum(self.pJ[kind] * count for kind, count in counts.items() if kind in self.pJ)
        return priced / PICOJOULES_A_MILLIJOULE, {
            kind: count for kind, count in counts.items() if count and kind not in self.pJ
        }

    @property
    def note(self) -> str:
        """What belongs under every number that rests on the table."""
        return f"{self.evidence} constants ({self.technology}), {self.scope}; without {', '.join(self.unpriced)}"


@cache
def tables() -> dict[str, CostTable]:
    """All tables by name."""
    stored = strict_yaml.load(Path(__file__).with_name("costs.yaml")).plain()
    return {
        name: CostTable(
            name,
            entry["source"],
            entry["technology"],
            entry["evidence"],
            entry["scope"],
            tuple(entry["unpriced"]),
            {kind: float(price) for kind, price in entry["pJ"].items() if price != NOT_FOUND},
            tuple(kind for kind, price in entry["pJ"].items() if price == NOT_FOUND),
        )
        for name, entry in stored.items()
    }


def table(name: str) -> CostTable:
    """The table of that name; raises UnknownNameError."""
    if name not in tables():
        raise UnknownNameError(f"unknown cost table {name!r}{nearest(name, list(tables()))}")
    return tables()[name]


def tables_of(label: str) -> list[CostTable]:
    """The tables of a figure's label: one name, or several with ` + ` between."""
    return [table(name) for name in label.split(" + ")]
