"""`python -m tests.torture [--into README.md]`: every test of every promise, and a table of what they showed.

Status 1 where one is not held. The table also goes between the marks of the file that is named; all else is for pytest.
"""

from __future__ import annotations

import os
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from retable.bench.report.readme import put_between
from tests.torture.promises import PROMISES, Promise

ROOT = Path(__file__).parents[2]
MARKS = ("<!-- figures: written by `python -m tests.torture --into README.md` -->", "<!-- end of the figures -->")
FULL = {"RETABLE_TORTURE": "1", "RETABLE_KILLS": os.environ.get("RETABLE_KILLS", "12")}


class Table:
    """Chooses the tests of the promises, and counts for each how they ended."""

    def __init__(self) -> None:
        self.outcomes: dict[str, str] = {}
        self.seconds: dict[str, float] = defaultdict(float)
        self.figures: dict[str, list[str]] = defaultdict(list)
        self.counts: dict[str, list[tuple[str, int]]] = defaultdict(list)

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        away = [item for item in items if not any(holds(promise, item.nodeid) for promise in PROMISES)]
        items[:] = [item for item in items if item not in away]
        config.hook.pytest_deselected(items=away)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds[report.nodeid] += report.duration
        if report.when == "call" or report.outcome != "passed":
            self.outcomes[report.nodeid] = report.outcome
        if report.when == "call":
            told = report.user_properties
            self.figures[report.nodeid] += [str(value) for name, value in told if name == "figure"]
            self.counts[report.nodeid] += [value for name, value in told if name == "count"]

    def row(self, promise: Promise) -> tuple[bool, list[str]]:
        """Whether it is held, and its line."""
        mine = {name: outcome for name, outcome in self.outcomes.items() if holds(promise, name)}
        passed = sum(outcome == "passed" for outcome in mine.values())
        seconds = sum(self.seconds[name] for name in mine)
        sums: dict[str, int] = defaultdict(int)
        for label, count in (one for name in mine for one in self.counts[name]):
            sums[label] += count
        figures = [f"{count:,} {label}" for label, count in sums.items()]
        figures += sorted({figure for name in mine for figure in self.figures[name]})
        held = passed > 0 and not any(outcome == "failed" for outcome in mine.values())
        word = "held" if held else "NOT HELD"
        told = [str(promise.number), word, f"{passed} of {len(mine)}", f"{seconds:.1f}"]
        return held, [*told, promise.text, "; ".join(figures)]


def holds(promise: Promise, nodeid: str) -> bool:
    """Whether a test, whatever its parameters, is one of the promise's."""
    plain = nodeid.partition("[")[0]
    file, *inside = plain.split("::")
    return any(name in (file, plain, "::".join([file, *inside[-1:]])) for name in promise.tests)


def markdown(rows: list[list[str]], seconds: float) -> str:
    """For a README: the promises with their tests and figures."""
    held = sum(word == "held" for _, word, *_ in rows)
    tests = sum(int(tests.split()[0]) for _, _, tests, *_ in rows)
    lines = [f"{held} of {len(rows)} held by {tests} tests in {seconds / 60:.0f} minutes.", ""]
    lines += ["| | promise | tests | figures |", "| ---: | --- | ---: | --- |"]
    return "\n".join([*lines, *(f"| {one[0]} | {one[4]} | {one[2]} | {one[5]} |" for one in rows)])


def main(options: list[str]) -> int:
    into = None
    if "--into" in options:
        place = options.index("--into")
        into = Path(options[place + 1])
        del options[place : place + 2]
    os.environ.update(FULL)
    os.chdir(ROOT)
    table: Any = Table()
    files = sorted({name.partition("::")[0] for promise in PROMISES for name in promise.tests})
    pytest.main(["-q", "-p", "no:cacheprovider", *options, *files], plugins=[table])
    rows = [table.row(promise) for promise in PROMISES]
    print()
    print(f"{'':>2}  {'':<8}  {'tests':>9}  {'s':>6}  promise")
    for _, (number, word, tests, seconds, text, figures) in rows:
        print(f"{number:>2}  {word:<8}  {tests:>9}  {seconds:>6}  {'; '.join(filter(None, (text, figures)))}")
    if into is not None:
        content = markdown([row for _, row in rows], sum(table.seconds.values()))
        into.write_text(put_between(into.read_text(encoding="utf-8"), content, str(into), MARKS), encoding="utf-8")
    broken = sum(not held for held, _ in rows)
    print(f"{len(rows) - broken} of {len(rows)} held")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
