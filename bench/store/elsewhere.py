"""Elsewhere: the keys that cases have on a machine which holds the data and weights that this one lacks.

A key covers the digests of data and weights. Where they are not at hand the key cannot be told, but a record of the same
component with the same parameters knows the digests: with them the key is exactly what it was there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice, product
from typing import Any

from retable.bench.record import Record, canonical
from retable.bench.store.keys import Memo, case_key
from retable.bench.suite import Case, Component

MOST = 64
"""So many combinations of known digests are tried."""
Place = tuple[str, int]


def keys_elsewhere(case: Case, memo: Memo, records: Sequence[Record]) -> Iterator[str]:
    """Keys of a case with the digests that `records` tell (the newest last), for all that is missing here.

    `memo` holds what `case_key` found out of this case; nothing is missing, or nothing is known of it: no key.
    """
    missing: dict[Place, list[Any]] = {}
    dataset = case.entry.dataset
    if dataset is not None and "missing" in (own := memo.get(("dataset", id(dataset)), {})):
        rest = {name: value for name, value in own.items() if name != "missing"}
        missing["dataset", id(dataset)] = [{**rest, "digest": one} for one in _data_digests(own, records)]
    for method in _methods(case.entry.method):
        if str(memo.get(("weights", id(method)), "")).startswith("missing: "):
            missing["weights", id(method)] = _weights_digests(method, records)
    if not missing:
        return
    for values in islice(product(*missing.values()), MOST):
        yield case_key(case, {**memo, **dict(zip(missing, values, strict=True))})


def lacking(case: Case, memo: Memo) -> list[str]:
    """Why the data and weights of a case are not at hand, a sentence each."""
    dataset, found = case.entry.dataset, []
    if dataset is not None:
        found.append(memo.get(("dataset", id(dataset)), {}).get("missing", ""))
    weights = (str(memo.get(("weights", id(method)), "")) for method in _methods(case.entry.method))
    found += [text.removeprefix("missing: ") for text in weights if text.startswith("missing: ")]
    return [text for text in found if text]


def _methods(method: Component | None) -> Iterator[Component]:
    if method is not None:
        yield method
        for need in method.needs.values():
            yield from _methods(need)


def _data_digests(own: Mapping[str, Any], records: Iterable[Record]) -> list[str]:
    alike = (record.ingredients.get("dataset") for record in records)
    return _newest_first(data["digest"] for data in alike if data and "digest" in data and _same(data, own))


def _weights_digests(method: Component, records: Iterable[Record]) -> list[str]:
    named = (record for record in records if record.ingredients.get("method", {}).get("use") == method.use)
    digests = (record.ingredients.get("weights") for record in named)
    return _newest_first(one for one in digests if isinstance(one, str) and not one.startswith("missing: "))


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return canonical([one.get("use"), one.get("params")]) == canonical([other.get("use"), other.get("params")])


def _newest_first(digests: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(reversed(list(digests))))
