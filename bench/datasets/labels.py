"""Scores of labels, as the published few-shot code counts them (MedFMC, MMClassification): AP, AUC, accuracy, F1 at 0.5.

Scores (N, K) are higher where a label is likelier. Labels of several at once are (N, K) with 1 present, 0 absent, -1 unknown;
one of K is (N,) whole numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np

Score = Literal["map", "accuracy", "auc"]
PRESENT, UNKNOWN = 1, -1
THRESHOLD = 0.5


def score(kind: Score, probabilities_NK: np.ndarray, labels: np.ndarray) -> float:
    """A score in per cent. NaN for an AUC where no label has both images with it and images without.

    `map` counts labels without positives as 0, `auc` leaves labels out that have no curve; of one of K classes, both are the
    mean over classes, each against the others. `accuracy` is that of the largest probability.
    """
    import numpy as np

    if kind == "accuracy":
        return float(100 * (probabilities_NK.argmax(axis=1) == labels).mean())
    hot = labels.ndim == 1
    labels_NK = one_hot(labels, probabilities_NK.shape[1]) if hot else labels
    if kind == "map":
        return float(100 * average_precisions(probabilities_NK, labels_NK).mean())
    found = aucs(official_scores(probabilities_NK) if hot else probabilities_NK, labels_NK)
    return float(100 * np.nanmean(found)) if np.isfinite(found).any() else float("nan")


def average_precisions(scores_NK: np.ndarray, labels_NK: np.ndarray) -> np.ndarray:
    """AP of each label, (K,), in [0, 1]: the mean over its positives of the precision at their rank; no interpolation.

    A label without positives has AP 0. Ties stand in the order of the images (a stable sort), so that the value is the same
    everywhere; unknown labels are left out of the ranking.
    """
    import numpy as np

    found = np.zeros(scores_NK.shape[1])
    for k, (scores_N, labels_N) in enumerate(zip(scores_NK.T, labels_NK.T, strict=True)):
        known = labels_N != UNKNOWN
        order = np.argsort(-scores_N[known].astype(np.float64), kind="stable")
        positive = labels_N[known][order] == PRESENT
        if positive.any():
            precision = positive.cumsum() / np.arange(1, len(positive) + 1)
            found[k] = precision[positive].mean()
    return found


def aucs(scores_NK: np.ndarray, labels_NK: np.ndarray) -> np.ndarray:
    """Area under the ROC curve of each label, (K,), in [0, 1]; NaN where all images, or none, have the label."""
    import numpy as np
    from sklearn.metrics import roc_auc_score

    found = np.full(scores_NK.shape[1], np.nan)
    for k, (scores_N, labels_N) in enumerate(zip(scores_NK.T, labels_NK.T, strict=True)):
        known = labels_N != UNKNOWN
        positive = labels_N[known] == PRESENT
        if positive.any() and not positive.all():
            found[k] = roc_auc_score(positive, scores_N[known])
    return found


def official_scores(scores_NK: np.ndarray) -> np.ndarray:
    """softmax of scores that are probabilities already: what the published code ranks one of K classes by."""
    import numpy as np

    raised = np.exp(scores_NK - scores_NK.max(axis=1, keepdims=True))
    softened: np.ndarray = raised / raised.sum(axis=1, keepdims=True)
    return softened


def one_hot(labels_N: np.ndarray, classes: int) -> np.ndarray:
    import numpy as np

    hot: np.ndarray = (labels_N[:, None] == np.arange(classes)).astype(np.int64)
    return hot


@dataclass(frozen=True, kw_only=True)
class Found:
    """Precision, recall and F1 in per cent, a label (`c`) and over all labels together (`o`), of scores from a threshold on."""

    cp: float
    cr: float
    cf1: float
    op: float
    or_: float
    of1: float


def found_at(scores_NK: np.ndarray, labels_NK: np.ndarray, threshold: float = THRESHOLD) -> Found:
    """What is found where `scores >= threshold` counts as present; unknown labels count as absent, 0 / 0 as 0."""
    import numpy as np

    named, present = scores_NK >= threshold, labels_NK == PRESENT
    hits_K = (named & present).sum(axis=0)

    def share(hits: np.ndarray, of: np.ndarray) -> float:
        return float(100 * np.mean(np.divide(hits, of, out=np.zeros(np.shape(hits)), where=of > 0)))

    def f1(precision: float, recall: float) -> float:
        return 2 * precision * recall / (precision + recall) if precision + recall else 0.0

    cp, cr = share(hits_K, named.sum(axis=0)), share(hits_K, present.sum(axis=0))
    op, or_ = share(hits_K.sum(), named.sum()), share(hits_K.sum(), present.sum())
    return Found(cp=cp, cr=cr, cf1=f1(cp, cr), op=op, or_=or_, of1=f1(op, or_))
