"""pytest plug-in: `pytest --bench suites/x.yaml` has one test a claim, judged from stored records; nothing is run.

Without `--bench` it only adds its options: it imports nothing of `bench` before a suite is named.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from retable.bench.judge.checks import Check


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("bench", "claims of papers (Retable)")
    group.addoption("--bench", action="append", default=[], metavar="SUITE", help="judge the claims of a suite file")
    group.addoption("--bench-store", default="results/work", metavar="DIR", help="folder of the record store")
    group.addoption("--bench-profile", default="mini", metavar="NAME", help="profile of the suites")
    group.addoption("--bench-against", metavar="VERSION", help="also hold numbers to a frozen version")
    group.addoption("--bench-results", default="results", metavar="DIR", help="folder of the published versions")
    group.addoption("--bench-plugin", action="append", default=[], metavar="FILE", help="load more components")


def pytest_configure(config: pytest.Config) -> None:
    """Suites are collected like files that were named; the project's own tests only where they were named too."""
    if suites := config.getoption("bench"):
        for suite in suites:
            if not Path(suite).is_file():
                raise pytest.UsageError(f"--bench {suite}: no such suite file")
        named = config.args if config.args_source is pytest.Config.ArgsSource.ARGS else []
        config.args = [*named, *(str(Path(suite).resolve()) for suite in suites)]
        config.args_source = pytest.Config.ArgsSource.ARGS


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    suites = parent.config.getoption("bench")
    if suites and file_path.resolve() in {Path(suite).resolve() for suite in suites}:
        return SuiteFile.from_parent(parent, path=file_path)
    return None


class SuiteFile(pytest.File):
    """A suite: its claims and rules, cases without a result, and with `--bench-against` its frozen numbers."""

    def collect(self) -> Iterator[pytest.Item]:
        from retable.bench.errors import BenchError

        try:
            checks = self._checks()
        except BenchError as error:
            raise self.CollectError(str(error)) from error
        for check in checks:
            yield CheckItem.from_parent(self, name=check.name, check=check)

    def _checks(self) -> list[Check]:
        from retable.bench.declare.reader import load_suite
        from retable.bench.judge import checks
        from retable.bench.judge.claims import judge
        from retable.bench.judge.results import collect, unmeasured
        from retable.bench.plugins import declared, load_plugin
        from retable.bench.store.store import Store
        from retable.bench.versions import versions
        from retable.bench.versions.against import frozen_checks, rule_checks

        option = self.config.getoption
        for plugin in [*declared(self.path.parent.resolve()), *option("bench_plugin")]:
            load_plugin(plugin)
        suite = load_suite(self.path, option("bench_profile"))
        store = Store(option("bench_store"), create=False)
        results = collect(suite, store)
        root, version = Path(option("bench_results")), None
        against = option("bench_against")
        if against is not None and (against != "newest" or versions.numbers(root, suite.name)):
            version = versions.load(root, versions.find(root, against, suite.name))
        found = [checks.of_judgement(judged) for judged in judge(suite, results)]
        found += rule_checks(suite, results, suite.rules, version)
        found += frozen_checks(suite, results, version) if version else []
        return found + [checks.of_case(line) for line in unmeasured(suite, results)]


class CheckItem(pytest.Item):
    """One claim, rule or frozen number; what could not be measured fails too, unless that was expected."""

    def __init__(self, *, check: Check, **rest: Any) -> None:
        super().__init__(**rest)
        self.check = check
        self._initrequest()

    def _initrequest(self) -> None:
        """What plug-ins that run a test again call first: a check has nothing to set up."""
        self.funcargs: dict[str, Any] = {}

    def runtest(self) -> None:
        if self.check.outcome == "skipped":
            pytest.skip(self.check.detail)
        if self.check.outcome != "passed":
            if not self.check.blocks:
                pytest.skip(f"{self.check.tier}, {self.check.outcome}: {self.check.detail}")
            raise CheckFailure(f"{self.check.text}\n{self.check.detail}")

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """The sentence alone: where in this file it was raised tells nobody anything."""
        if isinstance(excinfo.value, CheckFailure):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        line = self.check.where.rpartition(":")[2]
        return self.path, int(line) - 1 if line.isdigit() else None, f"{self.check.kind} {self.check.name}"


class CheckFailure(Exception):  # noqa: N818 - a verdict, not an error of the program
    """A claim that is not as expected."""
