"""Programs of the system that some tests need: what is skipped without them, and the command that brings them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest


@dataclass(frozen=True)
class Tool:
    """A program by the name people know, and the Debian packages that hold it."""

    name: str
    packages: str

    def missing(self, why: str = "is not installed") -> str:
        """The reason of a skip."""
        return f"needs {self.name}, which {why}"


CHROMIUM = Tool("Chromium", "chromium")
TEX = Tool("TeX", "texlive-latex-recommended lmodern")
TOOLS = (CHROMIUM, TEX)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--require-tools", action="store_true", help="a test that lacks Chromium or TeX fails")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """With --require-tools a skip for want of a program is a failure."""
    report: Any = yield
    if item.config.getoption("--require-tools") and (tool := lacked(report)):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} {tool.missing('--require-tools asks for')}: {command([tool])}"
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: Any) -> Iterator[None]:
    """The last lines of a run: what was skipped for want of a program, and what to do."""
    yield
    skipped = [tool for report in terminalreporter.stats.get("skipped", []) if (tool := lacked(report))]
    lacking = [tool for tool in TOOLS if tool in skipped]
    if lacking:
        names = " and ".join(tool.name for tool in lacking)
        tests = f"{len(skipped)} test{'s were' if len(skipped) > 1 else ' was'}"
        terminalreporter.write_line(f"{tests} skipped for want of {names}, which one command brings (Debian, as root):")
        terminalreporter.write_line(f"  {command(lacking)}")


def lacked(report: Any) -> Tool | None:
    """The program for want of which a test was skipped."""
    if not report.skipped or not isinstance(report.longrepr, tuple):
        return None
    return next((tool for tool in TOOLS if tool.missing("") in report.longrepr[2]), None)


def command(tools: list[Tool]) -> str:
    return f"apt-get install --no-install-recommends {' '.join(tool.packages for tool in tools)}"
