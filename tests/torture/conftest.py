"""What takes minutes runs only when `make torture` asks for it."""

from __future__ import annotations

import os

import pytest

FULL = os.environ.get("RETABLE_TORTURE") == "1"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    away = [] if FULL else [item for item in items if item.get_closest_marker("torture")]
    if away:
        items[:] = [item for item in items if item not in away]
        config.hook.pytest_deselected(items=away)
