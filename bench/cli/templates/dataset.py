"""A data set of one's own: seeded noise around a pattern a class. Read your files in `_drawn` instead."""

from dataclasses import dataclass
from hashlib import sha256

from retable import register


@register("dataset", "my-name")
@dataclass(frozen=True, kw_only=True)
class MyName:
    """Images uint8 (N, 3, size, size) of `classes` classes; 600 to train on, 200 held out."""

    size: int = 8
    classes: int = 4
    noise: float = 80.0

    def digest(self):
        """SHA-256 of the data: it belongs to the key of every number. Of files it would be that of their content."""
        pixels, labels = self._drawn()
        return sha256(pixels.tobytes() + labels.tobytes()).hexdigest()

    def load(self):
        """The data; where files are missing, MissingDataError says in one sentence what to put where."""
        from retable.bench.datasets.images import ArraySplit, ImageData

        pixels, labels = self._drawn()
        return ImageData(
            name="my-name",
            train=ArraySplit(pixels=pixels[:600], labels=labels[:600]),
            held_out=ArraySplit(pixels=pixels[600:], labels=labels[600:]),
            num_classes=self.classes,
            image_shape=(3, self.size, self.size),
        )

    def _drawn(self):
        import numpy as np

        rng = np.random.default_rng(0)
        labels = rng.integers(self.classes, size=800)
        patterns = rng.uniform(0, 255, (self.classes, 3, self.size, self.size))
        pixels = patterns[labels] + rng.normal(0, self.noise, (800, 3, self.size, self.size))
        return pixels.clip(0, 255).astype(np.uint8), labels
