"""Evidence made by hand for the metrics' tests: features, likelihoods and timings without a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from types import SimpleNamespace
from typing import Any

import numpy as np

from retable.bench.metrics.features import Features, NetworkInfo


def as_features(activations: Any, probabilities: Any = None, classes: int = 3) -> Features:
    """Features with given numbers under a network named `hand-made`."""
    activations = np.asarray(activations, dtype=np.float64)
    if probabilities is None:
        probabilities = np.full((len(activations), classes), 1 / classes)
    info = NetworkInfo(
        name="hand-made",
        digest="0" * 64,
        dim=activations.shape[1],
        classes=np.shape(probabilities)[1],
        resize="none",
        backend="tests",
    )
    digest = sha256(activations.tobytes()).hexdigest()
    probabilities = np.asarray(probabilities, dtype=np.float64)
    return Features(activations=activations, probabilities=probabilities, network=info, pixels_sha256=digest)


def gaussian_features(n: int, seed: int, shift: float = 0.0, dim: int = 5) -> Features:
    """Normally distributed activations and random class probabilities."""
    rng = np.random.default_rng(seed)
    return as_features(rng.normal(shift, 1.0, (n, dim)), rng.dirichlet(np.ones(3), n))


@dataclass
class GenerateEvidence:
    """What metrics read of the task `generate`."""

    sets: Mapping[str, Features]
    labels: Any = None
    held_out_labels: Any = None
    reference: Any = None
    num_classes: int = 3
    nll: Any = ()
    nll_unconditional: Any = ()
    seconds_per_image: Any = ()
    images_per_batch: int = 8
    model: Any = None
    asked: list[tuple[str, str]] = field(default_factory=list)

    @property
    def data(self) -> Any:
        held_out = SimpleNamespace(labels=self.held_out_labels)
        return SimpleNamespace(reference=self.reference, num_classes=self.num_classes, held_out=held_out)

    def features(self, which: str, network: str) -> Features:
        self.asked.append((which, network))
        return self.sets[which]


def plain_evidence(generated: Features, train: Features | None = None, held_out: Features | None = None) -> Any:
    """Evidence whose real images are standard normal features."""
    sets = {
        "generated": generated,
        "train": gaussian_features(60, seed=1) if train is None else train,
        "held_out": gaussian_features(40, seed=2) if held_out is None else held_out,
    }
    return GenerateEvidence(
        sets=sets,
        labels=np.zeros(len(generated), dtype=np.int64),
        held_out_labels=np.zeros(len(sets["held_out"]), dtype=np.int64),
    )


@dataclass
class DecodeEvidence:
    """What metrics read of the task `decode`."""

    lengths: tuple[int, ...]
    milliseconds: dict[str, dict[int, list[float]]]
    batch_size: int = 16
