"""Cost tables: picojoules of one operation, read from `costs.yaml`, each with its source."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from retable.bench.declare import strict_yaml
from retable.bench.errors import UnknownNameError, nearest

DEFAULT = "45nm-fp32"
PICOJOULES_A_MILLIJOULE = 1e9


@dataclass(frozen=True)
class CostTable:
    """Prices in pJ; an operation without a price is not in `pJ`, and nothing that holds it has a whole energy."""

    name: str
    source: str
    pJ: dict[str, float]

    def price(self, counts: dict[str, float]) -> tuple[float, dict[str, float]]:
        """(millijoules of the operations that have a price, those without one and how many)."""
        priced = sum(self.pJ[kind] * count for kind, count in counts.items() if kind in self.pJ)
        return priced / PICOJOULES_A_MILLIJOULE, {
            kind: count for kind, count in counts.items() if count and kind not in self.pJ
        }


@cache
def tables() -> dict[str, CostTable]:
    """All tables by name."""
    stored = strict_yaml.load(Path(__file__).with_name("costs.yaml")).plain()
    return {
        name: CostTable(name, entry["source"], {kind: float(price) for kind, price in entry["pJ"].items()})
        for name, entry in stored.items()
    }


def table(name: str) -> CostTable:
    """The table of that name; raises UnknownNameError."""
    if name not in tables():
        raise UnknownNameError(f"unknown cost table {name!r}{nearest(name, list(tables()))}")
    return tables()[name]
