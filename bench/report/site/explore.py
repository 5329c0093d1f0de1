"""What the page that compares needs: every row's numbers by seed in every version, its samples and training curves."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from retable.bench.judge.stats import t_quantile
from retable.bench.record import Measurement, Record, canonical
from retable.bench.report.chapter import Chapter
from retable.bench.report.site.curves import curves
from retable.bench.report.site.exhibits import Exhibit, exhibits
from retable.bench.report.site.provenance import embedded
from retable.bench.report.words import with_unit, words
from retable.bench.versions.archive import Archive
from retable.bench.versions.boxes import RESULTS, Boxes
from retable.bench.versions.samples import Sample, find_samples

SAMPLES = 600_000
"""Characters of values by sample on one page."""
MOST_SEEDS = 60
PARTS = ("method", "dataset", "task")
SETTINGS = ("numerics", "device", "dtype", "kernels")
LONGEST = 120
"""Characters of a parameter that are shown."""


@dataclass(frozen=True)
class _Side:
    """A state of the suite's numbers: what the tables show, or a published version."""

    name: str
    when: str
    evaluations: Sequence[Record]
    by_key: Mapping[str, Record]
    samples: Sequence[Sample] = ()
    boxes: Boxes = field(default_factory=dict)


def explore(chapter: Chapter) -> tuple[str, dict[str, bytes]]:
    """The page's data as JSON for a script element, and the files that it shows, by name."""
    sides = _sides(chapter)
    images = dict.fromkeys(image for side in sides for row in side.boxes.values() for image in row)
    shown = exhibits(chapter.suite, _digests(chapter), images)
    room = SAMPLES
    told = []
    pool: dict[str, int] = {}
    for side in sides:
        rows = {entry.name: _row(entry.name, side, pool) for entry in chapter.suite.entries if entry.method is not None}
        room = _samples(side, rows, room)
        _detections(side, rows, shown)
        told.append({"name": side.name, "when": side.when, "rows": {name: row for name, row in rows.items() if row}})
    metrics = _in_order(chapter, sides)
    data = {
        "suite": chapter.suite.name,
        "profile": chapter.suite.profile.name,
        "rows": {entry.name: entry.label for entry in chapter.suite.entries if entry.method is not None},
        "metrics": {name: _metric(chapter, name, sides) for name in metrics},
        "sides": told,
        "declared": [json.loads(text) for text in pool],
        "exhibits": [_told(exhibit) for exhibit in shown],
        "files": {side.name: files for side in sides if (files := _files(side))},
        "t": {n: round(t_quantile(1 - chapter.suite.statistics.alpha, n - 1), 4) for n in range(2, MOST_SEEDS + 1)},
        "share": round(100 * (1 - 2 * chapter.suite.statistics.alpha)),
    }
    old = {sample.file: sample.content for side in sides[1:] for sample in side.samples}
    return embedded(data), old | {_file(exhibit): exhibit.picture for exhibit in shown if exhibit.picture}


def _sides(chapter: Chapter) -> list[_Side]:
    """What the tables show comes first, then the other versions, the newest first."""
    evaluations = [record for record in chapter.records.values() if record.stage == "evaluate"]
    own = (evaluations, chapter.records, chapter.samples, chapter.boxes)
    sides = [_Side(chapter.source.rpartition("/")[2], "", *own)]
    for archive in reversed(chapter.past):
        if archive.name == chapter.source:
            sides[0] = _Side(sides[0].name, _published(archive), *own)
        else:
            by_key = {record.key: record for record in archive.version.records}
            old = list(archive.version.results.values())
            samples, _ = find_samples(chapter.suite, old, archive.read_artefact)
            name = f"v{archive.version.name.number}"
            sides.append(_Side(name, _published(archive), old, by_key, samples, archive.boxes))
    return sides


def _published(archive: Archive) -> str:
    return str(archive.version.manifest.get("published", ""))[:10]


def _row(entry: str, side: _Side, pool: dict[str, int]) -> dict[str, Any]:
    """Values by seed of every metric, every curve of its fits, and the number of what it is made of in the pool."""
    own = sorted((r for r in side.evaluations if r.entry == entry and r.ended), key=lambda r: r.repetition)
    if not own:
        return {}
    values: dict[str, dict[str, list[float]]] = {}
    for record in own:
        for name, measured in record.metrics.items():
            if measured.value is not None:
                held = values.setdefault(name, {"r": [], "v": []})
                held["r"].append(record.repetition)
                held["v"].append(_exact(measured))
    trained: dict[str, list[Any]] = {}
    for record in own:
        for key in record.needs:
            if key in side.by_key:
                for name, curve in curves(side.by_key[key].log).items():
                    trained.setdefault(name, []).append([record.repetition, *curve])
    made_of = pool.setdefault(canonical(_declared(own[0], side.by_key)), len(pool))
    return {"m": values, "c": trained, "s": {}, "p": made_of}


