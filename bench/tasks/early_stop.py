"""Input-aware early stop: after which step each sample is done. The rules are PRIME's (arXiv 2407.18625, released code).

A classifier is done at the first step t at which the softmax of its mean logits, m_t over a temperature, is surer than a
threshold. A filling is done when its successive images change less and less, and little: D_n = sum |R_n - R_{n-1}| / 100 with
R_0 = 0; from the third step on where D_n < D_{n-1} < D_{n-2} and D_n is below a threshold. Both rules look at one sample
alone, so that no batch changes them. Steps count from 1; who is never done runs all T.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from retable.bench.errors import BenchError

if TYPE_CHECKING:
    import numpy as np

CHANGE_UNIT = 100
"""The released code divides summed changes by this."""


@dataclass(frozen=True, kw_only=True)
class Stop:
    """The `threshold` of the rule, and others for its `curve`; a classifier's logits are divided by `temperature`."""

    threshold: float
    temperature: float = 2.0
    curve: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not 0 < self.temperature < math.inf:
            raise BenchError(f"`temperature` must be above 0, not {self.temperature}")
        if not all(math.isfinite(threshold) and threshold >= 0 for threshold in (self.threshold, *self.curve)):
            raise BenchError("`threshold` and those of `curve` must be numbers of at least 0")


@dataclass(frozen=True, kw_only=True, eq=False)
class Exits:
    """After which of T steps each of N samples is done: int64 (N,) at the task's threshold, and at those of its curve."""

    steps: int
    threshold: float
    at: np.ndarray
    curve: Mapping[float, np.ndarray]

    @classmethod
    def of(cls, stop: Stop, steps: int, rule: Callable[[float], np.ndarray]) -> Exits:
        """`rule` gives the exits at a threshold."""
        curve = {threshold: rule(threshold) for threshold in sorted({*stop.curve, stop.threshold})}
        return cls(steps=steps, threshold=stop.threshold, at=curve[stop.threshold], curve=curve)


def confidences(logits_TBK: Any, temperature: float) -> tuple[np.ndarray, np.ndarray]:
    """The largest and the second largest probability after each step, float64 (T, B) each; NaN where logits are not finite."""
    import torch

    steps_T11 = torch.arange(1, len(logits_TBK) + 1, device=logits_TBK.device)[:, None, None]
    means_TBK = logits_TBK.double().cumsum(0) / steps_T11
    first, second = (means_TBK / temperature).softmax(-1).topk(2, dim=-1).values.unbind(-1)
    return first.cpu().numpy(), second.cpu().numpy()


def exits(confidence_TN: np.ndarray, threshold: float) -> np.ndarray:
    """The first step with a confidence above the threshold, int64 (N,)."""
    return _first(confidence_TN > threshold)


def changes(images_TN: np.ndarray) -> np.ndarray:
    """D of successive images (T, N, ...), float64 (T, N)."""
    import numpy as np

    flat = images_TN.reshape(*images_TN.shape[:2], -1).astype(np.float64)
    before = np.concatenate((np.zeros_like(flat[:1]), flat[:-1]))
    D: np.ndarray = np.abs(flat - before).sum(-1) / CHANGE_UNIT
    return D


def settled(changes_TN: np.ndarray, threshold: float) -> np.ndarray:
    """The first step from the third on whose change is below the threshold and the smallest of three falling ones, int64 (N,)."""
    import numpy as np

    D, done = changes_TN, np.zeros(changes_TN.shape, bool)
    done[2:] = (D[2:] < D[1:-1]) & (D[1:-1] < D[:-2]) & (D[2:] < threshold)
    return _first(done)


def _first(done_TN: np.ndarray) -> np.ndarray:
    import numpy as np

    step: np.ndarray = np.where(done_TN.any(0), done_TN.argmax(0) + 1, len(done_TN)).astype(np.int64)
    return step
