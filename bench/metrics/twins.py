"""A spiking network against its ANN twin, under one rule or all of them: at which spike rate it stops winning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from retable.bench.accountant.names import RuleName
from retable.bench.errors import BenchError
from retable.bench.metrics.measured import absent, measured
from retable.bench.record import Direction, Measurement

RATE = "spikes/input/step"
FROM_SHAPES = "the network was counted from its shapes alone, which have no spikes"


@dataclass(frozen=True, kw_only=True)
class CrossoverRate:
    """Mean spikes an input and step at which the network costs what its ANN twin does under `rule`.

    The layers' rates keep their measured proportions; of a network counted from its shapes alone they are all equal. 0 says
    that the network costs more even without a spike.
    """

    NAME: ClassVar[str] = "crossover_rate"

    rule: RuleName

    UNIT: ClassVar[str] = RATE
    DIRECTION: ClassVar[Direction] = "none"
    VERSION: ClassVar[str] = "1"
    EXACT: ClassVar[bool] = False

    def measure(self, evidence: Any) -> Measurement:
        found = _crossover(evidence, self.rule)
        if isinstance(found, str):
            return absent(self, found)
        details: dict[str, str | float] = {"rule": found.rule, "rates": "measured"}
        if evidence.account.shapes_only:
            details["rates"] = "the same in every layer"
        else:
            details |= {"measured_rate": found.measured, "energy_over_twin": found.ratio}
        if found.rate is None:
            return absent(self, found.reason, details=details)
        return measured(self, found.rate, n=evidence.account.samples, details=details)


@dataclass(frozen=True, kw_only=True)
class EnergyOverTwin:
    """Energy of the network over that of its ANN twin under `rule`: below 1 it wins."""

    NAME: ClassVar[str] = "energy_over_twin"

    rule: RuleName

    UNIT: ClassVar[str] = ""
    DIRECTION: ClassVar[Direction] = "lower"
    VERSION: ClassVar[str] = "1"
    EXACT: ClassVar[bool] = False

    def measure(self, evidence: Any) -> Measurement:
        found = _crossover(evidence, self.rule)
        if isinstance(found, str):
            return absent(self, found)
        if evidence.account.shapes_only and found.rate is not None:
            return absent(self, FROM_SHAPES)
        return measured(self, found.ratio, n=evidence.account.samples, details={"rule": found.rule})


@dataclass(frozen=True, kw_only=True)
class InputRate:
    """Mean spikes an input and step, over all layers that spikes enter: what a crossover rate is held against."""

    NAME: ClassVar[str] = "input_rate"

    UNIT: ClassVar[str] = RATE
    DIRECTION: ClassVar[Direction] = "none"
    VERSION: ClassVar[str] = "1"
    EXACT: ClassVar[bool] = False

    def measure(self, evidence: Any) -> Measurement:
        census = _census(evidence)
        if isinstance(census, str):
            return absent(self, census)
        if evidence.account.shapes_only:
            return absent(self, FROM_SHAPES)
        from retable.bench.accountant.crossover import input_rate

        rate = input_rate(census)
        if rate is None:
            return absent(self, "no spikes enter a layer of the model")
        return measured(self, rate, n=evidence.account.samples)


@dataclass(frozen=True, kw_only=True)
class RulesWon:
    """Under how many of the account's rules that price an ANN too the network costs less than its twin."""

    NAME: ClassVar[str] = "rules_won"

    UNIT: ClassVar[str] = "rules"
    DIRECTION: ClassVar[Direction] = "higher"
    VERSION: ClassVar[str] = "1"
    EXACT: ClassVar[bool] = False

    def measure(self, evidence: Any) -> Measurement:
        census = _census(evidence)
        if isinstance(census, str):
            return absent(self, census)
        if evidence.account.shapes_only:
            return absent(self, FROM_SHAPES)
        found = {rule: _crossover(evidence, rule) for rule in evidence.account.figures}
        ratios = {rule: one.ratio for rule, one in found.items() if not isinstance(one, str)}
        if not ratios:
            return absent(self, next(str(why) for why in found.values()))
        details: dict[str, str | float] = {"rules": len(ratios), **ratios}
        return measured(self, sum(ratio < 1 for ratio in ratios.values()), n=evidence.account.samples, details=details)


def _census(evidence: Any) -> Any:
    """The census, or why there is none."""
    if evidence.account is None:
        return evidence.why_no_account
    if evidence.account.census is None:
        return "the task's rules hold no energy model, so layers were not counted one by one"
    return evidence.account.census


def _crossover(evidence: Any, rule: str) -> Any:
    """The crossover, or why there is none."""
    census = _census(evidence)
    if isinstance(census, str):
        return census
    from retable.bench.accountant.crossover import crossover, uniform

    try:
        known = evidence.account.rule(rule)
    except BenchError as error:
        return str(error)
    return crossover(uniform(census, 0.5) if evidence.account.shapes_only else census, known)
