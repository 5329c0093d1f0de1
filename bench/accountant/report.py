"""The result of an account: rows by layer, neurons, what was not counted, and the figures of each rule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from retable.bench.accountant import costs
from retable.bench.accountant.census import Census
from retable.bench.accountant.neurons import NeuronRow
from retable.bench.accountant.rules import Figure, Full, Literature, Rule
from retable.bench.accountant.rules.figure import BYTES, ENERGY, OPERATIONS
from retable.bench.accountant.work import Work
from retable.bench.errors import BenchError


@dataclass(frozen=True)
class Row:
    """What one operator did in one module, over all samples."""

    layer: str
    operator: str
    work: Work


@dataclass(frozen=True)
class Uncounted:
    """An operator without a counting rule; its bytes are counted, its operations are not."""

    operator: str
    layer: str
    calls: int
    elements: int


@dataclass(frozen=True)
class LostMark:
    """An operator whose output could have been spikes, but is not known to be: it goes on as real values."""

    operator: str
    layer: str
    calls: int


@dataclass(frozen=True)
class Unmarked:
    """A product that few whole values entered without a mark: real values here, and spikes if somebody forgot to say so.

    `share` is that of all products.
    """

    layer: str
    operator: str
    share: float


@dataclass(frozen=True)
class First:
    """The first real-valued operator with synapses: how many rows (batch entries) it ran on, and the steps of the model."""

    layer: str
    operator: str
    rows: int
    steps: int


@dataclass(frozen=True)
class Account:
    """Everything that was counted over `samples` samples; figures are per sample, rows are sums."""

    samples: int
    rows: tuple[Row, ...]
    neurons: tuple[NeuronRow, ...]
    uncounted: tuple[Uncounted, ...]
    uncounted_share: Mapping[str, float]
    """Of all calls and of all output elements, views and constants apart."""
    lost_marks: tuple[LostMark, ...]
    figures: Mapping[str, Mapping[str, Figure]]
    details: Mapping[str, Any]
    """What a rule reports beside its figures, e.g. the modules that it saw."""
    unmarked: tuple[Unmarked, ...] = ()
    census: Census | None = None
    """What the energy models among the rules were priced on."""
    shapes_only: bool = False
    """Whether the model had shapes and no values: nothing is known of its spikes."""

    def rule(self, name: str) -> Rule:
        """A rule of the account, with its options. Raises BenchError with what there is."""
        if name not in self.figures or not self.figures[name]:
            raise BenchError(f"the account has no rule {name!r}; it has {', '.join(self.figures)}")
        return next(iter(self.figures[name].values())).rule

    def figure(self, rule: str, name: str) -> Figure:
        """Raises BenchError with what there is."""
        if rule not in self.figures:
            raise BenchError(f"the account has no rule {rule!r}; it has {', '.join(self.figures)}")
        if name not in self.figures[rule]:
            why = self.details.get(rule, {}).get(name)
            if isinstance(why, Mapping) and "absent" in why:
                raise BenchError(str(why["absent"]))
            raise BenchError(f"the rule {rule!r} has no figure {name!r}; it has {', '.join(self.figures[rule])}")
        return self.figures[rule][name]

    def layers(self, rule: str) -> dict[str, Figure]:
        """Energy by module path, in order of the first call; only `full` and `literature` know it."""
        known = self.figure(rule, "energy")
        if not isinstance(known.rule, Full | Literature):
            raise BenchError(f"the rule {rule!r} has no energy by layer; full and literature have")
        works: dict[str, Work] = {}
        for row in self.rows:
            works.setdefault(row.layer, Work()).__iadd__(row.work)
        price = full_energy if isinstance(known.rule, Full) else literature_energy
        return {layer: price(known.rule, work, self.samples) for layer, work in works.items()}  # type: ignore[arg-type]

    def as_dict(self) -> dict[str, Any]:
        """JSON-able; zero counts are left out of the rows."""
        return {
            "samples": self.samples,
            "figures": {
                rule: {name: figure.as_dict() for name, figure in named.items()} for rule, named in self.figures.items()
            },
            "rows": [{"layer": row.layer, "operator": row.operator, **_nonzero(row.work)} for row in self.rows],
            "neurons": [asdict(row) for row in self.neurons],
            "uncounted": [asdict(row) for row in self.uncounted],
            "uncounted_share": dict(self.uncounted_share),
            "lost_marks": [asdict(row) for row in self.lost_marks],
            "unmarked": [asdict(row) for row in self.unmarked],
            "details": dict(self.details),
        }


def _nonzero(work: Work) -> dict[str, Any]:
    return {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(work).items() if v}


def bounded(figures: dict[str, Figure], share: float) -> dict[str, Figure]:
    """The figures, as lower bounds where a share of what was done is not counted."""
    if not share:
        return figures
    return {name: replace(figure, uncounted=max(share, figure.uncounted)) for name, figure in figures.items()}


def full_figures(rule: Full, total: Work, spikes: int, samples: int) -> dict[str, Figure]:
    kinds = full_kinds(rule, total)
    counts: dict[str, float] = {"dense": total.dense, "effective": total.effective, "mac": total.mac, "ac": total.ac}
    counts |= {
        "add": kinds["ac"] - total.ac,
        "mul": kinds["mul"],
        "compare": kinds["compare"],
        "special": kinds["special"],
    }
    figures = {name: Figure(count / samples, OPERATIONS, rule) for name, count in counts.items()}
    figures["spikes"] = Figure(spikes / samples, "spikes/sample", rule)
    figures["bytes_read"] = Figure(total.read / samples, BYTES, rule)
    figures["bytes_written"] = Figure(total.written / samples, BYTES, rule)
    figures["energy"] = full_energy(rule, total, samples)
    return figures


def full_kinds(rule: Full, work: Work) -> dict[str, float]:
    """Operations by what a cost table prices."""
    fold = 0 if rule.fold_batch_norm else 1
    return {
        "mac": work.mac,
        "ac": work.ac + work.add + fold * work.norm_add,
        "mul": work.mul + fold * work.norm_mul,
        "compare": work.compare,
        "special": work.special,
    }


def full_energy(rule: Full, work: Work, samples: int) -> Figure:
    kinds = full_kinds(rule, work)
    value, missing = costs.table(rule.costs).price(kinds)
    share = sum(missing.values()) / max(1, sum(kinds.values()))
    named = tuple((kind, n / samples) for kind, n in missing.items())
    return Figure(value / samples, ENERGY, rule, rule.costs, named, share)


def literature_figures(
    rule: Literature, total: Work, first: First | None, rows: tuple[Row, ...], samples: int
) -> dict[str, Figure]:
    change = _first_layer(rule, first, rows, samples)
    counts = {"flop": total.flop_mac + total.flop_spike + change, "mac": total.flop_mac + change, "sop": total.sop}
    figures = {name: Figure(count / samples, OPERATIONS, rule) for name, count in counts.items()}
    figures["energy"] = literature_energy(rule, Work(flop_mac=total.flop_mac + change, sop=total.sop), samples)
    return figures


def literature_energy(rule: Literature, work: Work, samples: int) -> Figure:
    counts = {"ac": work.flop_mac + work.sop} if rule.all_ac else {"mac": float(work.flop_mac), "ac": work.sop}
    value, _ = costs.table(rule.costs).price(counts)
    return Figure(value / samples, ENERGY, rule, rule.costs)


def _first_layer(rule: Literature, first: First | None, rows: tuple[Row, ...], samples: int) -> int:
    """What `first_layer_per_step` adds to the MACs of the first layer, or takes away."""
    if rule.first_layer_per_step is None or first is None:
        return 0
    ran = first.rows / samples
    if ran not in (1, first.steps):
        raise BenchError(
            f"first_layer_per_step: {first.layer or 'the model'} ran on {ran:g} rows a sample, neither 1 nor {first.steps}; "
            "leave it None to take the layer as it was run"
        )
    done = next(row.work.flop_mac for row in rows if (row.layer, row.operator) == (first.layer, first.operator))
    wanted = first.steps if rule.first_layer_per_step else 1
    return round(done * (wanted / ran - 1))


def other_figures(rule: Rule, counts: Mapping[str, tuple[float, str]], table: str | None = None) -> dict[str, Figure]:
    """Figures of a reproduced package, name -> (value, unit)."""
    return {
        name: Figure(value, unit, rule, table if unit == ENERGY else None) for name, (value, unit) in counts.items()
    }
