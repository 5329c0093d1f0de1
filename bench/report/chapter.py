"""Chapter: all that is reported of one suite, gathered from the store or a version; what pages and LaTeX documents are made from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from retable.bench.judge.certificate import certificates_of, describe, read
from retable.bench.judge.claims import judge
from retable.bench.judge.judgement import Judgement
from retable.bench.judge.results import unmeasured, with_needs
from retable.bench.record import Record
from retable.bench.report.plot import Plot, build_plots
from retable.bench.report.table import Table, build_tables
from retable.bench.store.reader import Reader
from retable.bench.suite import Suite
from retable.bench.versions.archive import Archive, held
from retable.bench.versions.boxes import Boxes, boxes
from retable.bench.versions.rates import Rates, rates
from retable.bench.versions.samples import Read, Sample, find_samples

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Chapter:
    """`records` are those behind the numbers by key, with the fits that they need; `environments` what is known by id."""

    suite: Suite
    tables: tuple[Table, ...]
    judgements: tuple[Judgement, ...]
    plots: tuple[Plot, ...]
    records: Mapping[str, Record]
    environments: Mapping[str, Mapping[str, Any]]
    unmeasured: tuple[str, ...] = ()
    certificates: tuple[tuple[str, str], ...] = ()
    """A case, and what running it again showed."""
    source: str = "the store"
    """Where the numbers are from: the store, or a version such as `table2_aim/v2`."""
    said: tuple[str, ...] = ()
    """What is to be known of the numbers beside themselves: data that are not at hand, rows declared otherwise since."""
    samples: tuple[Sample, ...] = ()
    problems: tuple[str, ...] = ()
    """A sentence for each sample that cannot be shown."""
    rates: Rates = field(default_factory=dict)
    boxes: Boxes = field(default_factory=dict)
    past: tuple[Archive, ...] = ()
    """The published versions, oldest first."""


def gather(suite: Suite, reader: Reader, past: Sequence[Archive] = ()) -> Chapter:
    """Read what a store or a version holds of a suite's cases; runs nothing."""
    found = held(suite, reader)
    records = with_needs(found.results.values(), reader)
    environments = {
        identity: reader.environment(identity) or {}
        for identity in dict.fromkeys(record.environment for record in records.values())
        if identity
    }
    firing = _of_rows(found.results.values(), reader, rates, lambda version: version.rates)
    samples, problems = find_samples(suite, records.values(), reader.read_artefact)
    return Chapter(
        suite=suite,
        tables=tuple(build_tables(suite, found.results, reader.environment, reader.others)),
        judgements=tuple(judge(suite, found.results)),
        plots=tuple(build_plots(suite, found.results, firing)),
        records=records,
        environments=environments,
        unmeasured=tuple(unmeasured(suite, found.results)),
        certificates=tuple(
            (f"{records[one['key']].entry}, repetition {records[one['key']].repetition}", describe(read(one)))
            for one in certificates_of(reader, [record.key for record in found.results.values()])
        ),
        source=reader.name,
        said=found.said,
        samples=tuple(samples),
        problems=tuple(problems),
        rates=firing,
        boxes=_of_rows(found.results.values(), reader, boxes, lambda version: version.boxes),
        past=tuple(past),
    )


def _of_rows(
    evaluations: Iterable[Record],
    reader: Reader,
    made: Callable[[Iterable[Record], Read], Mapping[str, T]],
    frozen: Callable[[Archive], Mapping[str, T]],
) -> Mapping[str, T]:
    """Of a version what was frozen, as its rows are declared now; of a store what `made` finds among the artefacts."""
    evaluations = [record for record in evaluations if record.ok]
    if not isinstance(reader, Archive):
        return made(evaluations, reader.read_artefact)
    rows = {record.entry for record in evaluations}
    return {row: value for row, value in frozen(reader).items() if row in rows}
