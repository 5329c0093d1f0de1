"""Certificate: what running a case again showed, of its weights and of every number that no clock made.

`repeat` runs it with the same settings, where every bit should come back; `threads`, `batch`, `numerics` and `node` change
one setting, which may change the order of additions and so the last digits. Each kind has its own figure.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from retable.bench.record import Measurement, Record
from retable.bench.registry import is_timing
from retable.bench.store.reader import Reader

Kind = Literal["repeat", "threads", "batch", "numerics", "node"]
SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """`differences` are the largest relative ones by metric, over all runs; `first` is what differs first, if anything.

    `weights` says whether the fitted weights were the same bit for bit; None where nothing was fitted again. `skipped`
    are the timings, which nobody expects back. `environments` are those of all runs: more than one compares machines.
    """

    key: str
    kind: Kind
    setting: str
    runs: int
    weights: bool | None
    differences: Mapping[str, float]
    first: str
    skipped: tuple[str, ...] = ()
    environments: tuple[str, ...] = ()
    created: str = ""
    schema: int = field(default=SCHEMA)

    @property
    def bit_exact(self) -> bool:
        return not self.first

    @property
    def worst(self) -> float:
        return max(self.differences.values(), default=0.0)

    def plain(self) -> dict[str, Any]:
        return asdict(self)


def certify(
    kind: Kind, setting: str, record: Record, again: Sequence[Record], weights: Sequence[Sequence[str]] = ()
) -> Certificate:
    """Compare the record of a case with those of further runs; `weights` are the digests of the fits of all runs.

    Raises ValueError where there is no number to compare.
    """
    skipped = tuple(name for name in record.metrics if is_timing(name))
    names = [name for name in record.metrics if name not in skipped]
    if not names:
        raise ValueError("it measures nothing but timings")
    differences = {
        name: max(_distance(record.metrics[name], other.metrics.get(name)) for other in again) for name in names
    }
    changed = [
        name for name in names if any(not _equal(record.metrics[name], other.metrics.get(name)) for other in again)
    ]
    same_weights = all(digests == weights[0] for digests in weights) if weights and weights[0] else None
    files = [] if kind == "batch" else [name for name in record.artefacts if not _same_file(name, record, again)]
    first = ["weights"] if same_weights is False else []
    first += changed + [f"artefact {name}" for name in files]
    return Certificate(
        key=record.key,
        kind=kind,
        setting=setting,
        runs=1 + len(again),
        weights=same_weights,
        differences=differences,
        first=first[0] if first else "",
        skipped=skipped,
        environments=tuple(dict.fromkeys(one.environment for one in (record, *again) if one.environment)),
        created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    )


def read(raw: Mapping[str, Any]) -> Certificate:
    """The certificate that `plain` gave; fields of a later schema are left out."""
    known = {name: raw[name] for name in Certificate.__dataclass_fields__ if name in raw}
    return Certificate(**{**known, "skipped": tuple(raw["skipped"]), "environments": tuple(raw["environments"])})


def certificates_of(reader: Reader, keys: Iterable[str]) -> list[dict[str, Any]]:
    """The newest certificate of each kind and setting, for every key."""
    found: dict[tuple[str, str, str], dict[str, Any]] = {}
    for key in keys:
        for certificate in reader.certificates(key):
            found[key, certificate["kind"], certificate["setting"]] = certificate
    return [found[place] for place in sorted(found)]


def describe(certificate: Certificate) -> str:
    """One line: what was done, and what came back."""
    what = f"{certificate.kind} ({certificate.setting}), {certificate.runs} runs"
    if len(certificate.environments) > 1:
        what += f" in {len(certificate.environments)} environments"
    if certificate.bit_exact:
        return f"{what}: bit-exact"
    name, worst = max(certificate.differences.items(), key=lambda item: item[1])
    size = f"numbers within {worst:.2g} of each other ({name})" if worst else "the means are equal"
    return f"{what}: not bit-exact, {certificate.first} differs first; {size}"


def _equal(one: Measurement, other: Measurement | None) -> bool:
    return other is not None and (one.value, one.samples, one.reason) == (other.value, other.samples, other.reason)


def _distance(one: Measurement, other: Measurement | None) -> float:
    """Relative to the larger of two numbers; 1 where only one of them is there."""
    a, b = one.value, None if other is None else other.value
    if a is None or b is None:
        return 0.0 if a is b else 1.0
    return abs(a - b) / max(abs(a), abs(b)) if a != b else 0.0


def _same_file(name: str, record: Record, again: Sequence[Record]) -> bool:
    return all(
        name in other.artefacts and other.artefacts[name].sha256 == record.artefacts[name].sha256 for other in again
    )
