"""Freeze: a suite's results as a new version. It is there as a whole or not at all, and never changes another one."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retable import __version__
from retable.bench.errors import BenchError, StoreError
from retable.bench.judge.results import Environments, Results, collect, unmeasured, with_needs
from retable.bench.record import SCHEMA, canonical
from retable.bench.store.artefacts import sync
from retable.bench.store.sweep import sweep, unfinished_name
from retable.bench.suite import Suite
from retable.bench.versions import attest
from retable.bench.versions.boxes import FILE as BOXES
from retable.bench.versions.boxes import boxes
from retable.bench.versions.rates import FILE as RATES
from retable.bench.versions.rates import rates
from retable.bench.versions.samples import BUDGET, Sample, find_samples, frozen_name
from retable.bench.versions.tolerances import measured
from retable.bench.versions.versions import (
    FORMAT,
    MANIFEST,
    TOLERANCES,
    UNFINISHED,
    Name,
    damage,
    folder_of,
    is_file_name,
    numbers,
    read_manifest,
)
from retable.bench.versions.versions import render_manifest as render

if TYPE_CHECKING:
    from retable.bench.store.store import Store

Render = Callable[[Suite, Results, Environments], Mapping[str, str]]
ATTEMPTS = 100


class IncompleteError(BenchError):
    """A suite that lacks results; exit status 3, as for everything that had to be measured and was not."""

    exit_status = 3


def freeze(
    suite: Suite, store: Store, root: Path, render: Render, *, partial: bool = False, attested: bool = False
) -> tuple[Name, bool]:
    """Publish what the store holds of a suite; the version's name, and whether it is new.

    `render` gives the tables and verdicts as files by name (`bench.report.frozen`); `attested` adds an in-toto statement.
    A version with the same content is not published twice. Raises IncompleteError unless every case has a result or
    `partial` is said, StoreError where it cannot be written.
    """
    folder_of(root, suite.name)
    missing = unmeasured(suite, results := collect(suite, store))
    if missing and not partial:
        raise IncompleteError(
            f"{suite.name} at profile {suite.profile.name} is not complete: {len(missing)} of {len(suite.cases())} cases "
            f"have no result (first: {missing[0]}); `bench run` it, or publish what there is with --partial"
        )
    if not any(record.ok for record in results.values()):
        raise IncompleteError(f"the store holds no result of {suite.name} at profile {suite.profile.name}")
    files = contents(suite, store, render)
    if attested:
        files[attest.FILE] = pretty(attest.statement(suite.name, files)).encode()
    facts: dict[str, Any] = {
        "format": FORMAT,
        "record_schema": SCHEMA,
        "suite": suite.name,
        "suite_version": suite.version,
        "title": suite.title,
        "arxiv": suite.arxiv,
        "profile": suite.profile.name,
        "complete": not missing,
        "cases": len(suite.cases()),
        "unmeasured": missing,
        "bench": __version__,
        "files": {name: {"sha256": sha256(text).hexdigest(), "bytes": len(text)} for name, text in files.items()},
    }
    return publish(root, suite.name, files, facts)


def contents(suite: Suite, store: Store, render: Render) -> dict[str, bytes]:
    """The files of a version by name: what `render` makes of the results, what it was made from, samples within a budget."""
    from retable.bench.judge.certificate import certificates_of
    from retable.bench.judge.spread import spreads_csv

    results = {place: record for place, record in collect(suite, store).items() if record.ok}
    fits = [record for record in with_needs(results.values(), store).values() if record.stage == "fit"]
    records = sorted([*results.values(), *fits], key=lambda r: (r.stage, r.entry, r.repetition, r.key))
    identities = sorted({record.environment for record in records if record.environment})
    certificates = certificates_of(store, [record.key for record in results.values()])
    kept, left_out = find_samples(suite, results.values(), store.read_artefact)
    texts = {
        **render(suite, results, store.environment),
        "spread.csv": spreads_csv(suite, results, certificates),
        "records.jsonl": "".join(f"{record.to_json()}\n" for record in records),
        "certificates.jsonl": "".join(f"{canonical(certificate)}\n" for certificate in certificates),
        TOLERANCES: pretty(measured(results, certificates).plain()),
        "environments.json": pretty({identity: store.environment(identity) or {} for identity in identities}),
        RATES: f"{canonical(rates(results.values(), store.read_artefact))}\n",
        **_boxes(results, store),
        "samples.json": pretty({"budget": BUDGET, "files": _told(kept), "left_out": left_out}),
        f"{suite.name}.yaml": Path(suite.path).read_text(encoding="utf-8") if suite.path else "",
    }
    files = {name: content.encode() for name, content in texts.items()}
    return files | {frozen_name(sample): sample.content for sample in kept}


def _boxes(results: Results, store: Store) -> dict[str, str]:
    """What detectors found; a suite without any has no such file."""
    found = boxes(results.values(), store.read_artefact)
    return {BOXES: f"{canonical(found)}\n"} if found else {}


def _told(samples: list[Sample]) -> dict[str, dict[str, Any]]:
    """Which row and repetition each frozen sample is of."""
    return {
        frozen_name(sample): {"entry": sample.entry, "repetition": sample.repetition, "name": sample.name}
        for sample in samples
    }


def publish(root: Path, suite: str, files: Mapping[str, bytes], facts: Mapping[str, Any]) -> tuple[Name, bool]:
    """Write files and manifest beside the versions, then rename them into place under the next free number.

    Its name, and whether it is new: what the newest version holds already, or another process publishes first, is not.
    """
    folder = folder_of(root, suite)
    unfinished = folder / UNFINISHED / unfinished_name()
    try:
        unfinished.mkdir(parents=True)
        sweep(unfinished.parent)
        for name, content in files.items():
            assert is_file_name(name), name
            _write(unfinished / name, content)
        return _into_place(root, suite, unfinished, facts)
    except OSError as error:
        raise StoreError(f"{folder}: the version cannot be published: {error.strerror or error}") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
        with suppress(OSError):
            unfinished.parent.rmdir()


def _into_place(root: Path, suite: str, unfinished: Path, facts: Mapping[str, Any]) -> tuple[Name, bool]:
    """A folder that is there and not empty is never replaced by a rename, so of two writers one takes the next number."""
    folder = folder_of(root, suite)
    created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    for _ in range(ATTEMPTS):
        number = max(numbers(root, suite), default=0) + 1
        if known := _same(root, suite, facts["files"]):
            return known, False
        with suppress(FileNotFoundError):
            (unfinished / MANIFEST).unlink()
        _write(unfinished / MANIFEST, render({**facts, "version": number, "published": created}))
        sync(unfinished)
        try:
            unfinished.rename(folder / f"v{number}")
        except OSError:
            if not (folder / f"v{number}").exists():
                raise
            continue
        sync(folder)
        return Name(suite, number), True
    raise StoreError(f"{folder}: {ATTEMPTS} others were faster")


def _same(root: Path, suite: str, files: Mapping[str, Any]) -> Name | None:
    """The newest version, if it is intact and holds the same files."""
    if not (known := numbers(root, suite)):
        return None
    name = Name(suite, known[-1])
    with suppress(StoreError):
        return name if read_manifest(root, name)["files"] == files and not damage(root, name) else None
    return None


def _write(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    path.chmod(0o444)


def pretty(value: Any) -> str:
    """JSON as the files of a version hold it."""
    return f"{json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)}\n"
