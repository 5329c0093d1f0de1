"""Operations, spikes and energy a sample, as the accountant counted them; every number names its rule in its details."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from bench.errors import BenchError
from bench.metrics.measured import absent, measured
from bench.record import Direction, Measurement

Rule = Literal["full", "literature", "syops", "neurobench"]


@dataclass(frozen=True, kw_only=True)
class MultiplyAccumulates:
    """Multiply-accumulates a sample under `rule`."""

    rule: Rule = "full"

    UNIT: ClassVar[str] = "MAC/sample"
    DIRECTION: ClassVar[Direction] = "lower"
    VERSION: ClassVar[str] = "1"
    EXACT: ClassVar[bool] = False

    def measure(self, evidence: Any) -> Measurement:
        return _figure(self, evidence, self.rule, "macs")


@dataclass(frozen=True, kw_only=True)
class Accumulates:
    """Accumulates a sample under `rule`: what spikes cost instead of multiply-accumulates."""

    rule: Rule = "full"

    UNIT: ClassVar[str] = "AC/sample"
    DIRECTION: ClassVar[Direction] = "lower"
    VERSION: ClassVar[str] = "1"
    EXACT: ClassVar[bool] = False

    def measure(self, evidence: Any) -> Measurement:
        return _figure(self, evidence, self.rule, "acs")


@dataclass(frozen=True, kw_only=True)
class Energy:
    """Millijoules a sample that `rule` estimates from the operations and its cost table; no measured joules."""

    rule: Rule

    UNIT: ClassVar[str] = "mJ/sample"
    DIRECTION: ClassVar[Direction] = "lower"
    VERSION: ClassVar[str] = "1"
    EXACT: ClassVar[bool] = False

    def measure(self, evidence: Any) -> Measurement:
        return _figure(self, evidence, self.rule, "energy")


@dataclass(frozen=True, kw_only=True)
class SpikesPerSample:
    """Spikes a sample that all neurons emit; one of the value v counts as one."""

    UNIT: ClassVar[str] = "spikes/sample"
    DIRECTION: ClassVar[Direction] = "lower"
    VERSION: ClassVar[str] = "1"
    EXACT: ClassVar[bool] = False

    def measure(self, evidence: Any) -> Measurement:
        return _figure(self, evidence, "full", "spikes")


@dataclass(frozen=True, kw_only=True)
class FiringRate:
    """Spikes a neuron and time step, over all neurons."""

    UNIT: ClassVar[str] = "spikes/step"
    DIRECTION: ClassVar[Direction] = "none"
    VERSION: ClassVar[str] = "1"
    EXACT: ClassVar[bool] = False

    def measure(self, evidence: Any) -> Measurement:
        return _figure(self, evidence, "full", "firing_rate")


def _figure(metric: Any, evidence: Any, rule: str, quantity: str) -> Measurement:
    """What the account says of a quantity under a rule, with its rule and cost table; absent where it says nothing."""
    account = evidence.account
    if account is None:
        return absent(metric, evidence.why_no_account)
    try:
        figure = account.figure(rule, quantity)
    except (BenchError, LookupError) as error:
        return absent(metric, f"the account has no {quantity} under the rule {rule!r}: {error}")
    details: dict[str, str | float] = {"rule": str(figure.rule)}
    if figure.costs is not None:
        details["costs"] = figure.costs
    details |= {f"without_price_{kind}": float(count) for kind, count in figure.missing}
    return measured(metric, figure.value, n=account.samples, details=details)
