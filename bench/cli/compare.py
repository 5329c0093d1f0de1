"""`bench compare`: two rows side by side, in pairs of equal seeds, with the interval of their difference."""

from __future__ import annotations

import json
from argparse import Namespace
from dataclasses import asdict
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from retable.bench.cli.suites import find_suite, load_suite
from retable.bench.errors import OK, UNMEASURED, BenchError, nearest

if TYPE_CHECKING:
    from retable.bench.judge.pairs import Pair
    from retable.bench.judge.stats import Interval
    from retable.bench.suite import Suite


def main(arguments: Namespace) -> int:
    """Every number that both rows measure; 3 where no pair of them is stored."""
    from retable.bench.judge.pairs import compare
    from retable.bench.judge.results import collect
    from retable.bench.store.store import Store

    suite, rows = _rows(arguments)
    found = compare(suite, collect(suite, Store(arguments.store, create=False)), *rows)
    asked = arguments.metric or ["*"]
    found = [pair for pair in found if any(fnmatchcase(pair.metric, glob) for glob in asked)]
    if not found:
        raise BenchError(f"{rows[0]} and {rows[1]} measure no metric together that matches {', '.join(asked)}")
    if arguments.json:
        facts = [{**asdict(pair), "decided": pair.decided} for pair in found]
        print(json.dumps({"suite": suite.name, "rows": rows, "metrics": facts}, indent=2, ensure_ascii=False))
    else:
        print(_table(suite, rows, found))
    return OK if any(pair.seeds for pair in found) else UNMEASURED


def _rows(arguments: Namespace) -> tuple[Suite, tuple[str, str]]:
    """The suite and two of its measured rows. Raises BenchError."""
    name, _, first = arguments.first.rpartition("/")
    if not name:
        raise BenchError(f"{arguments.first!r} names no suite; write SUITE/ROW")
    other, _, second = arguments.second.rpartition("/")
    if other and find_suite(other) != find_suite(name):
        raise BenchError("rows of two suites have different seeds and make no pairs; put them into one suite")
    suite = load_suite(find_suite(name), arguments.profile)
    measured = [entry.name for entry in suite.entries if entry.method is not None]
    for row in (first, second):
        if row not in measured:
            raise BenchError(f"{suite.name} measures no row {row!r} at {suite.profile.name}{nearest(row, measured)}")
    return suite, (first, second)


def _table(suite: Suite, rows: tuple[str, str], found: list[Pair]) -> str:
    from tabulate import tabulate

    from retable.bench.report.escape import clean

    share = 100 - round(200 * suite.statistics.alpha)
    lines = [
        [
            pair.metric,
            *map(_number, (pair.first, pair.second)),
            *map(_interval, (pair.difference, pair.ratio)),
            str(pair.seeds),
            f"{pair.decided}: {pair.reason}" if pair.reason else pair.decided,
        ]
        for pair in found
    ]
    head = ["", *rows, "difference", "ratio", "seeds", rows[1]]
    body = tabulate([list(map(clean, line)) for line in lines], headers=head, tablefmt="plain", disable_numparse=True)
    return (
        f"{suite.name} at profile {suite.profile.name}: {rows[1]} beside {rows[0]}\n{body}\n"
        f"differences and ratios are of pairs of equal seeds, with {share} % intervals"
    )


def _number(value: float | None) -> str:
    return "—" if value is None else f"{value:.6g}"


def _interval(found: Interval | None) -> str:
    if found is None:
        return "—"
    limits = "" if found.low is None or found.low == found.high else f" [{found.low:.4g}, {found.high:.4g}]"
    return f"{found.mean:.4g}{limits}"
