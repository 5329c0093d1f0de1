"""Operations, spikes and energy a sample, as the accountant counted them; every number names its rule in its details."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from retable.bench.accountant.costs import tables_of
from retable.bench.accountant.names import RuleName
from retable.bench.errors import BenchError
from retable.bench.metrics.measured import absent, measured
from retable.bench.record import Direction, Measurement

MACS: dict[RuleName, str] = {"full": "mac", "syops": "mac", "neurobench": "effective_macs"}
ACS: dict[RuleName, str] = {"full": "ac", "syops": "ac", "neurobench": "effective_acs", "fsvae": "adds"}
"""What each rule calls them; those of the literature say `mac` and `sop`."""
NO_NEURONS = "the model has no spiking neurons"


@dataclass(frozen=True, kw_only=True)
class MultiplyAccumulates:
    """Multiply-accumulates a sample under `rule`."""

    NAME: ClassVar[str] = "macs"

    rule: RuleName = "full"

    UNIT: ClassVar[str] = "MAC/sample"
    DIRECTION: ClassVar[Direction] = "lower"
    VERSION: ClassVar[str] = "1"
    EXACT: ClassVar[bool] = False

    def measure(self, evidence: Any) -> Measurement:
        return _figure(self, evidence, self.rule, MACS.get(self.rule, "mac"))


@dataclass(frozen=True, kw_only=True)
class Accumulates:
    """Accumulates a sample under `rule`: what spikes cost instead of multiply-accumulates."""

    NAME: ClassVar[str] = "acs"

    rule: RuleName = "full"

    UNIT: ClassVar[str] = "AC/sample"
    DIRECTION: ClassVar[Direction] = "lower"
    VERSION: ClassVar[str] = "1"
    EXACT: ClassVar[bool] = False

    def measure(self, evidence: Any) -> Measurement:
        return _figure(self, evidence, self.rule, ACS.get(self.rule, "sop"))


@dataclass(frozen=True, kw_only=True)
class Energy:
    """Millijoules a sample that `rule` estimates from the operations and its cost table; no measured joules."""

    NAME: ClassVar[str] = "energy_mj"

    rule: RuleName

    UNIT: ClassVar[str] = "mJ/sample"
    DIRECTION: ClassVar[Direction] = "lower"
    VERSION: ClassVar[str] = "1"
    EXACT: ClassVar[bool] = False

    def measure(self, evidence: Any) -> Measurement:
        return _figure(self, evidence, self.rule, "energy")


@dataclass(frozen=True, kw_only=True)
class Joules:
    """Joules a sample that the machine's own counters measured while all samples were classified, other processes included.

    The details hold each counter's joules, and what it would have counted in that time with nothing to do.
    """

    NAME: ClassVar[str] = "joules"
    TIMED: ClassVar[bool] = True

    UNIT: ClassVar[str] = "J/sample"
    DIRECTION: ClassVar[Direction] = "lower"
    VERSION: ClassVar[str] = "1"
    EXACT: ClassVar[bool] = False

    def measure(self, evidence: Any) -> Measurement:
        if evidence.joules is None:
            return absent(self, evidence.why_no_joules)
        samples = len(evidence.labels)
        idle = {f"{name}_idle": joules for name, joules in evidence.idle_joules.items()}
        details = {**evidence.joules, **idle}
        return measured(self, sum(evidence.joules.values()) / samples, n=samples, details=details)


@dataclass(frozen=True, kw_only=True)
class SpikesPerSample:
    """Spikes a sample that all neurons emit; an integer spike of the value v counts as v."""

    NAME: ClassVar[str] = "spikes_per_sample"

    UNIT: ClassVar[str] = "spikes/sample"
    DIRECTION: ClassVar[Direction] = "lower"
    VERSION: ClassVar[str] = "1"
    EXACT: ClassVar[bool] = False

    def measure(self, evidence: Any) -> Measurement:
        if evidence.account is not None and not evidence.account.neurons:
            return absent(self, NO_NEURONS)
        return _figure(self, evidence, "full", "spikes")


@dataclass(frozen=True, kw_only=True)
class FiringRate:
    """Spikes a neuron and time step, over all neurons; an integer spike of the value v counts as v."""

    NAME: ClassVar[str] = "firing_rate"

    UNIT: ClassVar[str] = "spikes/neuron/step"
    DIRECTION: ClassVar[Direction] = "none"
    VERSION: ClassVar[str] = "2"
    EXACT: ClassVar[bool] = False

    def measure(self, evidence: Any) -> Measurement:
        account = evidence.account
        if account is None:
            return absent(self, evidence.why_no_account)
        chances = sum(row.neurons * row.steps for row in account.neurons)
        if not chances:
            return absent(self, NO_NEURONS)
        rate = sum(row.rate * row.neurons * row.steps for row in account.neurons) / chances
        silent = sum(row.silent * row.neurons for row in account.neurons)
        neurons = sum(row.neurons for row in account.neurons)
        details: dict[str, str | float] = {"neurons": neurons, "silent_share": silent / neurons}
        width = len(str(len(account.neurons)))
        for place, row in enumerate(account.neurons, start=1):  # a number, since details are kept by name
            details[f"layer {place:0{width}} {row.layer}"] = row.rate
        return measured(self, rate, n=account.samples, details=details)


@dataclass(frozen=True, kw_only=True)
class Operations:
    """Operations of all kinds a sample in the modules named `module`, but not in their children.

    `attn`: the products of an attention and what turns them into weights; its projections are children, and the addition
    of a residual is left out.
    """

    NAME: ClassVar[str] = "operations"

    module: str

    UNIT: ClassVar[str] = "operations/sample"
    DIRECTION: ClassVar[Direction] = "lower"
    VERSION: ClassVar[str] = "1"
    EXACT: ClassVar[bool] = False

    def measure(self, evidence: Any) -> Measurement:
        account = evidence.account
        if account is None:
            return absent(self, evidence.why_no_account)
        rows = [row for row in account.rows if row.layer.rpartition(".")[2] == self.module]
        if not rows:
            return absent(self, f"the model computes nothing in a module named {self.module!r}")
        works = [row.work for row in rows if row.operator != "aten.add"]
        total = sum(work.mac + work.ac + work.add + work.mul + work.compare + work.special for work in works)
        return measured(self, total / account.samples, n=account.samples, details={"modules": len(rows)})


def _figure(metric: Any, evidence: Any, rule: str, quantity: str) -> Measurement:
    return figure_of(metric, evidence.account, evidence.why_no_account, rule, quantity)


def figure_of(metric: Any, account: Any, why_not: str, rule: str, quantity: str) -> Measurement:
    """What the account says of a quantity under a rule, with its rule and cost table; absent where it says nothing."""
    if account is None:
        return absent(metric, why_not)
    try:
        figure = account.figure(rule, quantity)
    except BenchError as error:
        return absent(metric, str(error))
    return measured(metric, figure.value, n=account.samples, details=_caveats(figure, account))


def _caveats(figure: Any, account: Any) -> dict[str, str | float]:
    """What belongs beside a figure: its rule, its prices, what is not in it, and what may have been forgotten."""
    details: dict[str, str | float] = {"rule": str(figure.rule)}
    if figure.costs is not None:
        details["costs"] = figure.costs
        details["prices"] = f"{figure.rule}: {'; '.join(table.note for table in tables_of(figure.costs))}"
    details |= {f"{kind}_without_price": float(count) for kind, count in figure.missing}
    if figure.at_least:
        details["at_least"] = figure.uncounted
    if account.uncounted:
        details["uncounted"] = ", ".join(sorted({row.operator for row in account.uncounted}))
        details["uncounted_share_of_elements"] = account.uncounted_share["elements"]
    if account.lost_marks:
        details["spikes_taken_as_real_after"] = ", ".join(sorted({row.operator for row in account.lost_marks}))
    if account.unmarked:
        details["whole_values_without_a_mark"] = ", ".join(
            sorted({row.layer or "the model" for row in account.unmarked})
        )
        details["whole_values_share_of_products"] = sum(row.share for row in account.unmarked)
    return details
