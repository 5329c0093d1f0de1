"""Chapter: all that is reported of one suite, gathered from the store; what pages and LaTeX documents are made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from retable.bench.judge.certificate import certificates_of, describe, read
from retable.bench.judge.claims import judge
from retable.bench.judge.judgement import Judgement
from retable.bench.judge.results import collect, unmeasured, with_needs
from retable.bench.record import Record
from retable.bench.report.plot import Plot, build_plots
from retable.bench.report.table import Table, build_tables
from retable.bench.suite import Suite

if TYPE_CHECKING:
    from retable.bench.store.store import Store


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


def gather(suite: Suite, store: Store) -> Chapter:
    """Read what the store holds of a suite's cases; runs nothing."""
    results = collect(suite, store)
    records = with_needs(results.values(), store)
    environments = {
        identity: store.environment(identity) or {}
        for identity in dict.fromkeys(record.environment for record in records.values())
        if identity
    }
    return Chapter(
        suite=suite,
        tables=tuple(build_tables(suite, results, store.environment)),
        judgements=tuple(judge(suite, results)),
        plots=tuple(build_plots(suite, results)),
        records=records,
        environments=environments,
        unmeasured=tuple(unmeasured(suite, results)),
        certificates=tuple(
            (f"{records[one['key']].entry}, repetition {records[one['key']].repetition}", describe(read(one)))
            for one in certificates_of(store, [record.key for record in results.values()])
        ),
    )
