"""Samples: pictures and sounds that evaluations left among their artefacts, to be looked at and listened to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from retable.bench.errors import StoreError
from retable.bench.record import Record
from retable.bench.suite import Suite

if TYPE_CHECKING:
    from retable.bench.store.store import Store

BUDGET = 400_000
"""Bytes of samples on one page; a site of ten suites stays below 15 MB."""

SIGNATURES: dict[str, tuple[Literal["image", "audio"], bytes, bytes]] = {
    ".png": ("image", b"\x89PNG\r\n\x1a\n", b""),
    ".wav": ("audio", b"RIFF", b"WAVE"),
}
"""How files of a suffix begin, and what stands at byte 8: the name alone says nothing of the content."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A file to show, under the row and repetition that made it; `key` is its record's."""

    entry: str
    label: str
    name: str
    kind: Literal["image", "audio"]
    file: str
    content: bytes
    key: str
    repetition: int


def find_samples(suite: Suite, records: Iterable[Record], store: Store) -> tuple[list[Sample], list[str]]:
    """The samples of each row's first repetition that has any, equal ones once; a sentence for each that cannot be shown."""
    labels = {entry.name: entry.label for entry in suite.entries}
    order = {name: index for index, name in enumerate(labels)}
    evaluations = [record for record in records if record.stage == "evaluate" and record.ok and record.entry in order]
    samples, problems, left = [], [], BUDGET
    shown: dict[str, int] = {}
    seen: set[str] = set()
    for record in sorted(evaluations, key=lambda record: (order[record.entry], record.repetition)):
        for name, artefact in sorted(record.artefacts.items()):
            suffix = name[name.rfind(".") :].lower() if "." in name else ""
            if suffix not in SIGNATURES or shown.get(record.entry, record.repetition) != record.repetition:
                continue
            if artefact.sha256 in seen:
                shown[record.entry] = record.repetition
                continue
            kind, start, inside = SIGNATURES[suffix]
            what = f"{name} of {labels[record.entry]}, repetition {record.repetition}"
            if artefact.bytes > left:
                shown[record.entry] = record.repetition
                problems.append(f"{what}: left out, the page would grow too large ({artefact.bytes} bytes)")
                continue
            try:
                content = store.read_artefact(artefact)
            except StoreError as error:
                problems.append(f"{what}: {str(error).removeprefix(str(store.folder)).lstrip('/: ')}")
                continue
            if not (content.startswith(start) and content[8:].startswith(inside)):
                problems.append(f"{what}: not a {suffix[1:].upper()} file")
                continue
            left -= len(content)
            seen.add(artefact.sha256)
            shown[record.entry] = record.repetition
            samples.append(
                Sample(
                    entry=record.entry,
                    label=labels[record.entry],
                    name=name,
                    kind=kind,
                    file=f"{artefact.sha256[:16]}{suffix}",
                    content=content,
                    key=record.key,
                    repetition=record.repetition,
                )
            )
    return samples, problems
