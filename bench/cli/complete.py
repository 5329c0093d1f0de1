"""Complete: which words a shell offers, by the argument: suites, their rows, metrics and tables, versions."""

from __future__ import annotations

import argparse
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from retable.bench.suite import Suite

Completer = Callable[..., list[str]]


def complete(parser: argparse.ArgumentParser) -> None:
    """Answers a shell that asks (`_ARGCOMPLETE` is set then) and ends the process; without argcomplete there is no answer."""
    try:
        from argcomplete import CompletionFinder
    except ModuleNotFoundError:
        return
    attach(parser)
    CompletionFinder()(parser)


def attach(parser: argparse.ArgumentParser) -> None:
    """Every argument gets the function that knows its words."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for verb in action.choices.values():
                attach(verb)
        elif action.dest in WORDS:
            action.completer = WORDS[action.dest]  # type: ignore[attr-defined]


def _suites(prefix: str, **rest: Any) -> list[str]:
    from retable.bench.cli.suites import names

    files = [str(path) for path in Path(Path(prefix).parent).glob("*.yaml")] if "/" in prefix else []
    return [*names(), *files, *(str(path) for path in Path().glob("*.yaml") if prefix)]


def _places(prefix: str, **rest: Any) -> list[str]:
    """Suites, and behind a suite's slash its rows."""
    name, slash, _ = prefix.partition("/")
    if not slash:
        return [f"{suite}/" for suite in _suites(prefix)] + _suites(prefix)
    suite = _suite(name, Namespace())
    return [f"{name}/{entry.name}" for entry in suite.entries] if suite else []


def _rows(prefix: str, parsed_args: Namespace, **rest: Any) -> list[str]:
    suite = _named(parsed_args)
    return [entry.name for entry in suite.entries] if suite else []


def _metrics(prefix: str, parsed_args: Namespace, **rest: Any) -> list[str]:
    suite = _named(parsed_args)
    entries = suite.entries if suite else ()
    return list(dict.fromkeys(metric for entry in entries for metric in (*entry.metrics, *entry.reported)))


def _tables(prefix: str, parsed_args: Namespace, **rest: Any) -> list[str]:
    suite = _named(parsed_args)
    return [layout.name for layout in suite.layouts] if suite else []


def _versions(prefix: str, parsed_args: Namespace, **rest: Any) -> list[str]:
    from retable.bench.versions.versions import published

    found = published(Path(getattr(parsed_args, "results", "results")))
    return [str(name) for name in found] + sorted({name.suite for name in found}) + ["newest", "store"]


def _named(arguments: Namespace) -> Suite | None:
    """The suite that stands on the line already."""
    text = getattr(arguments, "suite", None) or str(getattr(arguments, "first", "") or "").partition("/")[0]
    return _suite(text, arguments) if text else None


def _suite(name: str, arguments: Namespace) -> Suite | None:
    from retable.bench.cli.suites import find_suite, load_suite
    from retable.bench.errors import BenchError
    from retable.bench.plugins import declared, load_plugin

    try:
        for plugin in [*declared(Path.cwd()), *(getattr(arguments, "plugin", None) or [])]:
            load_plugin(plugin)
        return load_suite(find_suite(name), getattr(arguments, "profile", None) or "mini")
    except BenchError:
        return None


WORDS: dict[str, Completer] = {
    "suite": _suites,
    "suites": _suites,
    "case": _places,
    "first": _places,
    "second": _rows,
    "only": _rows,
    "row": _rows,
    "baseline": _rows,
    "metric": _metrics,
    "column": _metrics,
    "table": _tables,
    "against": _versions,
    "version": _versions,
    "old": _versions,
    "new": _versions,
    "from_": _versions,
}
"""By the name of an argument."""
