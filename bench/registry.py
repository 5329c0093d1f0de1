"""Names to components: methods, data sets, tasks and metrics, resolved only when used.

A component is a frozen dataclass whose fields are its parameters. Its module must import nothing heavy at the top, so that
a suite can be checked without torch. A built-in says its own `NAME` and is found by the folder it lies in; a user's package
adds names through the entry points `retable.methods`, `retable.datasets`, `retable.tasks`, `retable.metrics`, and a single
file through `register`.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args

from retable.bench.contracts import registrable
from retable.bench.errors import BenchError, BrokenComponentError, UnknownNameError, nearest
from retable.bench.kept import kept, packages, remembered

Kind = Literal["method", "dataset", "task", "metric"]
KINDS: tuple[Kind, ...] = get_args(Kind)

_FOLDERS: Mapping[Kind, tuple[str, str]] = {
    "method": ("models", "*/method.py"),
    "dataset": ("bench/datasets", "**/*.py"),
    "task": ("bench/tasks", "*.py"),
    "metric": ("bench/metrics", "*.py"),
}
_NAMED = re.compile(r'^class (\w+)|^    NAME: ClassVar\[str\] = "([^"]+)"', re.MULTILINE)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_registered: dict[Kind, dict[str, type]] = {kind: {} for kind in KINDS}
_KERNELS = "retable.models.common.backends"
_TRIALS = "retable.models.common.trials"


def register(kind: Kind, name: str, *, replace: bool = False) -> Callable[[type], type]:
    """Class decorator: makes `name` available to suites. A name that is taken is only given away with `replace=True`.

    Raises BenchError for an unknown kind, a name that is taken or cannot be written in a suite, and a class that lacks what
    its kind must have.
    """
    if kind not in KINDS:
        hint = nearest(str(kind), KINDS) or f": {', '.join(KINDS)}"
        raise BenchError(f"there is no kind {kind!r} of component{hint}")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise BenchError(f"{kind} {name!r}: a name is made of letters, digits, '.', '_' and '-'")

    def add(component: type) -> type:
        registrable(kind, name, component)
        owner = _owner(kind, name)
        if owner and not replace and not _same(kind, name, component):
            raise BenchError(
                f"{kind} {name!r} is there already ({owner}); take another name, or say register(..., replace=True)"
            )
        _registered[kind][name] = component
        return component

    return add


def _same(kind: Kind, name: str, component: type) -> bool:
    """Whether the class was registered before under this name by the same file, which has been read again."""
    before = _registered[kind].get(name)
    return before is not None and _place(before) == _place(component)


def _place(component: type) -> tuple[str, str]:
    module = component.__module__
    return getattr(sys.modules.get(module), "__file__", None) or module, component.__qualname__


def _owner(kind: Kind, name: str) -> str:
    if (own := _registered[kind].get(name)) is not None:
        return f"{own.__module__}.{own.__qualname__}"
    return _built_in(kind).get(name) or _installed()[kind].get(name, "")


@cache
def _built_in(kind: Kind) -> Mapping[str, str]:
    """`module:class` by name, read from the source files without importing them."""
    return kept("built-ins", [kind], lambda: _declared(kind))


def _declared(kind: Kind) -> dict[str, str]:
    package = Path(__file__).parents[1]
    folder, pattern = _FOLDERS[kind]
    found: dict[str, str] = {}
    for path in sorted((package / folder).glob(pattern)):
        owner = ""
        for match in _NAMED.finditer(path.read_text(encoding="utf-8")):
            owner = match[1] or owner
            if name := match[2]:
                module = ".".join(("retable", *path.relative_to(package).with_suffix("").parts))
                assert name not in found, f"{kind} {name!r} is declared twice: {found.get(name)}, {module}"
                found[name] = f"{module}:{owner}"
    return found


@cache
def _installed() -> Mapping[str, Mapping[str, str]]:
    """What other packages offer through entry points, by kind; remembered for as long as nothing is installed."""

    def read() -> dict[str, dict[str, str]]:
        from importlib.metadata import entry_points

        points = entry_points()
        return {kind: {point.name: point.value for point in points.select(group=f"retable.{kind}s")} for kind in KINDS}

    return remembered("entry-points", [packages()], read)


def built_in(kind: Kind) -> tuple[str, ...]:
    """The names that come with Retable, sorted."""
    return tuple(sorted(_built_in(kind)))


def names(kind: Kind) -> list[str]:
    """All known names of a kind, sorted."""
    return sorted({*_built_in(kind), *_installed()[kind], *_registered[kind]})


def resolve(kind: Kind, name: str) -> type:
    """The component class behind a name.

    Raises UnknownNameError for a name nobody registered, BrokenComponentError for a module that does not import or a class
    that lacks what its kind must have, BenchError for a package that offers a built-in's name.
    """
    if (own := _registered[kind].get(name)) is not None:
        return own
    target = _built_in(kind).get(name)
    if target is None:
        if (target := _installed()[kind].get(name)) is None:
            close = nearest(name, names(kind))
            hint = "" if close else "; what a file of your own registers is known with --plugin FILE or [tool.retable]"
            raise UnknownNameError(f"unknown {kind} {name!r}{close}{hint}")
    elif name in _installed()[kind]:
        raise BenchError(
            f"{kind} {name!r} is built in, and the package of {_installed()[kind][name]} offers it too: rename it"
        )
    return _load(kind, name, target)


@cache
def _load(kind: Kind, name: str, target: str) -> type:
    module, _, attribute = target.partition(":")
    try:
        component: type = getattr(importlib.import_module(module), attribute)
        registrable(kind, name, component)
    except (Exception, SystemExit) as error:
        raise BrokenComponentError(f"{kind} {name!r} cannot be loaded from {target}: {error}") from error
    return component


def extended() -> bool:
    """Whether anybody but Retable itself offers components here."""
    return any(_registered.values()) or any(_installed().values())


def is_timing(metric: str) -> bool:
    """Whether a metric (`decode_ms[64]`) is a clock's or a counter's, as its class says by `TIMED = True`."""
    try:
        return bool(getattr(resolve("metric", metric.partition("[")[0]), "TIMED", False))
    except BenchError:
        return False


def trials() -> Any:
    """The module whose function `trials(tensor, with_gradients)` puts each kernel to work on fixed inputs."""
    return importlib.import_module(_TRIALS)


def kernels() -> Any:
    """The module that chooses the operators' backends: `using(name)` and `observe()` are context managers."""
    return importlib.import_module(_KERNELS)