def _declared(record: Record, by_key: Mapping[str, Record]) -> dict[str, str]:
    """What its key says it is made of, without digests: `method.width: 64`."""
    fits = [by_key[key].ingredients for key in record.needs if key in by_key]
    parts = {**(fits[0] if fits else {}), **record.ingredients}
    found = {name: str(parts[name]) for name in SETTINGS if name in parts}
    for part in PARTS:
        component = parts.get(part) or {}
        if "use" in component:
            found[part] = str(component["use"])
            params = component.get("params", {}).items()
            found |= {f"{part}.{name}": canonical(value)[:LONGEST] for name, value in params}
    return found


def _exact(measured: Measurement) -> float:
    assert measured.value is not None
    return measured.value if measured.exact else float(f"{measured.value:.7g}")


def _samples(side: _Side, rows: Mapping[str, dict[str, Any]], room: int) -> int:
    """Add values by sample, the rows' first metric before their second, while there is room; what is left of it."""
    queue: list[tuple[int, Record, str, Measurement]] = []
    seen: set[tuple[str, int, Any]] = set()
    for record in side.evaluations:
        turn = 0
        for name, measured in record.metrics.items():
            if rows.get(record.entry) and measured.samples and len(measured.samples) > 1:
                place = record.entry, record.repetition, measured.samples
                if place not in seen:
                    seen.add(place)
                    queue.append((turn, record, name, measured))
                    turn += 1
    for _, record, name, measured in sorted(queue, key=lambda one: (one[0], one[1].repetition)):
        packed = _packed(measured.samples or ())
        size = len(packed) if isinstance(packed, str) else 6 * len(packed)
        if size <= room and (isinstance(packed, str) or record.repetition == min(_repetitions(side, record.entry))):
            room -= size
            rows[record.entry]["s"].setdefault(name, {})[str(record.repetition)] = packed
    return room


def _detections(side: _Side, rows: Mapping[str, dict[str, Any]], shown: Sequence[Exhibit]) -> None:
    """Add what each row found in the images of its exhibit, on their tiles."""
    for exhibit in shown:
        for row in exhibit.rows:
            if exhibit.ids and rows.get(row) and row in side.boxes:
                found = side.boxes[row]
                rows[row]["b"] = [
                    [exhibit.box(index, *box[:5], box[5]) for box in found.get(image, [])]
                    for index, image in enumerate(exhibit.ids)
                ]


def _repetitions(side: _Side, entry: str) -> Iterable[int]:
    return (record.repetition for record in side.evaluations if record.entry == entry)


def _packed(samples: Sequence[float]) -> str | list[float]:
    """Right or wrong as a digit a sample, anything else as numbers."""
    for levels in ({0.0, 1.0}, {0.0, 100.0}):
        if set(samples) <= levels:
            return "".join("1" if value else "0" for value in samples)
    return [float(f"{value:.3g}") for value in samples]


def _in_order(chapter: Chapter, sides: Sequence[_Side]) -> list[str]:
    """Metrics as the tables have them, then the others; exact ones, which nothing is learnt from, last."""
    exact = {
        name: measured.exact
        for side in sides
        for record in side.evaluations
        for name, measured in record.metrics.items()
    }
    columns = [column.metric for layout in chapter.suite.layouts for column in layout.columns]
    return sorted(dict.fromkeys([*(name for name in columns if name in exact), *exact]), key=lambda name: exact[name])


def _metric(chapter: Chapter, name: str, sides: Sequence[_Side]) -> dict[str, Any]:
    found = (record.metrics[name] for side in sides for record in side.evaluations if name in record.metrics)
    measured = next(iter(found))
    label = with_unit(words(chapter.suite, name), measured.unit)
    return {"label": label, "better": measured.direction, "exact": measured.exact}


def _digests(chapter: Chapter) -> dict[str, str]:
    """The digest of the data that each row with values by sample was measured on."""
    found = {}
    for record in chapter.records.values():
        by_sample = RESULTS in record.artefacts or any(measured.samples for measured in record.metrics.values())
        if record.stage == "evaluate" and by_sample:
            fits = [chapter.records[key].ingredients for key in record.needs if key in chapter.records]
            data: Mapping[str, Any] = next(
                (one["dataset"] for one in [record.ingredients, *fits] if one.get("dataset")), {}
            )
            if "digest" in data:
                found[record.entry] = str(data["digest"])
    return found


def _file(exhibit: Exhibit) -> str:
    return f"held-out-{sha256(exhibit.picture).hexdigest()[:16]}.webp"


def _told(exhibit: Exhibit) -> dict[str, Any]:
    told: dict[str, Any] = {"rows": exhibit.rows, "labels": list(exhibit.labels)}
    if exhibit.picture:
        told |= {"picture": f"samples/{_file(exhibit)}", "tile": list(exhibit.tile), "across": exhibit.across}
        return told | ({"ids": list(exhibit.ids), "truth": list(exhibit.truth)} if exhibit.ids else {})
    return told | {"texts": list(exhibit.texts)}


def _files(side: _Side) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for sample in side.samples:
        file = {
            "kind": sample.kind,
            "file": f"samples/{sample.file}",
            "name": sample.name,
            "repetition": sample.repetition,
        }
        found.setdefault(sample.entry, []).append(file)
    return found
