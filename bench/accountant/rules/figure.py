"""Figures that know their rule: two figures of different rules never add, compare or divide."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, ClassVar

from retable.bench.accountant.costs import Scope, tables_of
from retable.bench.errors import BenchError

OPERATIONS, BYTES, ENERGY = "operations/sample", "bytes/sample", "mJ/sample"


class RuleMismatchError(BenchError):
    """Two figures that say different things were put together."""


@dataclass(frozen=True)
class Rule:
    """A way to count; `str` names it with the options that are not the usual ones."""

    NAME: ClassVar[str] = ""

    def __str__(self) -> str:
        changed = [f"{f.name}={getattr(self, f.name)}" for f in fields(self) if getattr(self, f.name) != f.default]
        return f"{self.NAME}({', '.join(changed)})" if changed else self.NAME


@dataclass(frozen=True, eq=False)
class Figure:
    """A number that knows its unit, its rule and, for an energy, its cost table.

    `missing` says which operations in it have no price (kind -> count), `uncounted` which share of all operations, products or
    elements is in no count or has no price: such a figure is a lower bound. Figures of one unit, rule and table add, subtract, compare, and divide to
    a plain ratio; any other pair raises RuleMismatchError.
    """

    value: float
    unit: str
    rule: Rule
    costs: str | None = None
    missing: tuple[tuple[str, float], ...] = ()
    uncounted: float = 0.0

    @property
    def at_least(self) -> bool:
        """Whether the value is only a lower bound."""
        return bool(self.missing) or self.uncounted > 0

    def __str__(self) -> str:
        bound = f"at least {self.value:.4g} {self.unit}, {self.uncounted:.2g} of it not counted"
        return bound if self.at_least else f"{self.value:.4g} {self.unit}"

    @property
    def scope(self) -> Scope | None:
        """Whether its prices are of single events or stand for all that comes with them; None without a table."""
        if self.costs is None:
            return None
        return "all-in" if any(table.scope == "all-in" for table in tables_of(self.costs)) else "per-term"

    def as_dict(self) -> dict[str, Any]:
        rest: dict[str, Any] = {} if self.costs is None else {"costs": self.costs}
        if self.missing:
            rest["without_price"] = dict(self.missing)
        if self.uncounted:
            rest["uncounted_share"] = self.uncounted
        return {"value": self.value, "unit": self.unit, "rule": str(self.rule), **rest}

    def _same(self, other: Figure) -> Figure:
        mine, its = ((f.unit, str(f.rule), f.costs) for f in (self, other))
        if mine != its:
            raise RuleMismatchError(f"figures of {_described(self)} and of {_described(other)} do not mix")
        return other

    def _plus(self, other: Figure, sign: int) -> Figure:
        other = self._same(other)
        missing = dict(self.missing)
        for kind, count in other.missing:
            missing[kind] = missing.get(kind, 0) + sign * count
        uncounted = max(self.uncounted, other.uncounted)
        return Figure(
            self.value + sign * other.value, self.unit, self.rule, self.costs, tuple(missing.items()), uncounted
        )

    def __add__(self, other: object) -> Figure:
        return self._plus(other, 1) if isinstance(other, Figure) else NotImplemented

    def __radd__(self, other: object) -> Figure:  # sum() starts from 0
        return self if isinstance(other, int) and other == 0 else NotImplemented

    def __sub__(self, other: object) -> Figure:
        return self._plus(other, -1) if isinstance(other, Figure) else NotImplemented

    def __mul__(self, factor: object) -> Figure:
        if not isinstance(factor, int | float):
            return NotImplemented
        missing = tuple((kind, count * factor) for kind, count in self.missing)
        return Figure(self.value * factor, self.unit, self.rule, self.costs, missing, self.uncounted)

    __rmul__ = __mul__

    def __truediv__(self, other: object) -> float:
        return self.value / self._same(other).value if isinstance(other, Figure) else NotImplemented

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Figure):
            return NotImplemented
        return (self.value, self.missing) == (self._same(other).value, other.missing)

    def __lt__(self, other: object) -> bool:
        return self.value < self._same(other).value if isinstance(other, Figure) else NotImplemented

    def __le__(self, other: object) -> bool:
        return self.value <= self._same(other).value if isinstance(other, Figure) else NotImplemented

    def __gt__(self, other: object) -> bool:
        return self.value > self._same(other).value if isinstance(other, Figure) else NotImplemented

    def __ge__(self, other: object) -> bool:
        return self.value >= self._same(other).value if isinstance(other, Figure) else NotImplemented

    def __hash__(self) -> int:
        return hash((self.value, self.unit, str(self.rule), self.costs))


def _described(figure: Figure) -> str:
    table = f" with {figure.costs} ({figure.scope})" if figure.costs else ""
    return f"the rule {figure.rule}{table} in {figure.unit}"
