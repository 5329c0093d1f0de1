"""What a claim said before its first result: one that was changed afterwards, or added, is marked with both texts.

A record keeps the claims that were made of its row when it was run, as statements by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256

from retable.bench.judge.predicate import statement
from retable.bench.judge.results import Results
from retable.bench.suite import Claim, Suite

Stood = Mapping[str, str | None]
"""By claim that has had results: what it said before the first of them; None where it was not made then."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """A claim that is not what it was before its first result; without `before` it was not made then."""

    before: str | None
    now: str

    def sentence(self) -> str:
        """What a reader is told."""
        if self.before is None:
            return "added after its rows had results"
        return f"changed after its first result; it said: {self.before}"


def digest(said: str) -> str:
    """Of a statement, short enough to be read."""
    return sha256(said.encode()).hexdigest()[:12]


def claims_of(suite: Suite, entry: str) -> dict[str, str]:
    """What the suite says of a row now, for the record of its run."""
    return {claim.name: statement(claim) for claim in suite.claims if entry in claim.entries}


def stood(suite: Suite, results: Results) -> dict[str, str | None]:
    """What the records at hand say of each claim: those of the first run of its rows."""
    found: dict[str, str | None] = {}
    for claim in suite.claims:
        runs = [record for (entry, _), record in results.items() if entry in claim.entries and record.ended]
        told = [record for record in runs if record.claims is not None]
        if told and len(told) == len(runs) and {record.entry for record in told} == set(claim.entries):
            first = min(told, key=lambda record: record.created)
            found[claim.name] = (first.claims or {}).get(claim.name)
    return found


def change(claim: Claim, before: Stood) -> Change | None:
    """None where the claim is what it was, or where nobody knows what it was."""
    now = statement(claim)
    if claim.name not in before or before[claim.name] == now:
        return None
    return Change(before=before[claim.name], now=now)
