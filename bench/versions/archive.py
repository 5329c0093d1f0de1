"""Archive: a published version, read as a store is, for a suite as it is declared now.

The numbers are those of the version, and the rows, claims and tables those of the suite file at hand: give the version's
own file (`results/SUITE/v1/SUITE.yaml`) to see all as it was. A frozen number stands only in a row that is declared as it
was when the number was measured; what differs is said.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from retable.bench import registry
from retable.bench.declare.params import build_metric
from retable.bench.errors import BenchError, StoreError
from retable.bench.judge.results import Found, look_up
from retable.bench.record import Artefact, Failure, Measurement, Record, Status, canonical
from retable.bench.store.keys import Memo, component_ingredients, numerics
from retable.bench.suite import Case, Component, Suite
from retable.bench.versions.boxes import FILE as BOXES
from retable.bench.versions.boxes import Boxes, read_boxes
from retable.bench.versions.rates import FILE as RATES
from retable.bench.versions.rates import Rates, read_rates
from retable.bench.versions.samples import frozen_file
from retable.bench.versions.versions import Name, Version, find, load, numbers, path_of

if TYPE_CHECKING:
    from retable.bench.store.reader import Reader

T = TypeVar("T")


class Archive:
    """The records, machines, certificates and samples of one version, which lies in `folder`."""

    def __init__(self, version: Version, folder: Path) -> None:
        self.version = version
        self.folder = folder

    @property
    def name(self) -> str:
        return str(self.version.name)

    @cached_property
    def _by_key(self) -> dict[str, Record]:
        return {record.key: record for record in self.version.records}

    def get(self, key: str) -> Record | None:
        return self._by_key.get(key)

    def records(self, suite: str, profile: str | None = None) -> list[Record]:
        mine = suite == self.version.name.suite and profile in (None, self.version.profile)
        return list(self.version.records) if mine else []

    def find(self, prefix: str) -> list[Record]:
        return [record for record in self.version.records if record.key.startswith(prefix)]

    def environment(self, identity: str) -> dict[str, Any] | None:
        facts = self.version.environments.get(identity)
        return None if facts is None else dict(facts)

    def others(self, key: str) -> list[Record]:
        """A version holds what was published, not what other machines said of it."""
        return []

    def certificates(self, key: str) -> list[dict[str, Any]]:
        return [dict(one) for one in self.version.certificates if one["key"] == key]

    def read_artefact(self, artefact: Artefact) -> bytes:
        """The frozen copy of a sample. Raises StoreError for a file that was not frozen."""
        for file in self.version.manifest["files"]:
            if frozen_file(file) == artefact.sha256[:16]:
                return (self.folder / file).read_bytes()
        raise StoreError(f"{self.folder}: not among the samples of this version")

    @property
    def rates(self) -> Rates:
        """The firing rates that were frozen; none in versions that have no such file."""
        return self._beside(RATES, read_rates)

    @property
    def boxes(self) -> Boxes:
        """What detectors found, likewise."""
        return self._beside(BOXES, read_boxes)

    def _beside(self, file: str, read: Callable[[bytes], dict[str, T]]) -> dict[str, T]:
        if file not in self.version.manifest["files"]:
            return {}
        try:
            return read((self.folder / file).read_bytes())
        except (ValueError, TypeError, AttributeError, OSError) as error:
            raise StoreError(f"{self.folder}: {file} cannot be read: {error}") from None


def open_archive(root: Path, suite: str, text: str) -> Archive:
    """The version that `v1`, `newest`, `SUITE/v1` or its path names. Raises BenchError for another suite's."""
    name = find(root, text, suite)
    if name.suite != suite:
        raise BenchError(f"{name} is a version of another suite than {suite}")
    return Archive(load(root, name), path_of(root, name))


def newest_archive(root: Path, suite: Suite) -> Archive:
    """The newest version of a suite; of one that was never published an empty archive, of which `held` says so."""
    if known := numbers(root, suite.name):
        name = Name(suite.name, known[-1])
        return Archive(load(root, name), path_of(root, name))
    nothing = Version(name=Name(suite.name, 0), profile=suite.profile.name, manifest={"files": {}}, records=())
    return Archive(nothing, root)


def held(suite: Suite, reader: Reader) -> Found:
    """What the reader, a store or an archive, holds of a suite's cases."""
    if isinstance(reader, Archive):
        return _frozen(suite, reader)
    return look_up(suite, reader)  # type: ignore[arg-type]  # what is neither is a store


