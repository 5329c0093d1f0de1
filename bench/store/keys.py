"""Keys: what identifies a fit and an evaluation, as ingredients that can be shown and a digest of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from typing import Any, TypeVar

from retable.bench import registry
from retable.bench.declare.params import build, build_metric
from retable.bench.probes.hardware import not_portable
from retable.bench.record import canonical, digest
from retable.bench.store.sources import source_digest
from retable.bench.suite import Case, Component, Numerics, Profile

T = TypeVar("T")
Ingredients = dict[str, Any]
Memo = dict[Any, Any]
"""What was found out of the components of a suite, which its cases share."""


def _once(memo: Memo | None, place: Any, make: Callable[[], T]) -> T:
    if memo is None:
        return make()
    if place not in memo:
        memo[place] = make()
    found: T = memo[place]
    return found


def component_ingredients(kind: registry.Kind, component: Component) -> Ingredients:
    """Name, every parameter with its default filled in, and the digest of the sources behind a component.

    Of one whose module does not import there is the reason instead; no record under such a key can be a success.
    """
    if component.broken:
        return {"use": component.use, "params": dict(component.params), "broken": component.broken}
    instance = build(kind, component)
    return {
        "use": component.use,
        "params": asdict(instance),
        "source": source_digest(type(instance).__module__),
    }


def dataset_ingredients(component: Component) -> Ingredients:
    """As `component_ingredients`, with the digest of the data; absent data have no digest, and the reason instead."""
    ingredients = component_ingredients("dataset", component)
    if component.broken:
        return ingredients
    try:
        ingredients["digest"] = build("dataset", component).digest()
    except FileNotFoundError as error:
        ingredients["missing"] = str(error)
    return ingredients


def data_digest(component: Component, memo: Memo | None = None) -> str | None:
    """The digest of a data set as this machine has it; None where it has none."""
    found = _once(memo, ("dataset", id(component)), lambda: dataset_ingredients(component))
    digest: str | None = found.get("digest")
    return digest


def alone(method: Component) -> bool:
    """Whether a method is fitted without the case's data and seed, so that one fit serves all cases: it says `ALONE = True`."""
    return not method.broken and bool(getattr(registry.resolve("method", method.use), "ALONE", False))


def fit_ingredients(case: Case, method: Component, memo: Memo | None = None) -> Ingredients:
    """All that can change the weights of `method` fitted for this case; not the task, the metrics, the host, the time."""
    dataset = case.entry.dataset
    assert dataset is not None
    profile = case.suite.profile
    by_itself = alone(method)
    return {
        "stage": "fit",
        "method": _once(memo, ("method", id(method)), lambda: component_ingredients("method", method)),
        "weights": _once(memo, ("weights", id(method)), lambda: weights_digest(method)),
        "needs": {name: digest(fit_ingredients(case, need, memo)) for name, need in sorted(method.needs.items())},
        "dataset": None if by_itself else _once(memo, ("dataset", id(dataset)), lambda: dataset_ingredients(dataset)),
        "seed": None if by_itself else case.seed,
        "profile": profile.name,
        "dtype": profile.dtype,
        "kernels": profile.kernels,
        "numerics": numerics(profile),
        "device": profile.device.partition(":")[0],
    }


def fits(task: Component) -> bool:
    """Whether a task works on fitted weights."""
    return bool(task.broken) or bool(build("task", task).FITS)


def case_ingredients(case: Case, memo: Memo | None = None) -> Ingredients:
    """All that can change the numbers of a case."""
    method, dataset, task = case.entry.method, case.entry.dataset, case.entry.task
    assert method is not None
    assert dataset is not None
    assert task is not None
    profile = case.suite.profile
    if _once(memo, ("fits", id(task)), lambda: fits(task)):
        model: Ingredients = {"fit": digest(fit_ingredients(case, method, memo))}
    else:
        model = {
            "method": _once(memo, ("method", id(method)), lambda: component_ingredients("method", method)),
            "dataset": _once(memo, ("dataset", id(dataset)), lambda: dataset_ingredients(dataset)),
        }
    return {
        "stage": "evaluate",
        **model,
        "task": _once(memo, ("task", id(task)), lambda: component_ingredients("task", task)),
        "metrics": {
            name: _once(memo, ("metric", name), partial(metric_ingredients, name))
            for name in sorted(case.entry.metrics)
        },
        "seed": case.seed,
        "profile": profile.name,
        "dtype": profile.dtype,
        "kernels": profile.kernels,
        "numerics": numerics(profile),
        "device": profile.device.partition(":")[0],
    }


def case_key(case: Case, memo: Memo | None = None) -> str:
    """The key under which the numbers of a case are stored."""
    return digest(case_ingredients(case, memo))


def metric_ingredients(name: str) -> Ingredients:
    """A metric's declared version and the digest of its sources."""
    metric = build_metric(name)
    return {"version": metric.VERSION, "source": source_digest(type(metric).__module__)}


def weights_digest(method: Component) -> str | None:
    """Digest of published weights that a method loads instead of training; None where it trains."""
    if method.broken:
        return None
    instance = build("method", method)
    identify = getattr(instance, "weights_digest", None)
    if identify is None:
        return None
    try:
        found: str | None = identify()
    except FileNotFoundError as error:
        return f"missing: {error}"
    return found


def numerics(profile: Profile) -> Numerics:
    """How a profile's numbers are computed on this machine: native where it cannot be portable."""
    return "native" if not_portable() else profile.numerics


def differences(old: Mapping[str, Any], new: Mapping[str, Any], path: str = "") -> list[str]:
    """One line for each ingredient that differs, as `path: old -> new`."""
    lines: list[str] = []
    for name in sorted(set(old) | set(new)):
        here = f"{path}.{name}" if path else name
        before, after = old.get(name), new.get(name)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            lines += differences(before, after, here)
        elif canonical(before) != canonical(after):  # a record holds lists where a case has tuples
            lines.append(f"{here}: {_short(before)} -> {_short(after)}")
    return lines


def _short(value: Any) -> str:
    text = str(value)
    return text[:12] + "…" if len(text) > 40 else text
