"""Where a number came from: the text of `bench show`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

from retable.bench.errors import BenchError, nearest
from retable.bench.judge.results import Results, with_needs
from retable.bench.record import Measurement, Record
from retable.bench.report.escape import clean
from retable.bench.report.numbers import fact, size

if TYPE_CHECKING:
    from retable.bench.store.reader import Reader

FAMILY = 3
"""So many details that begin with the same word stand in lines of their own."""
LONG = 4
"""Longer lists (loss curves) are shown by their last item."""


def find_records(store: Reader, case: str, declared: Callable[[], Results] = dict) -> list[Record]:
    """The latest record of every stage that `case` names: `SUITE/ENTRY[/PROFILE[/REPETITION]]`, or the start of a key.

    `declared` gives what the store holds of the suite's rows as they are called now: a row may have been renamed.
    """
    if "/" not in case:
        records = store.find(case)
    else:
        suite, entry, *rest = case.split("/")

        def named(record: Record) -> bool:
            return record.entry == entry and [record.profile, str(record.repetition)][: len(rest)] == rest

        records = list(filter(named, store.records(suite))) or list(filter(named, declared().values()))
    if not records:
        rows = sorted({record.entry for record in store.records(case.split("/")[0])}) if "/" in case else []
        raise BenchError(f"{store.name} holds no record of {case!r}{nearest(case.split('/')[1], rows) if rows else ''}")
    newest: dict[tuple[Any, ...], Record] = {}
    for record in with_needs(records, store).values():
        method = record.ingredients.get("method", {}).get("use", "")
        newest[record.stage, record.entry, record.profile, record.repetition, method] = record
    return sorted(newest.values(), key=lambda record: (record.repetition, record.stage == "evaluate"))


def render(records: list[Record], store: Reader) -> str:
    """Values by repetition first, then each record, then the environments."""
    parts = []
    if evaluations := [record for record in records if record.stage == "evaluate"]:
        parts.append(_values(evaluations))
    parts += [_record(record) for record in records]
    for identity in dict.fromkeys(record.environment for record in records if record.environment):
        facts = store.environment(identity) or {}
        parts.append("\n".join([f"environment {identity[:12]}", *_lines(facts, indent=2)]))
    return "\n\n".join(parts)


def _values(records: list[Record]) -> str:
    first = records[0]
    lines = [f"{first.suite}/{first.entry} at profile {first.profile}"]
    for name in sorted({name for record in records for name in record.metrics}):
        cells = [(record.repetition, record.metrics[name]) for record in records if name in record.metrics]
        values = [cell.value for _, cell in cells if cell.value is not None]
        mean = f"mean {fmean(values):.6g}" if values else "no value"
        lines.append(f"  {name}  {mean}")
        families = _families([cell for _, cell in cells])
        lines += [f"    repetition {repetition}: {_measured(cell, families)}" for repetition, cell in cells]
        for family, places in families.items():
            lines.append(f"    {family}, repetitions {', '.join(str(repetition) for repetition, _ in cells)}")
            width = max(map(len, places))
            for place in places:
                found = (cell.details.get(f"{family} {place}") for _, cell in cells)
                texts = ("—" if detail is None else _short(detail) for detail in found)
                lines.append(f"      {place:{width}}" + "".join(f"  {text:>9}" for text in texts))
    return "\n".join(lines)


def _families(cells: Sequence[Measurement]) -> dict[str, list[str]]:
    """Details that differ in what follows their first word (the layers of a network, budgets of a curve), by that word."""
    names = dict.fromkeys(name for cell in cells for name in cell.details)
    families: dict[str, list[str]] = {}
    for family, blank, place in (name.partition(" ") for name in names):
        if blank:
            families.setdefault(family, []).append(place)
    return {family: places for family, places in families.items() if len(places) >= FAMILY}


def _measured(cell: Measurement, families: Collection[str]) -> str:
    if cell.value is None:
        return f"absent: {cell.reason}"
    text = f"{cell.value:,.0f}" if cell.exact else f"{cell.value:.6g}"
    facts = [cell.unit] if cell.unit else []
    facts += [f"n = {cell.n}"] if cell.n is not None else []
    facts += [f"real against real {cell.floor:.6g}"] if cell.floor is not None else []
    facts += [
        f"{name} {_short(value)}"
        for name, value in cell.details.items()
        if not (" " in name and name.split(" ")[0] in families)
    ]
    return f"{text}  ({'; '.join([*facts, f'version {cell.version}'])})"


def _record(record: Record) -> str:
    lines = [
        f"{record.stage} {record.key}",
        f"  {record.suite}/{record.entry}/{record.profile}, repetition {record.repetition}, seed {record.seed}",
        f"  status {record.status}, {record.created or 'never finished'}, environment {record.environment[:12]}",
    ]
    if record.node:
        lines.append(f"  ran on node {record.node}")
    lines += [f"  an earlier try: {reason}" for reason in record.lost]
    if record.failure:
        lines.append(f"  {clean(record.failure.type)}: {clean(record.failure.message)}")
        lines += [f"    {clean(line)}" for line in record.failure.traceback.rstrip().splitlines()]
    lines += [f"  {name}: {seconds:.3f} s" for name, seconds in record.timings.items()]
    lines += [f"  {name}: {count / 2**20:.0f} MiB" for name, count in record.memory.items()]
    lines += [f"  kernel {operator}: {', '.join(backends)}" for operator, backends in record.kernels.items()]
    lines += [f"  needs {key}" for key in record.needs]
    lines += [
        f"  {name}: {file.path} ({size(file.bytes)}, sha256 {file.sha256[:12]})"
        for name, file in record.artefacts.items()
    ]
    lines += ["  log", *_lines(record.log, indent=4)] if record.log else []
    lines += ["  ingredients", *_lines(record.ingredients, indent=4)]
    return "\n".join(lines)


def _lines(facts: Mapping[str, Any], indent: int) -> list[str]:
    lines: list[str] = []
    for name, value in facts.items():
        if isinstance(value, Mapping):
            lines += [f"{' ' * indent}{name}", *_lines(value, indent + 2)] if value else []
        elif isinstance(value, list) and len(value) > LONG:
            lines.append(f"{' ' * indent}{name}: {len(value)} items, the last {value[-1]}")
        else:
            lines.append(f"{' ' * indent}{name}: {fact(name, value)}")
    return lines


def _short(value: str | float) -> str:
    """Numbers to six digits, digests to their first twelve characters (`--json` has them whole)."""
    if isinstance(value, str):
        return value[:12] if len(value) == 64 and " " not in value else value
    return f"{value:.6g}"
