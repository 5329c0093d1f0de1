"""Judgement: a claim with its verdict and what it rests on."""

from __future__ import annotations

from dataclasses import dataclass

from retable.bench.judge import again
from retable.bench.judge.again import Outlook
from retable.bench.judge.history import Change
from retable.bench.judge.stats import Interval
from retable.bench.suite import Claim, VerdictWord


@dataclass(frozen=True, kw_only=True)
class UnderRule:
    """What one rule makes of a comparison, and whether it gave a number.

    `twin`: of the spiking row against the twin that the account made of it.
    """

    rule: str
    verdict: VerdictWord
    reason: str
    measured: bool = True
    twin: bool = False


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """A claim's verdict, what was expected, and what it rests on: an estimate with its interval, keys of records.

    `outlook` knows how probably other seeds give the same verdict. `elsewhere` is what this profile's records say of a
    claim that is made for another one, `beside` what became of the claim that this one weakens, `rules` of a comparison of
    energies what each energy rule makes of it.
    """

    claim: Claim
    verdict: VerdictWord
    reason: str
    estimate: Interval | None = None
    evidence: tuple[str, ...] = ()
    outlook: Outlook | None = None
    elsewhere: str = ""
    beside: str = ""
    changed: Change | None = None
    rules: tuple[UnderRule, ...] = ()

    @property
    def again(self) -> float | None:
        """The probability that other seeds give the same verdict; None where that is not known."""
        return None if self.outlook is None else self.outlook.probability

    @property
    def expected(self) -> VerdictWord:
        return self.claim.expect.verdict

    @property
    def settled(self) -> bool:
        """Whether the claim is decided, and not known to be decided otherwise too often by other seeds."""
        return self.verdict != "not measured" and (self.again is None or self.again >= again.LEAST)

    @property
    def as_expected(self) -> bool:
        """A decided verdict is expected only where it comes again, or may stay away; what does not come again is as good as not measured."""
        allowed = self.claim.expect.allowed
        if "not measured" not in allowed:
            return self.verdict in allowed and self.settled
        return self.verdict in allowed or (self.again is not None and self.again < again.SURPRISE)
