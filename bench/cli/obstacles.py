"""All that stands between this machine and a profile of a suite, at once: device, packages, data, weights."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

from retable.bench.declare.params import build, build_metric
from retable.bench.errors import BenchError, MissingDataError
from retable.bench.registry import Kind
from retable.bench.run.published import below_data, faults, loaded, where
from retable.bench.suite import Component, Entry, Suite


def obstacles(suite: Suite) -> dict[str, list[str]]:
    """For each thing to provide, a sentence that says what to put where, the rows that need it; empty where all is here."""
    found: dict[str, list[str]] = {}
    for entry in suite.entries:
        if entry.method is None or entry.dataset is None or entry.task is None:
            continue
        for sentence in filter(None, _of_row(suite, entry)):
            if entry.name not in found.setdefault(sentence, []):
                found[sentence].append(entry.name)
    return found


def render(suite: Suite, found: dict[str, list[str]]) -> str:
    """The same for a person, what most rows need first."""
    if not found:
        return f"{suite.name} at profile {suite.profile.name}: nothing is missing"
    lines = [f"{suite.name} at profile {suite.profile.name}: {len(found)} to provide"]
    for sentence, rows in sorted(found.items(), key=lambda item: -len(item[1])):
        more = f" and {len(rows) - 1} more" if len(rows) > 1 else ""
        lines.append(f"  {sentence} (row {rows[0]}{more})")
    return "\n".join(lines)


def _of_row(suite: Suite, entry: Entry) -> Iterator[str]:
    assert entry.method is not None
    assert entry.dataset is not None
    assert entry.task is not None
    yield _device(suite)
    if entry.task.broken:
        yield entry.task.broken
    elif build("task", entry.task).FITS:
        yield from _method(suite, entry.method)
        yield from faults(suite, [entry.method])
        yield from _component("dataset", entry.dataset, "digest")
        yield from _component("task", entry.task)
    for metric in entry.metrics:
        yield _missing(getattr(build_metric(metric), "ready", None))


def _device(suite: Suite) -> str:
    if not suite.profile.device.startswith("cuda"):
        return ""
    if find_spec("torch") is None:
        return "torch is not installed"
    import torch

    return "" if torch.cuda.is_available() else f"a CUDA device for {suite.profile.device}: torch sees none"


def _method(suite: Suite, method: Component) -> Iterator[str]:
    """What a method and those it builds on load instead of training, with the place where it is published."""
    for need in method.needs.values():
        yield from _method(suite, need)
    alone = Component(use=method.use, params=method.params, broken=method.broken)
    absent = [
        suite.weights[place]
        for place in loaded(suite, alone)
        if place in suite.weights and not below_data(place).exists()
    ]
    for sentence in filter(None, _component("method", method, "weights_digest")):
        yield f"{sentence}{where(absent[0] if absent else None)}"


def _component(kind: Kind, component: Component, *questions: str) -> Iterator[str]:
    """What one lacks in its own words: `ready` says it of packages, the digests of what they are taken of."""
    if component.broken:
        yield component.broken
        return
    instance = build(kind, component)
    for question in ("ready", *questions):
        yield _missing(getattr(instance, question, None))


def _missing(ask: Any) -> str:
    """Why something cannot be had, in its own words."""
    try:
        if ask is not None:
            ask()
    except (MissingDataError, FileNotFoundError, BenchError) as error:
        return str(error)
    return ""
