"""Repeat: cases run once more from nothing, in a store of their own, so that no record of the real one is touched."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from socket import gethostname
from types import MappingProxyType
from typing import NamedTuple, get_args

from retable.bench.declare.params import build
from retable.bench.errors import BenchError
from retable.bench.judge.certificate import Certificate, Kind, certify
from retable.bench.probes.hardware import not_portable
from retable.bench.record import Record
from retable.bench.registry import is_timing
from retable.bench.run.plan import Plan, make_plan
from retable.bench.store.store import Store
from retable.bench.suite import Case, Numerics

Nodes = Mapping[str, frozenset[str]]
Run = Callable[[Sequence[Case], Store, Nodes], tuple[Mapping[str, Record], bool]]
"""Runs cases into a store, each stage away from the nodes that are named for its key: the record of each by its name, and whether the run
was interrupted."""


class Outcome(NamedTuple):
    """What a further run of a case left: its record, the digests of its weights, and the nodes of all its stages by key."""

    record: Record | None
    weights: list[str]
    nodes: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, kw_only=True)
class Variation:
    """One thing to do with a case: run it again as it is, with one setting changed, or its stages away from where they ran."""

    kind: Kind
    setting: str
    case: Case
    runs: int = 1
    avoid: Nodes = field(default_factory=dict)


def repeats(cases: Sequence[Case], runs: int) -> list[Variation]:
    """`runs` in all, the stored one among them; cases of timings alone are left out."""
    return [
        Variation(kind="repeat", setting="the same settings", case=case, runs=runs - 1)
        for case in cases
        if runs > 1 and _comparable(case)
    ]


def varied_threads(cases: Sequence[Case]) -> list[Variation]:
    """Every case with twice the threads (half of them where there are more than two)."""
    found = []
    for case in filter(_comparable, cases):
        limits = case.suite.profile.limits
        threads = 2 * limits.threads if limits.threads <= 2 else limits.threads // 2
        profile = replace(case.suite.profile, limits=replace(limits, threads=threads))
        setting = f"{threads} instead of {limits.threads} thread{'s' * (limits.threads != 1)}"
        changed = replace(case, suite=replace(case.suite, profile=profile))
        found.append(Variation(kind="threads", setting=setting, case=changed))
    return found


def varied_batch(cases: Sequence[Case]) -> list[Variation]:
    """Every case whose task works in batches, evaluated on the stored weights in batches of half the size."""
    found = []
    for case in filter(_comparable, cases):
        task = case.entry.task
        size = getattr(build("task", task), "batch_size", None) if task is not None and not task.broken else None
        if task is None or not isinstance(size, int):
            continue
        other = size // 2 or 2
        entry = replace(case.entry, task=replace(task, params={**task.params, "batch_size": other}))
        setting = f"batches of {other} instead of {size}"
        found.append(Variation(kind="batch", setting=setting, case=replace(case, entry=entry)))
    return found


def varied_numerics(cases: Sequence[Case]) -> list[Variation]:
    """Every case in native numerics where it has portable ones, and the other way round.

    Raises BenchError where this machine has only native ones.
    """
    if why := not_portable():
        raise BenchError(f"numerics cannot be varied: all are native, since {why}")
    found = []
    for case in filter(_comparable, cases):
        profile = case.suite.profile
        other: Numerics = "native" if profile.numerics == "portable" else "portable"
        changed = replace(case, suite=replace(case.suite, profile=replace(profile, numerics=other)))
        found.append(Variation(kind="numerics", setting=f"{other} instead of {profile.numerics}", case=changed))
    return found


def varied_nodes(cases: Sequence[Case], keys: Mapping[str, str], store: Store) -> list[Variation]:
    """Every case with each stage on another node than before; `keys` are those of the cases."""
    found = []
    for case in filter(_comparable, cases):
        waiting, avoid = [keys[case.name]], dict[str, frozenset[str]]()
        while waiting:
            if (record := store.get(waiting.pop())) is not None:
                avoid[record.key] = frozenset({record.node or gethostname()})
                waiting += record.needs
        found.append(Variation(kind="node", setting="another node", case=case, avoid=avoid))
    return found


def certify_cases(
    variations: Sequence[Variation], keys: Mapping[str, str], store: Store, run: Run
) -> Iterator[tuple[str, Certificate | str]]:
    """Run all variations and compare them with the stored records; each certificate is durable when it is yielded.

    `keys` are those of the cases by name. Yields the case's name with its certificate, or with why there is none. Ends
    early when a run was interrupted.
    """
    for kind in get_args(Kind):
        chosen = [one for one in variations if one.kind == kind and store.ok_keys([keys[one.case.name]])]
        outcomes: list[dict[str, Outcome]] = []
        for _ in range(max((one.runs for one in chosen), default=0)):
            outcome, interrupted = _round(chosen, store, run, kept_fits=kind == "batch")
            if interrupted:
                return
            outcomes.append(outcome)
        for one in chosen:
            record = store.get(keys[one.case.name])
            assert record is not None, "only cases with a stored result are varied"
            yield one.case.name, _certificate(one, record, [outcome[one.case.name] for outcome in outcomes], store)


def _certificate(one: Variation, record: Record, again: Sequence[Outcome], store: Store) -> Certificate | str:
    for outcome in again:
        if outcome.record is None or not outcome.record.ok:
            failure = outcome.record.failure if outcome.record else None
            return f"{one.kind} ({one.setting}): ended without a result: {failure.message if failure else 'not run'}"
    setting = one.setting
    if one.kind == "node":
        here = {node for nodes in one.avoid.values() for node in nodes}
        there = {node for outcome in again for node in outcome.nodes.values()}
        setting = f"{', '.join(sorted(there))} instead of {', '.join(sorted(here))}"
        if any(outcome.nodes.get(key, "") in nodes for outcome in again for key, nodes in one.avoid.items()):
            return f"node ({setting}): a stage ran where it had run before, which certifies nothing"
    records = [outcome.record for outcome in again if outcome.record is not None]
    weights = [] if one.kind == "batch" else [_weights(record, store), *(outcome.weights for outcome in again)]
    certificate = certify(one.kind, setting, record, records, weights)
    store.certify(certificate.plain())
    return certificate


def _round(
    variations: Sequence[Variation], store: Store, run: Run, *, kept_fits: bool
) -> tuple[dict[str, Outcome], bool]:
    """One further run of every case, by the case's name; nothing of it stays."""
    cases = [one.case for one in variations]
    with _scratch(store) as scratch:
        if kept_fits:
            _copy_fits(make_plan(cases, scratch), store, scratch)
        avoid = {key: nodes for one in variations for key, nodes in one.avoid.items()}
        records, interrupted = run(cases, scratch, avoid)
        nodes = {
            one.case.name: {key: stage.node for key in one.avoid if (stage := scratch.get(key)) is not None}
            for one in variations
        }
        found = {name: Outcome(record, _weights(record, scratch), nodes[name]) for name, record in records.items()}
    return {case.name: found.get(case.name, Outcome(None, [])) for case in cases}, interrupted


@contextmanager
def _scratch(store: Store) -> Iterator[Store]:
    """A store that is gone afterwards, on the same disk."""
    folder = Path(tempfile.mkdtemp(prefix="repeat-", dir=store.folder))
    scratch = Store(folder)
    try:
        yield scratch
    finally:
        scratch.close()
        shutil.rmtree(folder, ignore_errors=True)


def _copy_fits(plan: Plan, store: Store, scratch: Store) -> None:
    for key, stage in plan.stages.items():
        record = store.get(key) if stage.template.stage == "fit" else None
        if record is not None:
            for artefact in record.artefacts.values():
                scratch.put_artefact(artefact.path, store.read_artefact(artefact))
            scratch.append(record)


def _weights(record: Record, store: Store) -> list[str]:
    """Digests of all weights that a case's evaluation read, in the order of its needs."""
    digests, waiting = [], list(record.needs)
    while waiting:
        fit = store.get(waiting.pop(0))
        if fit is not None:
            digests += [artefact.sha256 for artefact in fit.artefacts.values()]
            waiting += fit.needs
    return digests


def _comparable(case: Case) -> bool:
    return any(not is_timing(metric) for metric in case.entry.metrics)
