"""Contact sheets: images side by side with boxes drawn on them, as PNG."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from PIL.ImageDraw import ImageDraw

TILE = 192
"""Least height of an image on a sheet; smaller ones are enlarged by a whole factor."""
GAP = 4
PAPER = (255, 255, 255)
FALL, RISE, STILL = (40, 70, 220), (220, 40, 30), (235, 235, 235)
"""Colours of an event that fell, one that rose, and none."""
GROUND, MIXED = 127, 40
"""Grey level without events in frames of grey levels, and how far from it a pixel shows one."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Marks:
    """Boxes float (n, 4): x0, y0, x1, y1 in the image's pixels, a caption for each, and their colour."""

    boxes: np.ndarray
    captions: Sequence[str]
    colour: tuple[int, int, int]


def contact_sheet(images: Sequence[np.ndarray], marks: Sequence[Sequence[Marks]], columns: int = 8) -> bytes:
    """PNG of uint8 images, (C, H, W) or event frames (T, C, H, W) of one size, `columns` side by side."""
    from PIL import Image, ImageDraw

    tiles = [Image.fromarray(rgb(image)) for image in images]
    zoom = max(1, -(-TILE // tiles[0].height))
    width, height = tiles[0].width * zoom, tiles[0].height * zoom
    columns = min(columns, len(tiles))
    rows = -(-len(tiles) // columns)
    sheet = Image.new("RGB", (columns * (width + GAP) - GAP, rows * (height + GAP) - GAP), PAPER)
    for number, (tile, drawn) in enumerate(zip(tiles, marks, strict=True)):
        large = tile.resize((width, height), Image.Resampling.NEAREST)
        for group in drawn:
            _draw(ImageDraw.Draw(large), group, zoom)
        sheet.paste(large, (number % columns * (width + GAP), number // columns * (height + GAP)))
    file = io.BytesIO()
    sheet.save(file, "PNG", optimize=True)
    return file.getvalue()


def rgb(image: np.ndarray) -> np.ndarray:
    """uint8 (H, W, 3) of an image (C, H, W), or of event frames (T, C, H, W) laid over each other."""
    import numpy as np

    if image.ndim == 4:
        return _events(image)
    return np.ascontiguousarray(np.broadcast_to(image, (3, *image.shape[1:])).transpose(1, 2, 0))


def _events(frames: np.ndarray) -> np.ndarray:
    """Two channels are counts of falling and rising events, others grey levels around GROUND."""
    import numpy as np

    if frames.shape[1] == 2:
        falls, rises = frames.sum(0, dtype=np.int64)
        balance, seen = rises - falls, (rises + falls) > 0
    else:
        away = frames[:, 0].astype(np.int64) - GROUND
        balance, seen = away.sum(0), (abs(away) > MIXED).any(0)
    return np.where(seen[..., None], np.where((balance >= 0)[..., None], RISE, FALL), STILL).astype(np.uint8)


def _draw(pen: ImageDraw, marks: Marks, zoom: int) -> None:
    for box, caption in zip(marks.boxes, marks.captions, strict=True):
        x0, y0, x1, y1 = (round(float(side) * zoom) for side in box)
        x1, y1 = max(x0, x1 - 1), max(y0, y1 - 1)
        pen.rectangle((x0, y0, x1, y1), outline=marks.colour, width=max(1, zoom // 2))
        if caption:
            longest = pen.im.size[0] - pen.textlength(caption) - 2
            place = (max(2, min(x0 + 2, longest)), y1 - 12 if y0 < 12 else y0 - 12)
            left, top, right, bottom = pen.textbbox(place, caption)
            pen.rectangle((left - 1, top - 1, right + 1, bottom + 1), fill=marks.colour)
            pen.text(place, caption, fill=PAPER)
