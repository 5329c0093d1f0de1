"""Options and fixtures that every test folder shares."""

from __future__ import annotations

from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    goldens = Path(__file__).parent / "parity" / "goldens"
    parser.addoption("--goldens", default=str(goldens), help="folder of parity fixtures")
