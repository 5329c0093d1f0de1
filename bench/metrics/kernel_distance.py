"""Kernel distance (KID, arXiv 1801.01401): squared maximum mean discrepancy between features, unbiased at every n."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from retable.bench.metrics.features import Features, require_network
from retable.bench.metrics.measured import absent, measured, unusable
from retable.bench.metrics.rows import Rows, blocks
from retable.bench.record import Direction, Measurement

if TYPE_CHECKING:
    import numpy as np

CHUNK = 1024
"""Rows of the kernel matrix held at once."""


@dataclass(frozen=True, kw_only=True)
class KernelDistance:
    """`kd[network]`: unbiased MMD^2 with the kernel (x.y / D + 1)^3, over all pairs rather than random subsets.

    It can be slightly negative for equal distributions. The floor is held-out against training images.
    """

    NAME: ClassVar[str] = "kd"

    network: str

    UNIT: ClassVar[str] = ""
    DIRECTION: ClassVar[Direction] = "lower"
    VERSION: ClassVar[str] = "1"
    EXACT: ClassVar[bool] = False

    def measure(self, evidence: Any) -> Measurement:
        generated: Features = evidence.features("generated", self.network)
        train = evidence.features("train", self.network)
        if reason := unusable(generated.activations, "generated images' features") or unusable(
            train.activations, "reference images' features"
        ):
            return absent(self, reason)
        held_out = evidence.features("held_out", self.network)
        floor = None
        if not unusable(held_out.activations, "held-out images' features"):
            floor = kernel_distance(held_out.activations, train.activations)
        return measured(
            self,
            kernel_distance(generated.activations, train.activations),
            n=len(generated),
            floor=floor,
            details={
                **generated.network.details,
                "n_generated": len(generated),
                "n_reference": len(train),
                "n_floor": len(held_out),
                "reference": "train",
                "reference_digest": train.pixels_sha256,
            },
        )

    def ready(self) -> None:
        """Raises MissingDataError where the network is not at hand."""
        require_network(self.network)


def kernel_distance(x_ND: np.ndarray | Rows, y_MD: np.ndarray | Rows) -> float:
    """MMD^2 = mean_{i!=j} k(x_i, x_j) + mean_{i!=j} k(y_i, y_j) - 2 mean_{i,j} k(x_i, y_j)."""
    n, m = len(x_ND), len(y_MD)
    within_x = (_kernel_sum(x_ND, x_ND) - _diagonal_sum(x_ND)) / (n * (n - 1))
    within_y = (_kernel_sum(y_MD, y_MD) - _diagonal_sum(y_MD)) / (m * (m - 1))
    return within_x + within_y - 2 * _kernel_sum(x_ND, y_MD) / (n * m)


def _cubic(products: np.ndarray, dim: int) -> np.ndarray:
    return (products / dim + 1) ** 3


def _kernel_sum(x_ND: np.ndarray | Rows, y_MD: np.ndarray | Rows) -> float:
    import numpy as np

    rows, all_MD = range(0, len(x_ND), CHUNK), np.asarray(y_MD)
    return float(sum(_cubic(x_ND[start : start + CHUNK] @ all_MD.T, x_ND.shape[1]).sum() for start in rows))


def _diagonal_sum(x_ND: np.ndarray | Rows) -> float:
    import numpy as np

    squares_N = np.concatenate([(block**2).sum(axis=1) for block in blocks(x_ND)])
    return float(_cubic(squares_N, x_ND.shape[1]).sum())
