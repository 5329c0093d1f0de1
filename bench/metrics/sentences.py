"""What labelled sentences are measured by, each as GLUE computes it (scikit-learn, SciPy), in per cent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from retable.bench.errors import BenchError
from retable.bench.metrics.measured import absent, measured, unusable
from retable.bench.record import Direction, Measurement

if TYPE_CHECKING:
    import numpy as np

AVERAGE = "average"


@dataclass(frozen=True, kw_only=True)
class Matthews:
    """Matthews' correlation of true and predicted classes; 0 where one class is always predicted."""

    NAME: ClassVar[str] = "matthews"

    UNIT: ClassVar[str] = "%"
    DIRECTION: ClassVar[Direction] = "higher"
    VERSION: ClassVar[str] = "1"
    EXACT: ClassVar[bool] = False

    def measure(self, evidence: Any) -> Measurement:
        return _of_classes(self, evidence, _matthews)


@dataclass(frozen=True, kw_only=True)
class F1:
    """Harmonic mean of precision and recall of class 1, of two; 0 where it is never predicted."""

    NAME: ClassVar[str] = "f1"

    UNIT: ClassVar[str] = "%"
    DIRECTION: ClassVar[Direction] = "higher"
    VERSION: ClassVar[str] = "1"
    EXACT: ClassVar[bool] = False

    def measure(self, evidence: Any) -> Measurement:
        if evidence.data.num_classes > 2:
            return absent(self, f"F1 is that of one class of two, and there are {evidence.data.num_classes}")
        return _of_classes(self, evidence, _f1)


@dataclass(frozen=True, kw_only=True)
class Pearson:
    """Pearson's correlation of true and predicted ratings."""

    NAME: ClassVar[str] = "pearson"

    UNIT: ClassVar[str] = "%"
    DIRECTION: ClassVar[Direction] = "higher"
    VERSION: ClassVar[str] = "1"
    EXACT: ClassVar[bool] = False

    def measure(self, evidence: Any) -> Measurement:
        return _of_ratings(self, evidence, "pearsonr")


@dataclass(frozen=True, kw_only=True)
class Spearman:
    """Spearman's rank correlation of true and predicted ratings."""

    NAME: ClassVar[str] = "spearman"

    UNIT: ClassVar[str] = "%"
    DIRECTION: ClassVar[Direction] = "higher"
    VERSION: ClassVar[str] = "1"
    EXACT: ClassVar[bool] = False

    def measure(self, evidence: Any) -> Measurement:
        return _of_ratings(self, evidence, "spearmanr")


@dataclass(frozen=True, kw_only=True)
class Glue:
    """The number that papers print of a GLUE `task`: accuracy, or F1 (mrpc, qqp), Matthews (cola), Pearson (sts-b).

    `average` is the mean over nine numbers, MNLI's two parts counted apart; one row here has one task, so it is reported only.
    """

    NAME: ClassVar[str] = "glue"

    task: str

    UNIT: ClassVar[str] = "%"
    DIRECTION: ClassVar[Direction] = "higher"
    VERSION: ClassVar[str] = "1"
    EXACT: ClassVar[bool] = False

    def __post_init__(self) -> None:
        from retable.bench.datasets.texts.glue import LAYOUTS

        if self.task not in (*LAYOUTS, AVERAGE):
            raise BenchError(f"`task` must be {AVERAGE} or one of {', '.join(sorted(LAYOUTS))}, not {self.task!r}")

    def measure(self, evidence: Any) -> Measurement:
        if evidence.data.name != f"glue-{self.task}":
            return absent(self, f"this row is about {evidence.data.name}")
        if self.task == "sts-b":
            return _of_ratings(self, evidence, "pearsonr")
        score = {"cola": _matthews, "mrpc": _f1, "qqp": _f1}.get(self.task, _accuracy)
        return _of_classes(self, evidence, score)


def _matthews(labels: np.ndarray, predictions: np.ndarray) -> float:
    import warnings

    from sklearn.metrics import matthews_corrcoef

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that a single class is there, which gives 0
        return float(matthews_corrcoef(labels, predictions))


def _f1(labels: np.ndarray, predictions: np.ndarray) -> float:
    from sklearn.metrics import f1_score

    return float(f1_score(labels, predictions, zero_division=0.0))


def _accuracy(labels: np.ndarray, predictions: np.ndarray) -> float:
    return float((labels == predictions).mean())


def _of_classes(metric: Any, evidence: Any, score: Callable[[np.ndarray, np.ndarray], float]) -> Measurement:
    if evidence.data.num_classes == 1:
        return absent(metric, "the labels are ratings, not classes")
    if reason := unusable(evidence.outputs_NK, "outputs"):
        return absent(metric, reason)
    labels = evidence.labels
    return measured(metric, 100 * score(labels, evidence.predictions), n=len(labels))


def _of_ratings(metric: Any, evidence: Any, statistic: str) -> Measurement:
    import numpy as np
    from scipy import stats

    if evidence.data.num_classes != 1:
        return absent(metric, "the labels are classes, not ratings")
    if reason := unusable(evidence.outputs_NK, "outputs"):
        return absent(metric, reason)
    labels, predictions = evidence.labels, evidence.predictions
    for what, values in (("true", labels), ("predicted", predictions)):
        if np.ptp(values) == 0:
            return absent(metric, f"all {what} ratings are equal: no correlation is defined")
    return measured(metric, 100 * getattr(stats, statistic)(labels, predictions).statistic, n=len(labels))
