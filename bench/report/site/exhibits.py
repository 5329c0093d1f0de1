"""Exhibits: the held-out samples that rows were judged on, where their data are at hand as they were: tiles, sentences, or
images with their annotated boxes."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from retable.bench.declare.params import build
from retable.bench.errors import BenchError
from retable.bench.record import canonical
from retable.bench.suite import Component, Suite

TASKS = ("classify", "finetune-text", "inpaint")
"""Those whose values by sample are about the held-out samples, in their order; others judge what they made themselves."""
DETECT = "detect"
SIDE, SCENE = 48, 128
"""Pixels: larger images are shown smaller; those with boxes may be larger."""
ACROSS = 25
MOST = 2000
"""Samples of one data set that are shown."""
BUDGET = 300_000
"""Bytes of one data set's tiles or sentences."""
Box = list[Any]


@dataclass(frozen=True, kw_only=True)
class Exhibit:
    """Samples in the order in which rows were judged; `picture` is a sheet of tiles, `across` in a line.

    Images in which objects are detected have their `ids`, and `truth` has the annotated boxes of each: x, y, width, height
    in pixels of its tile, and a class. `places` leads there from the original image: its x, y, and scales.
    """

    labels: tuple[str, ...]
    texts: tuple[str, ...] = ()
    picture: bytes = b""
    tile: tuple[int, int] = (0, 0)
    rows: list[str] = field(default_factory=list)
    across: int = ACROSS
    ids: tuple[str, ...] = ()
    truth: tuple[list[Box], ...] = ()
    places: tuple[tuple[float, float, float, float], ...] = ()
    classes: Mapping[int, str] = field(default_factory=dict)

    def box(self, index: int, x: float, y: float, width: float, height: float, category: float, *score: float) -> Box:
        """A box of an original image on its tile, with its class as a word."""
        left, top, across, down = self.places[index]
        sides = ((x - left) * across, (y - top) * down, width * across, height * down)
        return [*(round(side, 1) for side in sides), self.classes.get(int(category), str(int(category))), *score]


def exhibits(suite: Suite, digests: dict[str, str], images: Iterable[str] = ()) -> list[Exhibit]:
    """One for every data set, or part of one, of the suite's rows; `digests` are those that rows were measured with, by row;
    of `images`, by their ids, detections are known.

    Data that are not at hand, or not what they were, are not shown. Reading them is all that is done here.
    """
    found: dict[str, Exhibit | None] = {}
    for entry in suite.entries:
        judged = entry.task is not None and entry.task.use in (*TASKS, DETECT)
        if not judged or entry.name not in digests or entry.dataset is None or entry.dataset.broken:
            continue
        params = {name: str(value) for name, value in entry.dataset.params.items()}
        place = canonical([entry.dataset.use, params, entry.part])
        if place not in found:
            found[place] = _exhibit(entry.dataset, entry.part, digests[entry.name], images)
        if exhibit := found[place]:
            exhibit.rows.append(entry.name)
    return [exhibit for exhibit in found.values() if exhibit is not None]


def _exhibit(component: Component, part: str | None, digest: str, images: Iterable[str]) -> Exhibit | None:
    try:
        dataset: Any = build("dataset", component)
        if dataset.digest() != digest:
            return None
        data = dataset.load()
        data = data if part is None else data.held_out_by(part)
        held_out = getattr(data, "held_out", None)
    except (BenchError, OSError, ImportError):
        return None
    if hasattr(held_out, "ground_truth"):
        return _scenes(data, list(images))
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
    picture, tile = _sheet(tiles, SIDE, ACROSS)
    return Exhibit(labels=labels, picture=picture, tile=tile) if picture else None


def _scenes(data: Any, images: list[str]) -> Exhibit | None:
    """Of images in which objects were detected, their tiles and annotated boxes."""
    import numpy as np
    from PIL import Image

    from retable.bench.tasks.pictures import rgb

    split = data.held_out
    known = {str(int(image)): index for index, image in enumerate(split.image_ids)}
    ids = [image for image in images if image in known]
    annotations: dict[str, list[Any]] = {}
    for one in split.ground_truth["annotations"]:
        if not one.get("iscrowd"):
            annotations.setdefault(str(int(one["image_id"])), []).append(one)
    tiles, places = [], []
    for image in ids:
        pixels = split.images(np.array([known[image]]))[0]
        high, wide = pixels.shape[-2:]
        left, top, right, bottom = split.restore(known[image], np.array([[0.0, 0.0, wide, high]]), (high, wide))[
            0
        ].tolist()
        tiles.append(Image.fromarray(rgb(pixels)))
        zoom = min(1.0, SCENE / max(wide, high))
        places.append((left, top, zoom * wide / (right - left), zoom * high / (bottom - top)))
    picture, tile = _sheet(tiles, SCENE, 8)
    if not picture:
        return None
    names = dict(zip(map(int, data.category_ids), data.class_names, strict=True))
    shown = Exhibit(
        labels=(), picture=picture, tile=tile, across=8, ids=tuple(ids), places=tuple(places), classes=names
    )
    found = [
        [shown.box(index, *one["bbox"], one["category_id"]) for one in annotations.get(image, [])]
        for index, image in enumerate(ids)
    ]
    return replace(shown, truth=tuple(found))


def _sheet(tiles: Sequence[Any], side: int, across: int) -> tuple[bytes, tuple[int, int]]:
    """Tiles of one size on one picture, and that size; nothing where there are none, or too many bytes."""
    from PIL import Image

    for tile in tiles:
        tile.thumbnail((side, side))
    if not tiles:
        return b"", (0, 0)
    width, height = max(tile.width for tile in tiles), max(tile.height for tile in tiles)
    sheet = Image.new("RGB", (across * width, -(-len(tiles) // across) * height))
    for index, tile in enumerate(tiles):
        sheet.paste(tile, (index % across * width, index // across * height))
    file = io.BytesIO()
    sheet.save(file, "WEBP", quality=80, method=4)
    return (file.getvalue(), (width, height)) if len(file.getvalue()) <= BUDGET else (b"", (0, 0))
