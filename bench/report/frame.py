"""Frame: records in Python, and as rows of one seed and metric for pandas, Parquet and the like."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retable.bench.errors import BenchError
from retable.bench.judge.results import absence, collect, with_needs
from retable.bench.judge.spread import sampling_error
from retable.bench.record import Measurement, Record
from retable.bench.suite import Suite

if TYPE_CHECKING:
    import pandas

COLUMNS: Mapping[str, type] = {
    "suite": str,
    "version": str,
    "profile": str,
    "entry": str,
    "label": str,
    "group": str,
    "repetition": int,
    "seed": int,
    "metric": str,
    "value": float,
    "unit": str,
    "direction": str,
    "n": int,
    "standard_error": float,
    "reported": float,
    "reason": str,
    "status": str,
    "created": str,
    "key": str,
    "parameters": str,
}
"""Of a row, with the types of their values; None is what is absent. `parameters` is JSON of method, data set and task."""
STORE = "records.sqlite"


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """What `load` found: evaluation records with the fits behind them, and what is known of the machines by id.

    `version` is empty for what comes from a store.
    """

    name: str
    records: tuple[Record, ...]
    environments: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    suite: Suite | None = None
    version: str = ""

    def rows(self) -> Iterator[dict[str, Any]]:
        """One mapping a seed and metric, with `COLUMNS` as keys; a number that is absent has its reason."""
        fits = {record.key: record for record in self.records if record.stage == "fit"}
        for record in self.records:
            if record.stage != "evaluate":
                continue
            for metric, measured in _metrics(record, self.suite):
                yield {**self._place(record), **_number(metric, measured, record, self.suite), **_origin(record, fits)}

    def to_pandas(self) -> pandas.DataFrame:
        """The rows as a DataFrame with nullable types. Raises BenchError without pandas."""
        try:
            import pandas
        except ModuleNotFoundError as error:
            raise BenchError('a DataFrame needs pandas: pip install "retable[export]"') from error
        kinds = {str: "string", int: "Int64", float: "Float64"}
        frame = pandas.DataFrame(list(self.rows()), columns=list(COLUMNS))
        return frame.astype({name: kinds[kind] for name, kind in COLUMNS.items()})

    def to_parquet(self, path: str | os.PathLike[str]) -> None:
        """The rows as a Parquet file with typed columns. Raises BenchError without pyarrow."""
        try:
            import pyarrow
            from pyarrow import parquet
        except ModuleNotFoundError as error:
            raise BenchError('Parquet needs pyarrow: pip install "retable[export]"') from error
        kinds = {str: pyarrow.string(), int: pyarrow.int64(), float: pyarrow.float64()}
        schema = pyarrow.schema([(name, kinds[kind]) for name, kind in COLUMNS.items()])
        parquet.write_table(pyarrow.Table.from_pylist(list(self.rows()), schema=schema), path)

    def _place(self, record: Record) -> dict[str, Any]:
        entry = None if self.suite is None else next((e for e in self.suite.entries if e.name == record.entry), None)
        return {
            "suite": record.suite,
            "version": self.version or None,
            "profile": record.profile,
            "entry": record.entry,
            "label": entry.label if entry else None,
            "group": (entry.group or None) if entry else None,
            "repetition": record.repetition,
            "seed": record.seed,
        }


def load(
    what: str | os.PathLike[str] | Suite,
    *,
    profile: str = "mini",
    store: str | os.PathLike[str] = "",
    results: str | os.PathLike[str] = "",
) -> Loaded:
    """Records of a suite (its file, its name in suites/, or a `Suite`), of a store's folder, or of a version (`table2_aim/v1`).

    A suite's are those of its cases as it is declared now, at `profile`, from `store` ($BENCH_STORE or results/work). A
    folder with a store gives every evaluation in it. Versions lie in `results` ($BENCH_RESULTS or results). Nothing runs.
    Raises BenchError for what is none of these, StoreError for what is damaged.
    """
    from retable.bench.store.store import Store

    place = Path(store or os.environ.get("BENCH_STORE", "results/work"))
    if isinstance(what, Suite):
        return _of_suite(what, Store(place, create=False))
    text = os.fspath(what)
    if (Path(text) / STORE).is_file():
        return _of_store(text, Store(text, create=False))
    if (file := _suite_file(text)) is not None:
        from retable.bench.declare.reader import load_suite

        return _of_suite(load_suite(file, profile), Store(place, create=False))
    return _of_version(Path(results or os.environ.get("BENCH_RESULTS", "results")), text)


def _suite_file(text: str) -> Path | None:
    candidates = (Path(text), Path("suites") / f"{text}.yaml")
    return next((path for path in candidates if path.suffix == ".yaml" and path.is_file()), None)


def _of_suite(suite: Suite, store: Any) -> Loaded:
    records = tuple(with_needs(collect(suite, store).values(), store).values())
    return Loaded(name=suite.name, records=records, environments=_machines(records, store), suite=suite)


def _of_store(name: str, store: Any) -> Loaded:
    """The last record of every key."""
    found = {record.key: record for record in store.find("")}
    return Loaded(name=name, records=tuple(found.values()), environments=_machines(found.values(), store))


def _of_version(root: Path, text: str) -> Loaded:
    from retable.bench.declare.reader import load_suite
    from retable.bench.versions import versions

    name = versions.find(root, text)
    version = versions.load(root, name)
    declared = versions.path_of(root, name) / f"{name.suite}.yaml"
    try:
        suite = load_suite(declared, version.profile)
    except BenchError:  # published before a component was renamed: its records say all that is needed
        suite = None
    return Loaded(
        name=str(name),
        records=version.records,
        environments=version.environments,
        suite=suite,
        version=f"v{name.number}",
    )


def _machines(records: Any, store: Any) -> dict[str, Mapping[str, Any]]:
    identities = dict.fromkeys(record.environment for record in records if record.environment)
    return {identity: store.environment(identity) or {} for identity in identities}


def _metrics(record: Record, suite: Suite | None) -> Sequence[tuple[str, Measurement | None]]:
    """Those of the record; of one that failed those that were to be measured."""
    planned = next((e.metrics for e in suite.entries if e.name == record.entry), ()) if suite else ()
    names = dict.fromkeys((*record.metrics, *planned, *record.ingredients.get("metrics", ())))
    return [(name, record.metrics.get(name)) for name in names]


def _number(metric: str, measured: Measurement | None, record: Record, suite: Suite | None) -> dict[str, Any]:
    entry = next((e for e in suite.entries if e.name == record.entry), None) if suite else None
    reported = entry.reported.get(metric) if entry else None
    there = measured is not None and record.ended
    return {
        "metric": metric,
        "value": measured.value if measured is not None and there else None,
        "unit": (measured.unit or None) if measured else None,
        "direction": measured.direction if measured else None,
        "n": measured.n if measured else None,
        "standard_error": sampling_error(measured) if measured is not None and there else None,
        "reported": reported.value if reported else None,
        "reason": absence(record, metric) or None,
    }


def _origin(record: Record, fits: Mapping[str, Record]) -> dict[str, Any]:
    method = record.ingredients.get("method") or next(
        (fits[key].ingredients.get("method") for key in record.needs if key in fits), None
    )
    data = record.ingredients.get("dataset") or next(
        (fits[key].ingredients.get("dataset") for key in record.needs if key in fits), None
    )
    parts = {"method": method, "dataset": data, "task": record.ingredients.get("task")}
    chosen = {kind: {"use": part["use"], **part.get("params", {})} for kind, part in parts.items() if part}
    return {
        "status": str(record.status),
        "created": record.created or None,
        "key": record.key,
        "parameters": json.dumps(chosen, sort_keys=True, ensure_ascii=False),
    }
