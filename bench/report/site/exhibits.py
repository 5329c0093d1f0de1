"""Exhibits: the held-out samples that rows were judged on, where their data are at hand as they were: tiles, or sentences."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import Any

from retable.bench.declare.params import build
from retable.bench.errors import BenchError
from retable.bench.record import canonical
from retable.bench.suite import Component, Suite

TASKS = ("classify", "finetune-text", "inpaint")
"""Those whose values by sample are about the held-out samples, in their order; others judge what they made themselves."""
SIDE = 48
"""Pixels: larger images are shown smaller."""
ACROSS = 25
MOST = 2000
"""Samples of one data set that are shown."""
BUDGET = 300_000
"""Bytes of one data set's tiles or sentences."""


@dataclass(frozen=True, kw_only=True)
class Exhibit:
    """Samples in the order in which rows were judged; `picture` is a sheet of tiles, `ACROSS` in a line."""

    labels: tuple[str, ...]
    texts: tuple[str, ...] = ()
    picture: bytes = b""
    tile: tuple[int, int] = (0, 0)
    rows: list[str] = field(default_factory=list)


def exhibits(suite: Suite, digests: dict[str, str]) -> list[Exhibit]:
    """One for every data set of the suite's rows; `digests` are those that rows were measured with, by row.

    Data that are not at hand, or not what they were, are not shown. Reading them is all that is done here.
    """
    found: dict[str, Exhibit | None] = {}
    for entry in suite.entries:
        judged = entry.task is not None and entry.task.use in TASKS
        if not judged or entry.name not in digests or entry.dataset is None or entry.dataset.broken:
            continue
        place = canonical([entry.dataset.use, {name: str(value) for name, value in entry.dataset.params.items()}])
        if place not in found:
            found[place] = _exhibit(entry.dataset, digests[entry.name])
        if exhibit := found[place]:
            exhibit.rows.append(entry.name)
    return [exhibit for exhibit in found.values() if exhibit is not None]


def _exhibit(component: Component, digest: str) -> Exhibit | None:
    try:
        dataset: Any = build("dataset", component)
        if dataset.digest() != digest:
            return None
        held_out = getattr(dataset.load(), "held_out", None)
    except (BenchError, OSError, ImportError):
        return None
    if held_out is None or not hasattr(held_out, "labels") or len(held_out) > MOST:
        return None
    labels = tuple(f"{label:g}" for label in held_out.labels.tolist())
    if hasattr(held_out, "images"):
        return _tiles(held_out, labels)
    texts = getattr(held_out, "first", None)
    if texts is None or sum(len(text.encode()) for text in texts) > BUDGET:
        return None
    second = held_out.second or [""] * len(texts)
    return Exhibit(labels=labels, texts=tuple(f"{a} / {b}" if b else a for a, b in zip(texts, second, strict=True)))


def _tiles(split: Any, labels: tuple[str, ...]) -> Exhibit | None:
    import numpy as np
    from PIL import Image

    from retable.bench.tasks.pictures import rgb

    tiles = [Image.fromarray(rgb(split.images(np.array([index]))[0])) for index in range(len(split))]
    if not tiles:
        return None
    for tile in tiles:
        tile.thumbnail((SIDE, SIDE))
    width, height = tiles[0].size
    sheet = Image.new("RGB", (ACROSS * width, -(-len(tiles) // ACROSS) * height))
    for index, tile in enumerate(tiles):
        sheet.paste(tile, (index % ACROSS * width, index // ACROSS * height))
    file = io.BytesIO()
    sheet.save(file, "WEBP", quality=80, method=4)
    if len(file.getvalue()) > BUDGET:
        return None
    return Exhibit(labels=labels, picture=file.getvalue(), tile=(width, height))
