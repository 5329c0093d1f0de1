"""Image files as 8-bit RGB, whatever they are stored as, or a sentence that says why not."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from retable import contents
from retable.bench.errors import BenchError

if TYPE_CHECKING:
    from PIL.Image import Image

SHORT_GREY = ("I;16", "I;16L", "I;16B", "I;16N")
"""Pillow's modes of 16-bit grey; its own conversion to RGB would cut them off at 255."""
SCALED_GREY = ("PNG", "PPM")
"""Formats whose 32-bit grey, as some releases of Pillow open them, is 16-bit grey too."""
MOST_PIXELS, MOST_ASPECT = 1 << 27, 200


def read_rgb(path: Path) -> Image:
    """An image file as RGB; 16-bit grey is scaled to 8 bits. Raises BenchError for what `usable` refuses or is damaged."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            _usable(path, image)
            return _scaled(image) if _is_deep(image) else image.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise BenchError(f"{path} cannot be read as an image: {error}") from error


def check_images(paths: Sequence[Path], sides: Sequence[tuple[int, int]] | None = None, told: str = "") -> None:
    """Headers of all files, so that what cannot be used is named before anything is trained; remembered.

    `sides` are the width and height that each has to have, as `told` says. Raises BenchError for the first that fails.
    """
    from concurrent.futures import ThreadPoolExecutor

    wanted: Sequence[tuple[int, int] | None] = sides or [None] * len(paths)

    def check() -> None:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for path, found, side in zip(paths, pool.map(_sides, paths), wanted, strict=True):
                if side is not None and found != side:
                    raise BenchError(f"{path} has {found[0]}x{found[1]} pixels, and {side[0]}x{side[1]} in {told}")

    contents.once(f"image headers 1 {sides}", paths, check)


def _sides(path: Path) -> tuple[int, int]:
    from PIL import Image

    try:
        with Image.open(path) as image:
            _usable(path, image)
            return image.size
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise BenchError(f"{path} cannot be read as an image: {error}") from error


def _usable(path: Path, image: Image) -> None:
    width, height = image.size
    if image.mode in ("I", "F") and not _is_deep(image):
        kind = "32-bit whole numbers" if image.mode == "I" else "floating-point numbers"
        raise BenchError(f"{path} holds {kind} (mode {image.mode}), which have no scale: save it with 8 or 16 bits")
    if width * height > MOST_PIXELS or max(width, height) > MOST_ASPECT * min(width, height):
        raise BenchError(f"{path} has {width}x{height} pixels: too many, or too narrow, to be resized")


def _is_deep(image: Image) -> bool:
    return image.mode in SHORT_GREY or (image.mode == "I" and image.format in SCALED_GREY)


def _scaled(image: Image) -> Image:
    import numpy as np
    from PIL import Image as Pillow

    grey = np.asarray(image).astype(np.int64) // 257
    return Pillow.fromarray(grey.clip(0, 255).astype(np.uint8)).convert("RGB")
