"""Small detection data for tests: bright squares on black, or the events of squares."""

from __future__ import annotations

import numpy as np

from retable.bench.datasets.detection import ArrayDetections, DetectionData, gather


def squares(count: int = 16, side: int = 64, steps: int | None = None, seed: int = 0) -> DetectionData:
    """One square an image, of class 0 (red) or 1 (green); every fourth image is empty. With `steps`, frames of 2 channels."""
    rng = np.random.default_rng(seed)
    shape = (3, side, side) if steps is None else (steps, 2, side, side)
    pixels, rows = np.zeros((count, *shape), np.uint8), []
    for i in range(count):
        if i % 4 == 3:
            continue
        label, length = int(rng.integers(2)), int(rng.integers(side // 4, side // 2))
        x, y = rng.integers(0, side - length, 2)
        pixels[i, ..., label, y : y + length, x : x + length] = 255 if steps is None else 2
        rows.append((i, (float(x), float(y), float(length), float(length)), label, False, float(length**2)))
    split = ArrayDetections(pixels=pixels, objects=gather(rows, count), categories={1: "red", 2: "green"})
    return DetectionData(
        name="squares",
        train=split,
        held_out=split,
        num_classes=2,
        class_names=("red", "green"),
        category_ids=(1, 2),
        image_shape=shape,
    )
