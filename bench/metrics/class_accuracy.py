"""Class accuracy: whether a generated picture shows the class that was asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from retable.bench.metrics.features import Features, require_network
from retable.bench.metrics.measured import absent, measured, unusable
from retable.bench.record import Direction, Measurement


@dataclass(frozen=True, kw_only=True)
class ClassAccuracy:
    """Share of generated images that the network's classifier gives the requested class.

    The floor is its accuracy on held-out real images. `network` must distinguish exactly the data set's classes.
    """

    NAME: ClassVar[str] = "class_accuracy"

    network: str

    UNIT: ClassVar[str] = ""
    DIRECTION: ClassVar[Direction] = "higher"
    VERSION: ClassVar[str] = "1"
    EXACT: ClassVar[bool] = False

    def measure(self, evidence: Any) -> Measurement:
        import numpy as np

        generated: Features = evidence.features("generated", self.network)
        classes, wanted = generated.network.classes, evidence.data.num_classes
        if classes != wanted:
            return absent(self, f"{self.network} distinguishes {classes} classes, the data set has {wanted}")
        if reason := unusable(generated.probabilities, "generated images' class probabilities"):
            return absent(self, reason)
        hits = np.asarray(generated.probabilities).argmax(axis=1) == evidence.labels
        held_out = evidence.features("held_out", self.network)
        floor = None
        if not unusable(held_out.probabilities, "held-out images' class probabilities"):
            floor = float((np.asarray(held_out.probabilities).argmax(axis=1) == evidence.data.held_out.labels).mean())
        return measured(
            self,
            hits.mean(),
            n=len(hits),
            floor=floor,
            samples=tuple(float(hit) for hit in hits),
            details={**generated.network.details, "classes": classes, "n_floor": len(held_out)},
        )

    def ready(self) -> None:
        """Raises MissingDataError where the network is not at hand."""
        require_network(self.network)
