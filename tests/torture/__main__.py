"""`python -m tests.torture`: every test of every promise, and a table of what they showed; status 1 where one is not held."""

from __future__ import annotations

import os
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from tests.torture.promises import PROMISES, Promise

ROOT = Path(__file__).parents[2]
FULL = {"RETABLE_TORTURE": "1", "RETABLE_KILLS": os.environ.get("RETABLE_KILLS", "12")}


class Table:
    """Chooses the tests of the promises, and counts for each how they ended."""

    def __init__(self) -> None:
        self.outcomes: dict[str, str] = {}
        self.seconds: dict[str, float] = defaultdict(float)
        self.figures: dict[str, list[str]] = defaultdict(list)

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        away = [item for item in items if not any(holds(promise, item.nodeid) for promise in PROMISES)]
        items[:] = [item for item in items if item not in away]
        config.hook.pytest_deselected(items=away)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds[report.nodeid] += report.duration
        if report.when == "call" or report.outcome != "passed":
            self.outcomes[report.nodeid] = report.outcome
        if report.when == "call":
            self.figures[report.nodeid] += [str(value) for name, value in report.user_properties if name == "figure"]

    def row(self, promise: Promise) -> tuple[bool, list[str]]:
        """Whether it is held, and its line."""
        mine = {name: outcome for name, outcome in self.outcomes.items() if holds(promise, name)}
        passed = sum(outcome == "passed" for outcome in mine.values())
        seconds = sum(self.seconds[name] for name in mine)
        figures = sorted({figure for name in mine for figure in self.figures[name]})
        held = passed > 0 and not any(outcome == "failed" for outcome in mine.values())
        word = "held" if held else "NOT HELD"
        told = [str(promise.number), word, f"{passed} of {len(mine)}", f"{seconds:.1f}"]
        return held, [*told, "; ".join([promise.text, *figures])]


def holds(promise: Promise, nodeid: str) -> bool:
    """Whether a test, whatever its parameters, is one of the promise's."""
    plain = nodeid.partition("[")[0]
    file, *inside = plain.split("::")
    return any(name in (file, plain, "::".join([file, *inside[-1:]])) for name in promise.tests)


def main(options: list[str]) -> int:
    os.environ.update(FULL)
    os.chdir(ROOT)
    table: Any = Table()
    files = sorted({name.partition("::")[0] for promise in PROMISES for name in promise.tests})
    pytest.main(["-q", "-p", "no:cacheprovider", *options, *files], plugins=[table])
    rows = [table.row(promise) for promise in PROMISES]
    print()
    print(f"{'':>2}  {'':<8}  {'tests':>9}  {'s':>6}  promise")
    for _, (number, word, tests, seconds, text) in rows:
        print(f"{number:>2}  {word:<8}  {tests:>9}  {seconds:>6}  {text}")
    broken = sum(not held for held, _ in rows)
    print(f"{len(rows) - broken} of {len(rows)} held")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
