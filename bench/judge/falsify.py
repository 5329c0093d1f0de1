"""Falsify: whether a claim can come out either way, shown without running anything.

For every claim records are made up within what its metric, its task and its rows allow, and given to the judge itself: some
must reproduce it, others contradict it. A claim that follows from a parameter, a cap or an intermediate that both sides
share is refused; so is a comparison that a dead baseline would decide, and a claim to keep up that every row would meet.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product

from retable.bench.declare.params import build_metric
from retable.bench.judge.attainable import Reach, reach, tells_quality, tie
from retable.bench.judge.claims import by_itself
from retable.bench.judge.controls import baselines, signs
from retable.bench.judge.results import Results
from retable.bench.record import Measurement, Record, Status
from retable.bench.suite import Bound, Claim, Suite, VerdictWord

JITTER = (0.0, 1.0, -1.0, 0.5, -0.5)
"""Shapes of the spread between made-up seeds, in units of it."""
SPREAD = 1e-9
EQUALS = {"ratio": 1.0, "difference": 0.0}
"""What a comparison of a row with its equal gives."""
BENDS = (0.0, 0.001, -0.001, 0.3, -0.3, 0.9, -0.9)
STEPS = (0.0, 1e-6, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99, 1.0)


def refused(claim: Claim, suite: Suite) -> str:
    """Why a claim proves nothing at the suite's profile, or the empty text. It must be made for that profile."""
    if why := tie(claim, suite):
        return f"it cannot fail: {why}"
    rows = [suite.entry(name) for name in claim.entries]
    reaches = [reach(row, row.own(claim.metric)) for row in rows]
    seen: dict[VerdictWord, str] = {}
    for results in (_lines if claim.kind == "correlation" else _worlds)(claim, suite, reaches):
        judged = by_itself(claim, suite, results)
        seen.setdefault(judged.verdict, judged.reason)
        if "reproduced" in seen and "contradicted" in seen:
            return _uncontrolled(claim, suite)
    lacking = "be reproduced" if "reproduced" not in seen else "fail"
    limits = "; ".join(dict.fromkeys(found.why for found in reaches if found.why))
    return f"it cannot {lacking}: {limits or seen.get('not measured', 'its metric does not go there')}"


def _uncontrolled(claim: Claim, suite: Suite) -> str:
    """Comparisons of how well rows do: the baseline must be shown alive, and keeping up must be harder than being there."""
    quality = tells_quality(suite.entry(claim.entries[0]).own(claim.metric))
    if not quality or claim.uncontrolled or claim.strength == "property":
        return ""
    alive = {entry for entry, _ in signs(claim, suite)}
    if dead := [entry for entry in baselines(claim) if entry not in alive]:
        return f"nothing shows that the baseline {dead[0]} is alive by {claim.metric}: say so under 'alive', or why not ('uncontrolled')"
    if claim.kind in EQUALS and not claim.control and _within(claim.bound, EQUALS[claim.kind]):
        return "every row as good as its baseline meets it: name a row that must not ('control'), or say why there is none ('uncontrolled')"
    return ""


def _within(bound: Bound | None, value: float) -> bool:
    if bound is None:
        return False
    if bound.equals is not None:
        return abs(bound.equals - value) <= bound.tolerance
    return (bound.at_least is None or bound.at_least <= value) and (bound.at_most is None or bound.at_most >= value)


def _worlds(claim: Claim, suite: Suite, reaches: Sequence[Reach]) -> Iterator[Results]:
    """Made-up records of the claim's rows: numbers all over their reach, with and without a spread between seeds."""
    metrics = [suite.entry(name).own(claim.metric) for name in claim.entries]
    counted = bool(getattr(type(build_metric(metrics[0])), "EXACT", False)) or claim.strength == "property"
    alike = claim.kind == "mean"  # rows that all have a number have it as their mean
    places = [_places(claim, one) for one in reaches]
    for centres in zip(*places, strict=False) if alike else product(*places):
        for exact in (False, True) if counted else (False,):
            yield {
                (name, repetition): _record(name, repetition, {metric: value}, exact=exact)
                for name, metric, centre, limits in zip(claim.entries, metrics, centres, reaches, strict=True)
                for index, repetition in enumerate(suite.entry(name).repetitions)
                for value in [_near(centre, limits, 0.0 if exact else JITTER[index % len(JITTER)])]
            }


def _lines(claim: Claim, suite: Suite, reaches: Sequence[Reach]) -> Iterator[Results]:
    """Made-up records of rows on a line that is bent until it has correlations on both sides of the bound's limits."""
    rows, bound = [suite.entry(name) for name in claim.entries], claim.bound or Bound()
    up, other = reaches[0], reach(rows[0], claim.against)
    along, across = _unit(range(len(rows))), _unit((2 * index - len(rows) + 1) ** 2 for index in range(len(rows)))
    edges = [edge for edge in (0.0, bound.equals, bound.at_least, bound.at_most) if edge is not None]
    for r in {max(-0.999, min(0.999, edge + step)) for edge in edges for step in BENDS}:
        found = {}
        for index, repetition in enumerate(rows[0].repetitions):
            seen = r + JITTER[index % len(JITTER)] * SPREAD
            for row, u, e in zip(rows, along, across, strict=True):
                height = (2 + seen * u + math.sqrt(1 - seen**2) * e) / 4
                place = math.exp(u - 1) if claim.log else (2 + u) / 4
                metrics = {
                    claim.metric: up.low + height * (up.high - up.low),
                    claim.against: other.high * place if claim.log else other.low + place * (other.high - other.low),
                }
                found[row.name, repetition] = _record(row.name, repetition, metrics, exact=False)
        yield found


def _unit(values: Iterable[float]) -> list[float]:
    """Without their mean, of length 1."""
    found = list(values)
    centred = [value - sum(found) / len(found) for value in found]
    length = math.hypot(*centred)
    return [value / length for value in centred]


def _places(claim: Claim, limits: Reach) -> list[float]:
    """Along the reach, on both sides of the bound's limits, and on them."""
    places = [limits.low + share * (limits.high - limits.low) for share in STEPS]
    places += [limits.low + 10.0**power for power in range(-3, 12, 3)]
    bound = claim.bound
    marks = [0.0, 1.0]
    if bound is not None:
        edges = (bound.equals, bound.at_least, bound.at_most)
        marks = [edge for edge in edges if edge is not None]
        marks += [mark + side * bound.tolerance for mark in tuple(marks) for side in (-2, 2)]
        marks += [1.0] if claim.kind == "ratio" else []
        marks += [-mark for mark in tuple(marks)] if claim.kind == "difference" else []
    places += [mark * factor for mark in marks for factor in (1.0, 0.5, 2.0)]
    return list(dict.fromkeys(place for place in places if limits.low <= place <= limits.high))


def _near(centre: float, limits: Reach, side: float) -> float:
    return min(limits.high, max(limits.low, centre + side * SPREAD * max(abs(centre), 1e-3)))


def _record(entry: str, repetition: int, metrics: Mapping[str, float], *, exact: bool) -> Record:
    return Record(
        key=f"{entry}-{repetition}",
        stage="evaluate",
        suite="",
        entry=entry,
        profile="",
        repetition=repetition,
        seed=repetition,
        status=Status.OK,
        ingredients={},
        metrics={name: Measurement(value=value, exact=exact) for name, value in metrics.items()},
    )
