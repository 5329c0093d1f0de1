"""Metrics that need no feature network: parameter counts, likelihoods, sampling speed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from retable.bench.metrics.measured import absent, measured, unusable
from retable.bench.record import Direction, Measurement

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """Number of weights: those of `model.parameters_counted()` if it has that, else all; tied ones count once."""

    NAME: ClassVar[str] = "params"

    UNIT: ClassVar[str] = "parameters"
    DIRECTION: ClassVar[Direction] = "lower"
    VERSION: ClassVar[str] = "1"
    EXACT: ClassVar[bool] = True

    def measure(self, evidence: Any) -> Measurement:
        counted = _unique(_counted(evidence.model))
        if not counted:
            return absent(self, "the model holds no parameters")
        return measured(self, sum(weight.numel() for weight in counted.values()), details={"tensors": len(counted)})


@dataclass(frozen=True, kw_only=True)
class NonEmbeddingParameters:
    """The same count without `model.embedding_tables()`."""

    NAME: ClassVar[str] = "params_non_embedding"

    UNIT: ClassVar[str] = "parameters"
    DIRECTION: ClassVar[Direction] = "lower"
    VERSION: ClassVar[str] = "1"
    EXACT: ClassVar[bool] = True

    def measure(self, evidence: Any) -> Measurement:
        counted = _unique(_counted(evidence.model))
        if not counted:
            return absent(self, "the model holds no parameters")
        if not hasattr(evidence.model, "embedding_tables"):
            return absent(self, f"{type(evidence.model).__name__} does not name its embedding tables")
        tables = _unique(evidence.model.embedding_tables())
        rest = [weight.numel() for name, weight in counted.items() if name not in tables]
        return measured(self, sum(rest), details={"tensors": len(rest), "embedding_tables": len(counted) - len(rest)})


@dataclass(frozen=True, kw_only=True)
class TimeSteps:
    """Time steps that a spiking network runs for each sample; 1 for an ANN."""

    NAME: ClassVar[str] = "time_steps"

    UNIT: ClassVar[str] = "steps"
    DIRECTION: ClassVar[Direction] = "lower"
    VERSION: ClassVar[str] = "1"
    EXACT: ClassVar[bool] = True

    def measure(self, evidence: Any) -> Measurement:
        steps = getattr(evidence.model, "T", None)
        return absent(self, "the model does not say its time steps") if steps is None else measured(self, steps)


def _counted(model: Any) -> Iterable[Any]:
    counted: Iterable[Any] = getattr(model, "parameters_counted", model.parameters)()
    return counted


def _unique(weights: Iterable[Any]) -> dict[int, Any]:
    return {id(weight): weight for weight in weights}


@dataclass(frozen=True, kw_only=True)
class HeldOutNLL:
    """Mean negative log-likelihood per token of held-out images given their class, teacher-forced."""

    NAME: ClassVar[str] = "nll"

    UNIT: ClassVar[str] = "nats/token"
    DIRECTION: ClassVar[Direction] = "lower"
    VERSION: ClassVar[str] = "1"
    EXACT: ClassVar[bool] = False

    def measure(self, evidence: Any) -> Measurement:
        return _mean(self, evidence.nll)


@dataclass(frozen=True, kw_only=True)
class UnconditionalNLL:
    """The same with the no-class id in place of the class: what the class is worth is the difference."""

    NAME: ClassVar[str] = "nll_unconditional"

    UNIT: ClassVar[str] = "nats/token"
    DIRECTION: ClassVar[Direction] = "lower"
    VERSION: ClassVar[str] = "1"
    EXACT: ClassVar[bool] = False

    def measure(self, evidence: Any) -> Measurement:
        return _mean(self, evidence.nll_unconditional)


def _mean(metric: HeldOutNLL | UnconditionalNLL, nll_N: np.ndarray) -> Measurement:
    import numpy as np

    nll_N = np.asarray(nll_N, dtype=np.float64)
    if reason := unusable(nll_N, "held-out images' likelihoods"):
        return absent(metric, reason)
    spread = {"standard_error": float(nll_N.std(ddof=1) / np.sqrt(len(nll_N)))}
    return measured(metric, nll_N.mean(), n=len(nll_N), samples=tuple(nll_N.tolist()), details=spread)


@dataclass(frozen=True, kw_only=True)
class ImagesPerSecond:
    """Median over timed batches of sampled images a second, the tokenizer's decoder included."""

    NAME: ClassVar[str] = "images_per_second"
    TIMED: ClassVar[bool] = True

    UNIT: ClassVar[str] = "images/s"
    DIRECTION: ClassVar[Direction] = "higher"
    VERSION: ClassVar[str] = "1"
    EXACT: ClassVar[bool] = False

    def measure(self, evidence: Any) -> Measurement:
        import numpy as np

        seconds = np.asarray(evidence.seconds_per_image, dtype=np.float64)
        if reason := unusable(seconds, "timed batches"):
            return absent(self, reason)
        if (seconds <= 0).any():
            return absent(self, "a batch took no measurable time")
        rates = 1 / seconds
        return measured(
            self,
            np.median(rates),
            n=len(rates),
            samples=tuple(rates.tolist()),
            details={
                "batches": len(rates),
                "images_per_batch": int(evidence.images_per_batch),
                "slowest": float(rates.min()),
                "fastest": float(rates.max()),
            },
        )
