"""Boxes: what detectors found in some of the held-out images, from the results that evaluations left (`detections.json`)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from retable.bench.errors import StoreError
from retable.bench.record import Record
from retable.bench.versions.samples import Read

FILE = "boxes.json"
RESULTS = "detections.json"
IMAGES, SURE, PLACES = 48, 0.25, 1
"""Images of which boxes are kept, the score from which on they are, and decimals of their sides."""
Boxes = Mapping[str, Mapping[str, list[list[float]]]]
"""By row and image: x, y, width, height in pixels of the original image, category, score. One seed: the first that left any."""


def boxes(records: Iterable[Record], read: Read) -> dict[str, dict[str, list[list[float]]]]:
    """Those of every row, in the same images, evenly spread over all in which any row found something."""
    rows: dict[str, dict[str, list[list[float]]]] = {}
    for record in sorted(records, key=lambda record: record.repetition):
        if record.entry in rows or RESULTS not in record.artefacts:
            continue
        with suppress(StoreError, ValueError, KeyError, TypeError):
            rows[record.entry] = _by_image(json.loads(read(record.artefacts[RESULTS])))
    seen = sorted({image for found in rows.values() for image in found}, key=int)
    step = max(1, -(-len(seen) // IMAGES))
    kept = seen[::step]
    return {row: {image: found[image] for image in kept if image in found} for row, found in rows.items()}


def _by_image(results: Iterable[Mapping[str, Any]]) -> dict[str, list[list[float]]]:
    found: dict[str, list[list[float]]] = {}
    for one in results:
        if one["score"] >= SURE:
            sides = [round(float(side), PLACES) for side in one["bbox"]]
            box = [*sides, int(one["category_id"]), round(float(one["score"]), 2)]
            found.setdefault(str(int(one["image_id"])), []).append(box)
    return found


def read_boxes(content: bytes) -> dict[str, dict[str, list[list[float]]]]:
    """What a version holds of them. Raises ValueError, TypeError or AttributeError for anything else."""
    raw = json.loads(content)
    return {
        str(row): {str(int(image)): [[float(one) for one in box] for box in found] for image, found in images.items()}
        for row, images in raw.items()
    }
