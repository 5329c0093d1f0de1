"""Accounting rules, and figures that know theirs: two figures of different rules never add, compare or divide.

| rule | counts |
| --- | --- |
| `full` | every operator: synaptic MAC and AC, element-wise work, neurons, pooling, bytes |
| `literature` | E = E_mac FLOP of real-valued layers + E_ac sum_l rate_l T FLOP_l (arXiv 2209.15425, 2307.01694 and most others) |
| `literature-ac`, `literature-once` | the same with every operation at E_ac; with the first layer's MACs counted once |
| `syops` | what syops-counter 0.0.5 reports |
| `neurobench` | what NeuroBench 2.3.0 reports (arXiv 2304.04640) |
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal

from retable.bench.accountant import costs
from retable.bench.errors import BenchError, UnknownNameError, nearest

RuleName = Literal["full", "literature", "literature-ac", "literature-once", "syops", "neurobench"]
"""The rules with their usual options."""


class RuleMismatchError(BenchError):
    """Two figures that say different things were put together."""


@dataclass(frozen=True)
class Rule:
    """A way to count; `str` names it with the options that are not the usual ones."""

    NAME: ClassVar[str] = ""

    def __str__(self) -> str:
        changed = [f"{f.name}={getattr(self, f.name)}" for f in fields(self) if getattr(self, f.name) != f.default]
        return f"{self.NAME}({', '.join(changed)})" if changed else self.NAME


@dataclass(frozen=True)
class Full(Rule):
    """Ours, with nothing left out.

    A spike operand costs |v| accumulates for each synapse it meets, a zero none; a real operand costs its dense MACs (the
    MACs that a zero-skipping unit would do are the figure `effective`). Padding is no work. `fold_batch_norm` takes
    batch normalisation in evaluation mode as part of the weights before it, which costs nothing.
    """

    NAME: ClassVar[str] = "full"
    fold_batch_norm: bool = True
    costs: str = costs.DEFAULT


@dataclass(frozen=True)
class Literature(Rule):
    """SOP_l = rate_l T FLOP_l with rate = sum / numel of the spikes that enter layer l; real-valued layers at MAC.

    FLOP is the dense MAC count with padding; batch norm, biases, neurons and element-wise work are free, but for the mask
    of spike-driven attention. `first_layer_per_step` None takes the first layer as it was run; True and False count it T
    times or once, however it was run. `all_ac` prices every operation as an accumulate (as Spikformer's paper does).
    """

    NAME: ClassVar[str] = "literature"
    first_layer_per_step: bool | None = None
    all_ac: bool = False
    costs: str = costs.DEFAULT


@dataclass(frozen=True)
class LiteratureAllAC(Literature):
    """The same with every operation priced as an accumulate, real-valued layers too (arXiv 2209.15425, table 2)."""

    NAME: ClassVar[str] = "literature-ac"
    all_ac: bool = True


@dataclass(frozen=True)
class LiteratureOnce(Literature):
    """The same with the first layer's MACs counted once, however many steps repeat them."""

    NAME: ClassVar[str] = "literature-once"
    first_layer_per_step: bool | None = False


@dataclass(frozen=True)
class Syops(Rule):
    """syops-counter 0.0.5; its energy is 4.6 pJ a MAC and 0.9 pJ an AC."""

    NAME: ClassVar[str] = "syops"


@dataclass(frozen=True)
class NeuroBench(Rule):
    """NeuroBench 2.3.0; it reports no energy."""

    NAME: ClassVar[str] = "neurobench"


RULES: dict[str, type[Rule]] = {
    rule.NAME: rule for rule in (Full, Literature, LiteratureAllAC, LiteratureOnce, Syops, NeuroBench)
}


def resolve(rules: Sequence[str | Rule]) -> dict[str, Rule]:
    """Rules by name, from names (with the usual options) and rules; raises UnknownNameError, or BenchError for a name twice."""
    found: dict[str, Rule] = {}
    for rule in rules:
        if isinstance(rule, str):
            if rule not in RULES:
                raise UnknownNameError(f"unknown accounting rule {rule!r}{nearest(rule, list(RULES))}")
            rule = RULES[rule]()
        if rule.NAME in found:
            raise BenchError(f"rules names {rule.NAME!r} twice; an account holds each rule once")
        found[rule.NAME] = rule
    if not found:
        raise BenchError(f"rules is empty; it takes at least one of {', '.join(RULES)}")
    return found


@dataclass(frozen=True, eq=False)
class Figure:
    """A number that knows its unit, its rule and, for an energy, its cost table.

    `missing` says which operations in it have no price (kind -> count); such an energy is a lower bound. Figures of one
    unit, rule and table add, subtract, compare, and divide to a plain ratio; any other pair raises RuleMismatchError.
    """

    value: float
    unit: str
    rule: Rule
    costs: str | None = None
    missing: tuple[tuple[str, float], ...] = ()

    def as_dict(self) -> dict[str, Any]:
        rest: dict[str, Any] = {} if self.costs is None else {"costs": self.costs}
        if self.missing:
            rest["without_price"] = dict(self.missing)
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
        return Figure(self.value + sign * other.value, self.unit, self.rule, self.costs, tuple(missing.items()))

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
        return Figure(self.value * factor, self.unit, self.rule, self.costs, missing)

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
    table = f" with {figure.costs}" if figure.costs else ""
    return f"the rule {figure.rule}{table} in {figure.unit}"
