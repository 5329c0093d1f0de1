"""Improved precision and recall (arXiv 1904.06991): which images lie within the other set's nearest-neighbour balls."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from retable.bench.metrics.features import Features, require_network
from retable.bench.metrics.measured import absent, measured, unusable
from retable.bench.metrics.rows import Rows, blocks
from retable.bench.record import Direction, Measurement

if TYPE_CHECKING:
    import numpy as np

K = 3
"""Neighbours that set a ball's radius (section 3 of the paper, and the ADM evaluator)."""
CHUNK_ELEMENTS = 1 << 23
"""Distances held at once (64 MB)."""


@dataclass(frozen=True, kw_only=True)
class Precision:
    """Share of generated images that lie within the real images' manifold; floor: that of held-out ones."""

    NAME: ClassVar[str] = "precision"

    network: str = "inception"

    UNIT: ClassVar[str] = ""
    DIRECTION: ClassVar[Direction] = "higher"
    VERSION: ClassVar[str] = "1"
    EXACT: ClassVar[bool] = False

    def measure(self, evidence: Any) -> Measurement:
        return _measure(self, evidence, recall=False)

    def ready(self) -> None:
        """Raises MissingDataError where the network is not at hand."""
        require_network(self.network)


@dataclass(frozen=True, kw_only=True)
class Recall:
    """Share of real images that lie within the generated images' manifold; floor: that of held-out ones."""

    NAME: ClassVar[str] = "recall"

    network: str = "inception"

    UNIT: ClassVar[str] = ""
    DIRECTION: ClassVar[Direction] = "higher"
    VERSION: ClassVar[str] = "1"
    EXACT: ClassVar[bool] = False

    def measure(self, evidence: Any) -> Measurement:
        return _measure(self, evidence, recall=True)

    def ready(self) -> None:
        """Raises MissingDataError where the network is not at hand."""
        require_network(self.network)


def _measure(metric: Precision | Recall, evidence: Any, *, recall: bool) -> Measurement:
    generated = evidence.features("generated", metric.network)
    published = evidence.data.reference
    which = "reference" if published is not None and published.images is not None else "train"
    real = evidence.features(which, metric.network)
    reason = unusable(generated.activations, "generated images' features", K + 1) or unusable(
        real.activations, "reference images' features", K + 1
    )
    if reason:
        return absent(metric, reason)

    def share(images: Features) -> float:
        points, manifold = (real, images) if recall else (images, real)
        return coverage(points.activations, manifold.activations)

    held_out = evidence.features("held_out", metric.network)
    enough = not unusable(held_out.activations, "held-out images' features", K + 1)
    return measured(
        metric,
        share(generated),
        n=len(real) if recall else len(generated),
        floor=share(held_out) if enough else None,
        details={
            **generated.network.details,
            "k": K,
            "n_generated": len(generated),
            "n_reference": len(real),
            "n_floor": len(held_out),
            "reference": which,
            "reference_digest": real.pixels_sha256,
        },
    )


def coverage(points_ND: np.ndarray | Rows, manifold_MD: np.ndarray | Rows, k: int = K) -> float:
    """Share of points within at least one ball around a manifold point, reaching to that one's k-th nearest other."""
    import numpy as np

    radii_M = np.concatenate([np.partition(d, k, axis=1)[:, k] for d in _squared_distances(manifold_MD, manifold_MD)])
    inside = [(distances <= radii_M).any(axis=1) for distances in _squared_distances(points_ND, manifold_MD)]
    return float(np.concatenate(inside).mean())


def _squared_distances(x_ND: np.ndarray | Rows, y_MD: np.ndarray | Rows) -> Iterator[np.ndarray]:
    """|x_i - y_j|^2, a block of rows at a time.

    Computed as |x|^2 + |y|^2 - 2 x.y around the common mean; what cancellation leaves of equal points is set to 0.
    """
    import numpy as np

    all_MD = np.asarray(y_MD)
    centre = all_MD.mean(axis=0)
    all_MD = np.subtract(all_MD, centre, out=None if all_MD is y_MD else all_MD)  # what came from a file is our own
    squares_M = np.concatenate([(block**2).sum(axis=1) for block in blocks(all_MD)])
    rows = max(CHUNK_ELEMENTS // len(all_MD), 1)
    for start in range(0, len(x_ND), rows):
        block = x_ND[start : start + rows] - centre
        scale = (block**2).sum(axis=1)[:, None] + squares_M
        distances = scale - 2 * block @ all_MD.T
        distances[distances < 1e-12 * scale] = 0
        yield distances
