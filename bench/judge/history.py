"""What a claim said before its first result: one that was changed afterwards, or added, is marked with both texts.

A record keeps the claims that were made of its row when it was run, as statements by name.
"""

from __future__ import annotations

import re
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

    @property
    def moved(self) -> tuple[str, ...]:
        """Which parts are not what they were: `wording`, `predicate`, `control`, `seeds`, `profiles`; none of a claim that was added."""
        then, now = _parts(self.before or ""), _parts(self.now)
        return tuple(name for name in now if then and then[name] != now[name])

    def sentence(self) -> str:
        """What a reader is told."""
        if self.before is None:
            return "added after its rows had results"
        moved = f" ({', '.join(self.moved)})" if self.moved else ""
        return f"changed after its first result{moved}; it said: {self.before}"


_STATEMENT = re.compile(
    r"(?P<wording>.*) \[(?P<predicate>.*?)(; not of (?P<control>[^;]+))?; (?P<seeds>\d+) seeds? at least; at (?P<profiles>[^\]]*)\]",
    re.DOTALL,
)


def _parts(said: str) -> dict[str, str | None]:
    """A statement taken apart, as `predicate.statement` puts it together."""
    found = _STATEMENT.fullmatch(said)
    return found.groupdict() if found else {}


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
    if claim.name not in before:
        return None
    then = before[claim.name]
    if then is not None and _without_rehearsals(then) == now:
        return None
    return Change(before=then, now=now)


def _without_rehearsals(said: str) -> str:
    """Earlier records name a rehearsal, which judges nothing, among a claim's profiles."""
    return said.replace(", rehearsal]", "]")
