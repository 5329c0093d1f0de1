"""Suites as a command line names them: by path, or by their bare name in suites/."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from retable.bench.errors import BenchError

if TYPE_CHECKING:
    from retable.bench.suite import Suite


def load(arguments: Namespace) -> Suite:
    """The suite and profile that a command names."""
    from retable.bench.declare.reader import load_suite

    return load_suite(find_suite(arguments.suite), arguments.profile)


def find_suite(name: str) -> Path:
    """A suite file by path, or by its bare name in suites/."""
    path = Path(name)
    if path.suffix != ".yaml" and (Path("suites") / f"{name}.yaml").is_file():
        path = Path("suites") / f"{name}.yaml"
    if not path.is_file():
        raise BenchError(f"no suite file {name}; `bench list` names those in suites/")
    return path
