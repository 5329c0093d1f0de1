"""Inception Score (arXiv 1606.03498, section 4): a classifier is sure of each image, and its answers vary."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from retable.bench.metrics.features import Features, require_network
from retable.bench.metrics.measured import absent, measured, unusable
from retable.bench.metrics.rows import Rows
from retable.bench.record import Direction, Measurement

if TYPE_CHECKING:
    import numpy as np

SPLIT = 5000
"""Images a split, as in the evaluator of arXiv 2105.05233 (ADM)."""


@dataclass(frozen=True, kw_only=True)
class InceptionScore:
    """Mean of exp(E KL(p(y|x) || p(y))) over splits of 5000 images, between 1 and the number of classes.

    With fewer images there is one split, which the details say. The floor is the score of the held-out real images.
    """

    NAME: ClassVar[str] = "inception_score"

    network: str = "inception"

    UNIT: ClassVar[str] = ""
    DIRECTION: ClassVar[Direction] = "higher"
    VERSION: ClassVar[str] = "1"
    EXACT: ClassVar[bool] = False

    def measure(self, evidence: Any) -> Measurement:
        generated: Features = evidence.features("generated", self.network)
        if reason := unusable(generated.probabilities, "generated images' class probabilities"):
            return absent(self, reason)
        held_out = evidence.features("held_out", self.network)
        real = None
        if not unusable(held_out.probabilities, "held-out images' class probabilities"):
            real = inception_scores(held_out.probabilities).mean()
        scores = inception_scores(generated.probabilities)
        return measured(
            self,
            scores.mean(),
            n=len(generated),
            floor=None if real is None else float(real),
            details={
                **generated.network.details,
                "classes": generated.network.classes,
                "splits": len(scores),
                "images_per_split": min(len(generated), SPLIT),
                "splits_spread": float(scores.std()) if len(scores) > 1 else "one split has none",
                "n_floor": len(held_out),
            },
        )

    def ready(self) -> None:
        """Raises MissingDataError where the network is not at hand."""
        require_network(self.network)


def inception_scores(probabilities_NK: np.ndarray | Rows, split: int = SPLIT) -> np.ndarray:
    """The score of each split, in order; a last split that is shorter counts like the others, as in ADM's evaluator."""
    import numpy as np

    def score(p: np.ndarray) -> float:
        logs = np.log(np.maximum(p, np.finfo(p.dtype).tiny))  # 0 log 0 = 0
        log_marginal = np.log(np.maximum(p.mean(axis=0), np.finfo(p.dtype).tiny))
        return float(np.exp((p * (logs - log_marginal)).sum(axis=1).mean()))

    return np.array(
        [score(probabilities_NK[start : start + split]) for start in range(0, len(probabilities_NK), split)]
    )
