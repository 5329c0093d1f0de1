"""`bench show`: where a number came from."""

from __future__ import annotations

import json
from argparse import Namespace
from typing import TYPE_CHECKING

from retable.bench.cli.rows import overview
from retable.bench.cli.source import reader
from retable.bench.cli.suites import find_suite, load_suite, names
from retable.bench.errors import OK

if TYPE_CHECKING:
    from retable.bench.judge.results import Results
    from retable.bench.record import Record
    from retable.bench.store.reader import Reader


def main(arguments: Namespace) -> int:
    """Where a number came from: values by seed, ingredients, timings, environment; of a suite its rows and errata."""
    from retable.bench.report.provenance import find_records, render

    if arguments.case.endswith(".yaml") or arguments.case in names():
        whole = load_suite(find_suite(arguments.case), "mini")
        print(overview(whole, reader(arguments, whole.name), as_json=arguments.json))
        return OK
    suite, separator, _ = arguments.case.partition("/")
    if arguments.source is not None and not separator:
        suite = arguments.source.partition("/")[0]  # of a key the version's own name says the suite
    store = reader(arguments, suite)
    records = find_records(store, arguments.case, lambda: _as_declared(arguments.case, store))
    if arguments.json:
        print(json.dumps([json.loads(record.to_json()) for record in records], indent=2, ensure_ascii=False))
    else:
        print("\n\n".join([render(records, store), *_elsewhere(records, store), *_reliability(records, store)]))
    return OK


def _as_declared(case: str, store: Reader) -> Results:
    """What the store holds under the keys that the rows of a suite file have now; nothing where there is no such file."""
    from retable.bench.versions.archive import held

    name, _, *rest = case.split("/")
    if name not in names():
        return {}
    return held(load_suite(find_suite(name), rest[0] if rest else "mini"), store).results


def _elsewhere(records: list[Record], store: Reader) -> list[str]:
    """What other machines say of the same keys, a line each."""
    from retable.bench.judge.contested import differences, machine, said

    lines = []
    for mine in records:
        for other in store.others(mine.key):
            names = differences(mine, other)
            found = f"differs in {', '.join(names)}" if names else "the same"
            name = f"{mine.entry}/{mine.profile}/{mine.repetition} {mine.stage}"
            lines.append(f"  {name}: {found} on {machine(other, store.environment)}, {other.created}")
            lines += [f"    {said(one, mine, other)}" for one in names]
    return ["\n".join(["other machines", *lines])] if lines else []


def _reliability(records: list[Record], store: Reader) -> list[str]:
    """How far the numbers of `records` are known: the three spreads, and the certificates, where there is any."""
    from retable.bench.judge.certificate import certificates_of, describe, read
    from retable.bench.judge.spread import describe as describe_spread
    from retable.bench.judge.spread import of_records

    evaluations = [record for record in records if record.stage == "evaluate" and record.ok]
    raw = certificates_of(store, [record.key for record in evaluations])
    rows: dict[str, list[Record]] = {}
    for record in evaluations:
        rows.setdefault(f"{record.entry} at profile {record.profile}", []).append(record)
    parts = []
    for row, repetitions in rows.items():
        if lines := [f"  {describe_spread(name, one)}" for name, one in of_records(repetitions, raw).items()]:
            parts.append(
                "\n".join([f"spread of {row} (standard deviation; standard error; largest difference)", *lines])
            )
    names = {record.key: f"{record.entry}/{record.profile}/{record.repetition}" for record in evaluations}
    if lines := sorted(f"  {names[one['key']]}: {describe(read(one))}" for one in raw):
        parts.append("\n".join(["determinism", *lines]))
    return parts
