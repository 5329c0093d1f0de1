"""Stand-ins: what is put where a suite's data sets, published weights and metrics look for files.

The writers of data lie in this room, those of weights in `models/<paper>/stand_in.py`, which no key covers. Each module has
`STAND_INS`: by registered name, a function that writes, below a folder, what a component with these parameters reads.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from retable.bench import registry, rehearsal
from retable.bench.declare.params import build
from retable.bench.record import canonical
from retable.bench.suite import Case, Component


def furnish(cases: Sequence[Case], root: Path) -> dict[str, Any]:
    """Below `root`, stand-ins of all that `cases` read: data first, for they give weights their sizes.

    Returns the loaded data sets by `identity`.
    """
    loaded: dict[str, Any] = {}
    done: set[tuple[str, str]] = set()
    for case in cases:
        dataset, method, task = case.entry.dataset, case.entry.method, case.entry.task
        assert dataset is not None
        assert method is not None
        assert task is not None
        which = identity(dataset)
        if which not in loaded:
            loaded[which] = _data(dataset, root)
        for component in (*below(method), *(one for need in task.needs.values() for one in below(need))):
            if (which, identity(component)) not in done:
                done.add((which, identity(component)))
                _weights(component, root, loaded[which])
    for metric in sorted({name.partition("[")[0] for case in cases for name in case.entry.metrics}):
        if write := of_files("FOR_METRICS").get(metric):
            write(root)
    return loaded


def below(component: Component) -> list[Component]:
    """A component after all that it needs."""
    return [*(one for need in component.needs.values() for one in below(need)), component]


def identity(component: Component) -> str:
    """Equal for components that are built alike."""
    return canonical({"use": component.use, "params": component.params, "needs": sorted(component.needs)})


def _data(component: Component, root: Path) -> Any:
    """The data set, loaded from its stand-in; None where even that cannot be had: its cases say so when they run."""
    dataset = build("dataset", component)
    if write := of_files("STAND_INS").get(component.use):
        write(dataset, root)
    try:
        return dataset.load()
    except FileNotFoundError:
        return None


def _weights(component: Component, root: Path, data: Any) -> None:
    if write := of_weights(component.use).get(component.use):
        write(build("method", component), root, data)


@cache
def of_files(table: Literal["STAND_INS", "FOR_METRICS", "CHECKS"]) -> dict[str, Callable[..., Any]]:
    """The writers of this room, `write(dataset, root)` for data, `write(root)` for what a metric reads; and its checks.

    A check of a data set's rows, `check(data, files)`, is one sentence about what an evaluation left, or None.
    """
    found: dict[str, Callable[..., Any]] = {}
    for module in pkgutil.iter_modules(rehearsal.__path__, f"{rehearsal.__name__}."):
        found |= getattr(importlib.import_module(module.name), table, {})
    return found


@cache
def of_weights(method: str) -> dict[str, Callable[..., None]]:
    """The writers beside a method: `write(method, root, data)`."""
    beside = registry.resolve("method", method).__module__.rpartition(".")[0] + ".stand_in"
    if not beside.startswith("retable.models.") or find_spec(beside) is None:
        return {}
    found: dict[str, Callable[..., None]] = importlib.import_module(beside).STAND_INS
    return found
