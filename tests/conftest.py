"""Options and fixtures that every test folder shares."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import pytest

from retable.bench.probes.hardware import not_portable
from retable.bench.run import numerics

# Tests compute in portable numerics, as `mini` does, so that stages can run in this process too; with
# BENCH_NUMERICS=native, or where the processor cannot, in native ones. Either has to be chosen before torch is imported.
NUMERICS: Literal["portable", "native"] = "native" if not_portable() else "portable"
numerics.settle(NUMERICS)

# The Triton kernels are tested in its interpreter, on any machine; it reads this when it is imported.
os.environ.setdefault("TRITON_INTERPRET", "1")


def pytest_addoption(parser: pytest.Parser) -> None:
    goldens = Path(__file__).parent / "parity" / "goldens"
    parser.addoption("--goldens", default=str(goldens), help="folder of parity fixtures")


@pytest.fixture(autouse=True, scope="session")
def _numerics_do_not_depend_on_which_tests_run() -> None:
    numerics.establish(NUMERICS)


@pytest.fixture(autouse=True)
def _numbers_do_not_depend_on_the_tests_before() -> None:
    """Networks that a test builds without a seed of its own have the same random weights in any order of tests."""
    import torch

    torch.manual_seed(0)
