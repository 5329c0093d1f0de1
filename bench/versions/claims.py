"""Claims over published versions: judged as they read now on the newest one, and what they said before their first result."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from retable.bench.errors import BenchError
from retable.bench.judge.claims import judge
from retable.bench.judge.history import Stood
from retable.bench.judge.judgement import Judgement
from retable.bench.judge.predicate import statement
from retable.bench.suite import Suite
from retable.bench.versions import versions
from retable.bench.versions.versions import Name

Load = Callable[[Path, str], Suite]
"""How a suite file is read at a profile; a caller may remember what it read."""


@dataclass(frozen=True, kw_only=True)
class Published:
    """A suite's claims as they read now, judged on its newest version; without a version on nothing."""

    suite: Suite
    version: Name | None
    judgements: tuple[Judgement, ...]


def published(suite: Suite, root: Path, load: Load) -> Published:
    """Raises StoreError for a damaged version."""
    numbers = versions.numbers(root, suite.name)
    if not numbers:
        return Published(suite=suite, version=None, judgements=tuple(judge(suite, {})))
    name = Name(suite.name, numbers[-1])
    version = versions.load(root, name)
    results = version.results if version.profile == suite.profile.name else {}
    return Published(suite=suite, version=name, judgements=tuple(judge(suite, results, stood(suite, root, load))))


def stood(suite: Suite, root: Path, load: Load) -> Stood:
    """By claim: its statement in the first version that measured all its rows, or None where it was not made there."""
    found: dict[str, str | None] = {}
    for number in versions.numbers(root, suite.name):
        name = Name(suite.name, number)
        waiting = [claim for claim in suite.claims if claim.name not in found]
        try:
            if not waiting or versions.read_manifest(root, name)["profile"] != suite.profile.name:
                continue
            measured = _measured(versions.path_of(root, name) / "spread.csv")
            said = statements(root, name, suite.profile.name, load)
        except (BenchError, OSError, KeyError):  # declared in a way that is read no more, or frozen before spreads were
            continue
        for claim in waiting:
            if all((entry, metric) in measured for entry in claim.entries for metric in claim.metrics):
                found[claim.name] = said.get(claim.name)
    return found


def statements(root: Path, name: Name, profile: str, load: Load) -> dict[str, str]:
    """What a version claimed, by name. Raises BenchError for a suite file that is read no more."""
    suite = load(versions.path_of(root, name) / f"{name.suite}.yaml", profile)
    return {claim.name: statement(claim) for claim in suite.claims}


def _measured(path: Path) -> set[tuple[str, str]]:
    """Rows and metrics with a number."""
    with path.open(encoding="utf-8", newline="") as file:
        return {(row["entry"], row["metric"]) for row in csv.DictReader(file)}
