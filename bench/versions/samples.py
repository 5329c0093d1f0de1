"""Samples: pictures and sounds that evaluations left among their artefacts, to be looked at and listened to.

A page and a published version hold the same ones: of each row the first repetition that left any, equal files once, a row's
second file after every row's first, up to `BUDGET` bytes. Large pictures are kept as smaller copies.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from retable.bench.errors import StoreError
from retable.bench.record import Artefact, Record
from retable.bench.suite import Suite

Read = Callable[[Artefact], bytes]
Kind = Literal["image", "audio"]
BUDGET = 400_000
"""Bytes of samples on one page, and in one version; a site of fifteen suites stays below 15 MB."""
LARGE = 60_000
"""Bytes of a picture from which on a copy in WebP stands for it."""
QUALITY = 80
PREFIX = "sample-"
SHOWN = (".png", ".wav")
SIGNATURES: dict[str, tuple[Kind, bytes, bytes]] = {
    ".png": ("image", b"\x89PNG\r\n\x1a\n", b""),
    ".webp": ("image", b"RIFF", b"WEBP"),
    ".wav": ("audio", b"RIFF", b"WAVE"),
}
"""How files of a suffix begin, and what stands at byte 8: a name alone says nothing of the content."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A file to show, under the row and repetition that made it; `key` is its record's, `file` names it by its digest."""

    entry: str
    label: str
    name: str
    kind: Kind
    file: str
    content: bytes
    key: str
    repetition: int

    @property
    def copied(self) -> bool:
        """Whether it is a smaller copy of what the evaluation left."""
        return self.file.endswith(".webp")


def find_samples(
    suite: Suite, records: Iterable[Record], read: Read, budget: int | None = None
) -> tuple[list[Sample], list[str]]:
    """The samples in the order of the rows, and a sentence for each that cannot be shown; `read` gives an artefact's bytes."""
    labels = {entry.name: entry.label for entry in suite.entries}
    left = BUDGET if budget is None else budget
    samples: list[Sample] = []
    problems: list[str] = []
    seen: set[str] = set()
    for record, name, artefact in _in_turn(suite, list(records)):
        if artefact.sha256 in seen:
            continue
        seen.add(artefact.sha256)
        what = f"{name} of {labels[record.entry]}, repetition {record.repetition}"
        try:
            content = _smaller(read(artefact))
        except StoreError as error:
            problems.append(f"{what}: {str(error).rpartition(': ')[2]}")
            continue
        if (found := _kind(content)) is None:
            problems.append(f"{what}: neither a picture nor a sound that a page can show")
            continue
        if len(content) > left:
            problems.append(f"{what}: left out, the page would grow too large ({len(content)} bytes)")
            continue
        left -= len(content)
        kind, suffix = found
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
    order = {name: index for index, name in enumerate(labels)}
    return sorted(samples, key=lambda sample: (order[sample.entry], sample.name)), problems


def frozen_name(sample: Sample) -> str:
    """What a sample is called in a version."""
    return f"{PREFIX}{sample.file}"


def frozen_file(name: str) -> str:
    """The beginning of the digest that a version's file was made from; empty for a file that is no sample."""
    return name.removeprefix(PREFIX).partition(".")[0] if name.startswith(PREFIX) else ""


def _in_turn(suite: Suite, records: list[Record]) -> Iterator[tuple[Record, str, Artefact]]:
    """Each row's first file, then each row's second, and so on."""
    rows = []
    for entry in suite.entries:
        own = [r for r in records if r.stage == "evaluate" and r.ok and r.entry == entry.name]
        for record in sorted(own, key=lambda record: record.repetition):
            files = [(name, file) for name, file in sorted(record.artefacts.items()) if name.lower().endswith(SHOWN)]
            if files:
                rows.append([(record, name, file) for name, file in files])
                break
    for turn in range(max(map(len, rows), default=0)):
        yield from (row[turn] for row in rows if turn < len(row))


def _kind(content: bytes) -> tuple[Kind, str] | None:
    for suffix, (kind, start, inside) in SIGNATURES.items():
        if content.startswith(start) and content[8:].startswith(inside):
            return kind, suffix
    return None


def _smaller(content: bytes) -> bytes:
    """A large picture as WebP, where that is smaller; anything else as it is."""
    if len(content) < LARGE or (found := _kind(content)) is None or found[1] != ".png":
        return content
    from PIL import Image

    copy = io.BytesIO()
    with suppress(OSError, ValueError, Image.DecompressionBombError):
        with Image.open(io.BytesIO(content), formats=["PNG"]) as picture:
            picture.convert("RGB").save(copy, "WEBP", quality=QUALITY, method=6)
        if len(copy.getvalue()) < len(content):
            return copy.getvalue()
    return content