def _frozen(suite: Suite, archive: Archive) -> Found:
    version = archive.version
    if not version.name.number:
        return Found(results={}, said=(f"no version of {suite.name} is published",))
    if version.profile != suite.profile.name:
        raise BenchError(f"{version.name} was frozen at profile {version.profile}, not {suite.profile.name}")
    results, said = {}, dict.fromkeys(_numerics(suite, version))
    otherwise: dict[str, None] = {}
    memo: Memo = {}
    for case in suite.cases():
        record = version.results.get((case.entry.name, case.repetition))
        if record is None and (record := same_row(case, archive, memo)) is not None:
            said[f"{case.entry.name} is measured as {record.entry} was in {version.name}, and shows its numbers"] = None
        if record is None:
            continue
        if changed := _declared_otherwise(case, record, archive, memo):
            why = f"{version.name} measured this row as it was declared then: {'; '.join(changed)}"
            failure = Failure(type="DeclaredOtherwise", message=why)
            record = replace(record, status=Status.MISSING, metrics={}, failure=failure)
            otherwise[case.entry.name] = None
        record = replace(record, entry=case.entry.name)
        results[case.entry.name, case.repetition] = _of_present_metrics(record, version)
    lacking = dict.fromkeys(
        case.entry.name for case in suite.cases() if (case.entry.name, case.repetition) not in results
    )
    if lacking:
        said[f"not in {version.name}: {', '.join(lacking)}"] = None
    if otherwise:
        own = archive.folder / f"{suite.name}.yaml"
        said[f"declared otherwise than in {version.name} ({own} shows them as they were): {', '.join(otherwise)}"] = (
            None
        )
    return Found(results=results, said=tuple(said))


def same_row(case: Case, archive: Archive, memo: Memo) -> Record | None:
    """The record of a row that the version has under another name and that is declared as the case's is."""
    for record in archive.version.results.values():
        alike = record.repetition == case.repetition and set(case.entry.metrics) <= set(record.metrics)
        known = alike and _parts(record, archive).keys() >= {"method", "task"}
        if known and not _declared_otherwise(case, record, archive, memo):
            return record
    return None


def _numerics(suite: Suite, version: Version) -> list[str]:
    """That numbers are of other numerics than the suite asks for now."""
    frozen = {str(record.ingredients.get("numerics", "native")) for record in version.results.values()}
    now = numerics(suite.profile)
    return [f"{version.name} was measured in {', '.join(sorted(frozen))} numerics, not {now}"] if frozen - {now} else []


def _declared_otherwise(case: Case, record: Record, archive: Archive, memo: Memo) -> list[str]:
    """What of method, data and task is not as it was, as `method.width: 32 -> 64`; sources are another matter."""
    then = _parts(record, archive)
    pairs: list[tuple[registry.Kind, Component | None]] = [("method", case.entry.method), ("task", case.entry.task)]
    if then.get("dataset") is not None:
        pairs.append(("dataset", case.entry.dataset))
    changed = [] if case.seed == record.seed else [f"seed: {record.seed} -> {case.seed}"]
    for kind, component in pairs:
        if component is None or component.broken or kind not in then:
            continue
        place = "as declared", id(component)
        if place not in memo:
            memo[place] = component_ingredients(kind, component)
        changed += _parameters(kind, then[kind], memo[place])
    return changed


def _parts(record: Record, archive: Archive) -> dict[str, Any]:
    """What a record was made from, with what its weights were."""
    fit = archive.get(record.needs[0]) if record.needs else None
    return {**(fit.ingredients if fit else {}), **record.ingredients}


def _parameters(kind: registry.Kind, then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Parameters that differ; one that came later and has its default does what was done before there was one."""
    if then["use"] != now["use"]:
        return [f"{kind}: {then['use']} -> {now['use']}"]
    before, after = then.get("params", {}), now.get("params", {})
    defaults = {
        one.name: one.default for one in fields(registry.resolve(kind, now["use"])) if one.default is not MISSING
    }
    return [
        f"{kind}.{name}: {_shown(before, name)} -> {_shown(after, name)}"
        for name in after
        if (name in before or name not in defaults or after[name] != defaults[name])
        and canonical(before.get(name)) != canonical(after[name])
    ]


def _shown(params: Mapping[str, Any], name: str) -> str:
    text = canonical(params[name]) if name in params else "not known"
    return f"{text[:40]}…" if len(text) > 40 else text


def _of_present_metrics(record: Record, version: Version) -> Record:
    """A number of an earlier version of its metric has another meaning, and is absent."""
    metrics: dict[str, Measurement] = {}
    for name, measured in record.metrics.items():
        now = _metric_version(name)
        if now is not None and now != measured.version and measured.value is not None:
            why = f"{version.name} holds version {measured.version} of this metric, now it is {now}"
            measured = replace(measured, value=None, reason=why)
        metrics[name] = measured
    return replace(record, metrics=metrics)


def _metric_version(name: str) -> str | None:
    try:
        return str(build_metric(name).VERSION)
    except BenchError:  # a metric that is not there any more is in no column
        return None


def archives(root: Path, suite: str) -> tuple[list[Archive], list[str]]:
    """Every intact version of a suite, oldest first, and a sentence for each that is not."""
    found, problems = [], []
    for number in numbers(root, suite):
        name = Name(suite, number)
        try:
            found.append(Archive(load(root, name), path_of(root, name)))
        except StoreError as error:
            problems.append(str(error))
    return found, problems
