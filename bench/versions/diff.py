"""Diff: two states of a suite's numbers (versions, or the store): which cells moved, and which ingredients changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from retable.bench.judge import stats
from retable.bench.judge.results import Results
from retable.bench.judge.stats import Interval
from retable.bench.record import Record
from retable.bench.registry import is_timing
from retable.bench.store.keys import differences as changes
from retable.bench.versions.versions import Version

if TYPE_CHECKING:
    from retable.bench.store.reader import Reader
    from retable.bench.suite import Suite

ENVIRONMENT = "environment"
DEEPEST = 16
"""How far fits are followed into the fits that they build on."""


@dataclass(frozen=True, kw_only=True)
class Side:
    """One of the two states: evaluations, the fits behind them by key, environments, verdicts by claim."""

    name: str
    results: Results
    fits: Mapping[str, Record] = field(default_factory=dict)
    environments: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    verdicts: Mapping[str, str] = field(default_factory=dict)
    claims: Mapping[str, str] = field(default_factory=dict)
    """What is claimed, as statements by name."""


@dataclass(frozen=True, kw_only=True)
class Move:
    """A cell that is not what it was. `inside` says whether the new mean lies within the old interval.

    `difference` is that of the seeds both have, pair by pair, with its interval; None where they share none.
    """

    entry: str
    metric: str
    timing: bool
    old: Interval | None
    new: Interval | None
    difference: Interval | None
    inside: bool | None
    why: tuple[str, ...]


def side_of_version(version: Version, claims: Mapping[str, str] | None = None) -> Side:
    """A published version; `claims` are its statements by name."""
    return Side(
        claims=claims or {},
        name=str(version.name),
        results=version.results,
        fits={record.key: record for record in version.records if record.stage == "fit"},
        environments=version.environments,
        verdicts={item["claim"]: item["verdict"] for item in version.verdicts},
    )


def side_of_store(suite: Suite, store: Reader) -> Side:
    """What a store, or another version, holds of a suite as it is declared now."""
    from retable.bench.judge.claims import judge
    from retable.bench.judge.predicate import statement
    from retable.bench.judge.results import with_needs
    from retable.bench.versions.archive import held

    results = {place: record for place, record in held(suite, store).results.items() if record.ok}
    records = list(with_needs(results.values(), store).values())
    identities = {record.environment for record in records if record.environment}
    return Side(
        name=f"{suite.name} in {store.folder}",
        results=results,
        fits={record.key: record for record in records if record.stage == "fit"},
        environments={identity: store.environment(identity) or {} for identity in identities},
        verdicts={judged.claim.name: judged.verdict for judged in judge(suite, results)},
        claims={claim.name: statement(claim) for claim in suite.claims},
    )


def moves(old: Side, new: Side) -> list[Move]:
    """Every cell whose numbers, seed by seed, are not the same on both sides."""
    cells = dict.fromkeys(
        (entry, metric)
        for side in (old, new)
        for (entry, _), record in side.results.items()
        for metric in record.metrics
    )
    found = [_move(entry, metric, old, new) for entry, metric in cells]
    return [move for move in found if move is not None]


def causes(found: Sequence[Move], cells: Collection[str]) -> dict[str, int]:
    """Why the numbers of `cells` (`row/metric`) moved: each reason with how many of them it is a reason for.

    What differs about the machine is left out (`bench.versions.against.other_machine` tells it).
    """
    counts = Counter(
        reason
        for move in found
        if f"{move.entry}/{move.metric}" in cells
        for reason in move.why
        if not reason.startswith(f"{ENVIRONMENT}.")
    )
    return dict(counts.most_common())


def changed_verdicts(old: Side, new: Side) -> list[tuple[str, str, str]]:
    """Claims with another verdict, or that only one side has: (claim, before, after)."""
    names = dict.fromkeys([*old.verdicts, *new.verdicts])
    pairs = [(name, old.verdicts.get(name, "not there"), new.verdicts.get(name, "not there")) for name in names]
    return [(name, before, after) for name, before, after in pairs if before != after]


def changed_claims(old: Side, new: Side) -> list[tuple[str, str, str]]:
    """Claims that say something else, with both texts; one that only one side makes has an empty one."""
    if not old.claims or not new.claims:
        return []
    names = dict.fromkeys([*old.claims, *new.claims])
    pairs = [(name, old.claims.get(name, ""), new.claims.get(name, "")) for name in names]
    return [(name, before, after) for name, before, after in pairs if before != after]


def _move(entry: str, metric: str, old: Side, new: Side) -> Move | None:
    before, after = _values(entry, metric, old.results), _values(entry, metric, new.results)
    if before == after:
        return None
    shared = sorted(set(before) & set(after))
    one, two = _interval(before), _interval(after)
    inside = None
    if one is not None and two is not None and one.low is not None and one.high is not None:
        inside = one.low <= two.mean <= one.high
    return Move(
        entry=entry,
        metric=metric,
        timing=is_timing(metric),
        old=one,
        new=two,
        difference=_difference([after[n] for n in shared], [before[n] for n in shared]),
        inside=inside,
        why=tuple(
            dict.fromkeys(
                _reasons(entry, metric, old, new, [n for n in shared if before[n] != after[n]], before, after)
            )
        ),
    )


def _values(entry: str, metric: str, results: Results) -> dict[int, float]:
    return {
        repetition: measured.value
        for (name, repetition), record in sorted(results.items())
        if name == entry and (measured := record.metrics.get(metric)) is not None and measured.value is not None
    }


def _interval(values: Mapping[int, float]) -> Interval | None:
    try:
        return stats.interval(list(values.values()))
    except ValueError:  # no value, or ones too large to be added
        return None


def _difference(new: list[float], old: list[float]) -> Interval | None:
    try:
        return stats.differences(new, old)
    except ValueError:
        return None


def _reasons(
    entry: str,
    metric: str,
    old: Side,
    new: Side,
    moved: list[int],
    before: Mapping[int, float],
    after: Mapping[int, float],
) -> Iterator[str]:
    """What differs between the two records of every seed that moved: seeds, ingredients, else machines, else chance."""
    if not before or not after:
        yield f"only {(new if after else old).name} has it"
        return
    if gone := sorted(set(before) - set(after)):
        yield f"{new.name} lacks repetition{'s' * (len(gone) > 1)} {', '.join(map(str, gone))}"
    if added := sorted(set(after) - set(before)):
        yield f"{old.name} lacks repetition{'s' * (len(added) > 1)} {', '.join(map(str, added))}"
    for repetition in moved:
        one, two = old.results[entry, repetition], new.results[entry, repetition]
        found = list(_ingredients(one, two, metric, old, new))
        before_it = machine(old.environments.get(one.environment, {}))
        after_it = machine(new.environments.get(two.environment, {}))
        moved_to = changes(before_it, after_it, ENVIRONMENT)
        yield from found
        yield from moved_to
        if not found and not moved_to:
            yield "no ingredient of the key and nothing of the environment changed: it is not deterministic"


def _ingredients(one: Record, two: Record, metric: str, old: Side, new: Side, depth: int = 0) -> Iterator[str]:
    """Changed ingredients; a fit's digest is followed to what changed in the fit, other metrics are left out."""
    left, right = _own(one, metric), _own(two, metric)
    yield from changes(left, right)
    if depth < DEEPEST:
        for a, b in _paired_fits(one, two, old, new):
            use = b.ingredients.get("method", {}).get("use", "")
            yield from (f"fit of {use}: {line}" for line in _ingredients(a, b, metric, old, new, depth + 1))


def _own(record: Record, metric: str) -> dict[str, Any]:
    """Without what `_paired_fits` tells better, and without the metrics of other columns."""
    own = {name: value for name, value in record.ingredients.items() if name not in ("fit", "needs")}
    if "metrics" in own:
        own["metrics"] = {name: value for name, value in own["metrics"].items() if name == metric}
    return own


def _paired_fits(one: Record, two: Record, old: Side, new: Side) -> Iterator[tuple[Record, Record]]:
    for a, b in zip(one.needs, two.needs, strict=False):
        if a != b and a in old.fits and b in new.fits:
            yield old.fits[a], new.fits[b]


def machine(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Of an environment, what can change a number: not the commit, whose effect the digests of the sources tell."""
    software = {name: value for name, value in facts.get("software", {}).items() if name != "commit"}
    return {**facts, "software": software} if software else dict(facts)
