"""A task of one's own: how a fitted model is put to work. Its metrics read the evidence that it returns."""

from dataclasses import dataclass, replace
from typing import ClassVar

from retable import register
from retable.bench.tasks.classify import Classify


@register("task", "my-name")
@dataclass(frozen=True, kw_only=True)
class MyName:
    """Classifies held-out images that are shifted to the right by some pixels."""

    shift: int = 1

    FITS: ClassVar[bool] = True  # False for a task that needs no weights

    def evidence(self, model, data, *, seed, device):
        """What the metrics of a row get; this one reuses `classify`, so that `accuracy` and its like apply."""
        shifted = replace(data, held_out=_Shifted(data.held_out, self.shift))
        return Classify(account_samples=0).evidence(model, shifted, seed=seed, device=device)


@dataclass(frozen=True)
class _Shifted:
    """Images of another split, shifted."""

    split: object
    shift: int
    augments: ClassVar[bool] = False

    def __len__(self):
        return len(self.split)

    @property
    def labels(self):
        return self.split.labels

    def images(self, indices, rng=None):
        import numpy as np

        return np.roll(self.split.images(indices), self.shift, axis=-1)
