"""Generated pictures that a small backbone is pretrained on: eight shapes in random colours on random textures.

They stand in for ImageNet where no published weights are at hand: a backbone that has seen them has edges, blobs, rings and
textures, and nothing of the images that it is tuned for.
"""

from __future__ import annotations

import numpy as np

SHAPES = ("blob", "ring", "line", "square", "cross", "triangle", "checker", "double-line")
CONTRAST = (60.0, 160.0)
NOISE = 14.0


def pictures(count: int, size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """uint8 (count, 3, size, size) and the classes int64 (count,); the same for the same arguments."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(len(SHAPES), size=count)
    pixels = np.stack([_picture(SHAPES[label], size, rng) for label in labels])
    return pixels, labels.astype(np.int64)


def _picture(shape: str, size: int, rng: np.random.Generator) -> np.ndarray:
    ground_3 = rng.uniform(50, 205, 3)
    texture = _texture(size, rng) * rng.uniform(6, 22)
    direction_3 = rng.choice([-1.0, 1.0]) * (1 + 0.5 * rng.uniform(-1, 1, 3))
    mark = mask(shape, size, rng) * rng.uniform(*CONTRAST)
    noise = rng.normal(0, NOISE, (3, size, size))
    picture = ground_3[:, None, None] + texture + direction_3[:, None, None] * mark + noise
    return picture.clip(0, 255).astype(np.uint8)


def _texture(size: int, rng: np.random.Generator) -> np.ndarray:
    """A plane wave of a random direction, length and phase, (size, size), within [-1, 1]."""
    y, x = np.mgrid[:size, :size] / size
    angle, waves, phase = rng.uniform(0, np.pi), rng.uniform(0.5, 5), rng.uniform(0, 2 * np.pi)
    return np.sin(2 * np.pi * waves * (x * np.cos(angle) + y * np.sin(angle)) + phase)


def mask(shape: str, size: int, rng: np.random.Generator) -> np.ndarray:
    """How strongly each pixel belongs to a shape of random place, size and turn, (size, size), within [0, 1]."""
    radius = rng.uniform(0.14, 0.3) * size
    top, left = rng.uniform(radius, size - radius, 2)
    y, x = np.mgrid[:size, :size].astype(np.float64)
    angle = rng.uniform(0, 2 * np.pi)
    u = (x - left) * np.cos(angle) + (y - top) * np.sin(angle)
    v = (y - top) * np.cos(angle) - (x - left) * np.sin(angle)
    far = np.hypot(u, v)
    thin = max(1.0, radius / 4)
    if shape == "blob":
        return np.exp(-((far / radius * 1.5) ** 2))
    inside = {
        "ring": abs(far - radius * 0.8) < thin,
        "line": (abs(v) < thin) & (abs(u) < radius * 1.3),
        "square": np.maximum(abs(u), abs(v)) < radius * 0.75,
        "cross": (np.minimum(abs(u), abs(v)) < thin) & (np.maximum(abs(u), abs(v)) < radius),
        "triangle": (v > -radius * 0.5) & (v < radius - 1.7 * abs(u)),
        "checker": ((np.floor(u / (radius / 2)) + np.floor(v / (radius / 2))) % 2 == 0)
        & (np.maximum(abs(u), abs(v)) < radius),
        "double-line": (abs(abs(v) - radius * 0.5) < thin * 0.7) & (abs(u) < radius * 1.3),
    }[shape]
    return inside.astype(np.float64)
