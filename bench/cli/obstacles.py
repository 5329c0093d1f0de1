"""All that stands between this machine and a profile of a suite, at once: device, packages, data, weights."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from retable.bench.declare.params import build
from retable.bench.errors import BenchError, MissingDataError
from retable.bench.suite import Component, Suite


def obstacles(suite: Suite) -> dict[str, list[str]]:
    """For each thing to provide, a sentence that says what to put where, the rows that need it; empty where all is here."""
    found: dict[str, list[str]] = {}
    for entry in suite.entries:
        if entry.method is None or entry.dataset is None or entry.task is None:
            continue
        fits = entry.task.broken or build("task", entry.task).FITS
        needed = (*_method(entry.method), _data(entry.dataset)) if fits else ()
        for sentence in (_device(suite), entry.task.broken, *needed):
            if sentence and entry.name not in found.setdefault(sentence, []):
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


def _device(suite: Suite) -> str:
    if not suite.profile.device.startswith("cuda"):
        return ""
    if find_spec("torch") is None:
        return "torch is not installed"
    import torch

    return "" if torch.cuda.is_available() else f"a CUDA device for {suite.profile.device}: torch sees none"


def _method(method: Component) -> list[str]:
    """What a method and those it builds on load instead of training."""
    sentences = [sentence for need in method.needs.values() for sentence in _method(need)]
    if method.broken:
        return [method.broken, *sentences]
    return [_missing(getattr(build("method", method), "weights_digest", None)), *sentences]


def _data(dataset: Component) -> str:
    return dataset.broken or _missing(build("dataset", dataset).digest)


def _missing(identify: Any) -> str:
    """Why something has no digest, in its own words."""
    try:
        if identify is not None:
            identify()
    except (MissingDataError, FileNotFoundError, BenchError) as error:
        return str(error)
    return ""
