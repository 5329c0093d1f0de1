"""Merge: the records of other people's machines beside one's own. What is there stays; what contradicts it stands beside it."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from shutil import copyfileobj

from retable.bench.errors import StoreError
from retable.bench.judge.contested import differences, said
from retable.bench.record import Record
from retable.bench.store.store import Store


@dataclass(frozen=True, kw_only=True)
class Merged:
    """Of one other store: how many records were new, the same as ours, known before; which differ, and what was left there."""

    taken: int = 0
    agreed: int = 0
    known: int = 0
    contested: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()


def merge(store: Store, other: Store) -> Merged:
    """Take over every `ok` record that `store` lacks, with its artefacts, environment and certificates.

    A record under a key that `store` has is kept apart (`Store.others`), and is contested where its numbers or weights
    differ. Damaged rows and files are left, each with a sentence.
    """
    taken = agreed = known = 0
    contested: list[str] = []
    refused = list(other.damage())
    for record in _latest(other):
        mine = store.get(record.key)
        if mine is None:
            try:
                _copy(record, other, store)
                taken += 1
            except StoreError as error:
                refused.append(str(error))
            continue
        bodies = {one.to_json() for one in (mine, *store.others(record.key))}
        fresh = record.to_json() not in bodies
        if fresh:
            _environment(record, other, store)
            store.keep_other(record, str(other.folder))
        if names := differences(mine, record):
            contested.append(f"{_name(record)}: {', '.join(said(name, mine, record) for name in names)}")
        elif fresh:
            agreed += 1
        else:
            known += 1
    return Merged(
        taken=taken,
        agreed=agreed,
        known=known,
        contested=tuple(contested),
        refused=tuple(dict.fromkeys(refused)),
    )


def _latest(other: Store) -> list[Record]:
    """The record that the other store itself would answer with, for each key, fits before what needs them."""
    keys = dict.fromkeys(record.key for record in other.every() if record.ok)
    return [record for key in keys if (record := other.get(key)) is not None]


def _copy(record: Record, other: Store, store: Store) -> None:
    for artefact in record.artefacts.values():
        if other.artefacts.damage([artefact]):
            raise StoreError(f"{_name(record)}: artefact {artefact.path} is missing or damaged in {other.folder}")
        with other.artefact_path(artefact).open("rb") as file:
            store.put_artefact(artefact.path, partial(copyfileobj, file))
    _environment(record, other, store)
    store.append(record)
    for certificate in other.certificates(record.key):
        store.certify(certificate)


def _environment(record: Record, other: Store, store: Store) -> None:
    with suppress(StoreError):
        if (facts := other.environment(record.environment)) is not None:
            store.save_environment(facts)


def _name(record: Record) -> str:
    return f"{record.suite}/{record.entry}/{record.profile}/{record.repetition} {record.stage}"
