"""Options and fixtures that every test folder shares."""

from __future__ import annotations

import os
import signal
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import settings

from retable.bench.probes.hardware import not_portable
from retable.bench.run import numerics
from tests import tools
from tests.tools import pytest_runtest_makereport as pytest_runtest_makereport
from tests.tools import pytest_terminal_summary as pytest_terminal_summary

# Tests compute in portable numerics, as `mini` does, so that stages can run in this process too; with
# BENCH_NUMERICS=native, or where the processor cannot, in native ones. Either has to be chosen before torch is imported.
NUMERICS: Literal["portable", "native"] = "native" if not_portable() else "portable"
numerics.settle(NUMERICS)

# The Triton kernels are tested in its interpreter, on any machine; it reads this when it is imported.
os.environ.setdefault("TRITON_INTERPRET", "1")

# A shared machine may take any time for an example; what takes too long ends by pytest's own time-out.
settings.register_profile("retable", deadline=None)
settings.load_profile("retable")


def pytest_addoption(parser: pytest.Parser) -> None:
    goldens = Path(__file__).parent / "parity" / "goldens"
    parser.addoption("--goldens", default=str(goldens), help="folder of parity fixtures")
    parser.addoption("--slow", action="store_true", help="also the tests that take minutes (`make slow`)")
    tools.pytest_addoption(parser)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "torture: takes minutes, for `make torture`")
    config.addinivalue_line("markers", "slow: takes minutes, for `make slow`")
    config.addinivalue_line(
        "markers", "oracle(package): a comparison with a package that has an environment of its own"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Comparisons with packages that nothing else can live beside are for `tox -e oracles`, slow tests for `--slow`."""
    away = [item for item in items for mark in item.iter_markers("oracle") if find_spec(mark.args[0]) is None]
    away += [item for item in items if item.get_closest_marker("slow") and not config.getoption("--slow")]
    if away:
        items[:] = [item for item in items if item not in away]
        config.hook.pytest_deselected(items=away)


@pytest.fixture(autouse=True, scope="session")
def _interrupts_are_heard() -> None:
    """A shell that starts the tests in its background has them ignore Ctrl-C, `nohup` the end of the terminal."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(autouse=True, scope="session")
def _numerics_do_not_depend_on_which_tests_run() -> None:
    numerics.establish(NUMERICS)


@pytest.fixture(autouse=True)
def _numbers_do_not_depend_on_the_tests_before() -> None:
    """Networks that a test builds without a seed of its own have the same random weights in any order of tests."""
    import torch

    torch.manual_seed(0)
