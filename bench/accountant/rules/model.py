"""A published energy model as a rule: formulas over a census, which give a bill."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from retable.bench.accountant import costs
from retable.bench.accountant.census import Census, Neurons, Synapses
from retable.bench.accountant.costs import CostTable
from retable.bench.accountant.rules.figure import ENERGY, Figure, Rule


@dataclass
class Bill:
    """Picojoules over all samples, layer -> term -> pJ; what was counted; layers without a formula and their products."""

    pJ: dict[str, dict[str, float]] = field(default_factory=dict)
    counts: dict[str, dict[str, float]] = field(default_factory=dict)
    left_out: dict[str, float] = field(default_factory=dict)

    def charge(self, layer: str, **terms: float) -> None:
        _add(self.pJ, layer, terms)

    def count(self, layer: str, **counts: float) -> None:
        _add(self.counts, layer, counts)

    def leave_out(self, layer: Synapses) -> None:
        self.left_out[layer.layer] = self.left_out.get(layer.layer, 0) + layer.whole

    def term(self, *names: str) -> float:
        """The sum of some terms over all layers, of all terms without names."""
        return sum(pJ for terms in self.pJ.values() for name, pJ in terms.items() if not names or name in names)

    def total(self, count: str) -> float:
        return sum(counts.get(count, 0) for counts in self.counts.values())


def _add(book: dict[str, dict[str, float]], layer: str, values: Mapping[str, float]) -> None:
    row = book.setdefault(layer, {})
    for name, value in values.items():
        row[name] = row.get(name, 0) + value


@dataclass(frozen=True)
class Model(Rule):
    """`as_run` True takes what a call does once (weights read, sizes of buffers) as it was run, for the whole batch at once;
    False, the usual, for every sample alone, so that no figure depends on the batch.
    """

    TABLE: ClassVar[str] = ""

    as_run: bool = False

    @property
    def label(self) -> str:
        """The names of its cost tables, ` + ` between."""
        return self.TABLE

    @property
    def table(self) -> CostTable:
        return costs.table(self.TABLE)

    @property
    def absences(self) -> dict[str, dict[str, str]]:
        """Figures that the model has no prices for, each with the reason."""
        unknown = [(name, table) for name in self.label.split(" + ") if (table := costs.table(name)).not_found]
        why = "; ".join(
            f"prices of {name} were not found: {', '.join(table.not_found)} ({table.source})" for name, table in unknown
        )
        return {"energy": {"absent": why}} if why else {}

    @abstractmethod
    def bill(self, census: Census) -> Bill:
        """What the census costs."""

    def uses(self, layer: Synapses | Neurons | Any, census: Census) -> float:
        """How often what a call does once is done, over all samples."""
        return layer.calls if self.as_run else layer.calls * census.batch

    def rows(self, census: Census) -> float:
        """Samples that a buffer holds at once."""
        return census.batch if self.as_run else 1

    def figures(self, census: Census) -> dict[str, Figure]:
        """`energy`, its terms as `TERM_energy`, and the totals of what was counted, a sample; none without prices."""
        if self.absences:
            return {}
        bill, samples = self.bill(census), census.samples
        share = (sum(bill.left_out.values()) + census.unseen) / max(1, census.products)
        names = dict.fromkeys(name for terms in bill.pJ.values() for name in terms)

        def energy(*terms: str) -> Figure:
            value = bill.term(*terms) / samples / costs.PICOJOULES_A_MILLIJOULE
            return Figure(value, ENERGY, self, self.label, uncounted=share)

        return {"energy": energy(), **{f"{name}_energy": energy(name) for name in names}}
