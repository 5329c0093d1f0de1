"""Published: whether the weights at hand are those that a suite's rows ask for, looked at before anything is trained."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from retable import contents, whole
from retable.bench import registry
from retable.bench.declare.weights import places
from retable.bench.errors import BenchError
from retable.bench.store.keys import fits
from retable.bench.suite import Case, Component, Suite, Weights


def require(cases: Iterable[Case]) -> None:
    """Raises BenchError that names every file that is there and is not what it should be, with the rows that load it."""
    found: dict[str, list[str]] = {}
    for case in cases:
        for sentence in faults(case.suite, methods_of(case)):
            rows = found.setdefault(sentence, [])
            if case.entry.name not in rows:
                rows.append(case.entry.name)
    if found:
        raise BenchError(
            "\n".join(f"{sentence} (row{'s' * (len(rows) > 1)} {', '.join(rows)})" for sentence, rows in found.items())
        )


def methods_of(case: Case) -> list[Component]:
    """Those whose weights a case needs; none where its task only counts."""
    method, task = case.entry.method, case.entry.task
    assert method is not None
    assert task is not None
    return [method] if fits(task) else []


def faults(suite: Suite, methods: Iterable[Component]) -> Iterator[str]:
    """A sentence for each file that is there and is another one than published, or only a part of it."""
    for place in dict.fromkeys(place for method in methods for place in loaded(suite, method)):
        path = below_data(place)
        if path.exists() and (
            sentence := whole.lacking(path) or (_another(path, known) if (known := suite.weights.get(place)) else "")
        ):
            yield f"{sentence}{where(suite.weights.get(place))}"


def loaded(suite: Suite, method: Component) -> list[str]:
    """Places that a method, or one below it, loads weights from: those that the suite lists, and whatever looks like one."""
    if not any(_loads(one) for one in _with_needs(method)):
        return []
    return [
        place
        for place in places([method])
        if place in suite.weights or Path(place).suffix in whole.TENSORS or "/" in place
    ]


def below_data(place: str) -> Path:
    return Path(os.environ.get("BENCH_DATA", "data")) / place


def where(known: Weights | None) -> str:
    """`; it is published as FILE at ADDRESS (licence MIT)`, as far as the suite says."""
    if known is None:
        return ""
    name = f" as {known.file}" if known.file else ""
    return (
        f"; it is published{name} at {known.address} (licence {known.licence})"
        if known.address != "not found"
        else "; where it is published was not found"
    )


def _another(place: Path, known: Weights) -> str:
    path = place / known.file if place.is_dir() else place
    if not path.is_file():
        return ""
    size = path.stat().st_size
    if known.bytes is not None and size != known.bytes:
        return f"{path} has {size:,} bytes and not the {known.bytes:,} that its authors state"
    digest = contents.file_digest(path) if known.sha256 else ""
    if not digest.startswith(known.sha256):
        return f"{path} is another file: its SHA-256 begins with {digest[: max(8, len(known.sha256))]} and not with {known.sha256}"
    return ""


def _with_needs(method: Component) -> list[Component]:
    return [method, *(one for need in method.needs.values() for one in _with_needs(need))]


def _loads(method: Component) -> bool:
    return not method.broken and hasattr(registry.resolve("method", method.use), "weights_digest")
