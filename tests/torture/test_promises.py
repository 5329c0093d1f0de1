"""The short form: every promise has tests that exist. They themselves run where they lie; `make torture` runs them all."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

from tests.torture.promises import PROMISES, Promise

ROOT = Path(__file__).parents[2]


@cache
def names_in(file: str) -> frozenset[str]:
    return frozenset(
        node.name
        for node in ast.walk(ast.parse((ROOT / file).read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    )


def test_there_are_thirty() -> None:
    assert [promise.number for promise in PROMISES] == list(range(1, 31))


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: f"{promise.number}")
def test_what_holds_it_is_there(promise: Promise) -> None:
    assert promise.tests
    for name in promise.tests:
        file, *inside = name.split("::")
        assert names_in(file)
        assert not inside or inside[-1] in names_in(file), name
