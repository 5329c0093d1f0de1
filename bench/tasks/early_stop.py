"""Input-aware early stop: after which step each sample is done. The rules are PRIME's (arXiv 2407.18625, released code).

A classifier is done at the first step t at which the softmax of its mean logits, m_t over a temperature, is surer than a
threshold. A filling is done when its successive images change less and less, and little: D_n = sum |R_n - R_{n-1}| / 100 with
R_0 = 0; from the third step on where D_n < D_{n-1} < D_{n-2} and D_n is below a threshold. Both rules look at one sample
alone, so that no batch changes them. Steps count from 1; who is never done runs all T.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

CHANGE_UNIT = 100
"""The released code divides summed changes by this."""


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


def settled(images_TN: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """(steps int64 (N,), changes D float64 (T, N)) of successive images (T, N, ...)."""
    import numpy as np

    flat = images_TN.reshape(*images_TN.shape[:2], -1).astype(np.float64)
    before = np.concatenate((np.zeros_like(flat[:1]), flat[:-1]))
    D = np.abs(flat - before).sum(-1) / CHANGE_UNIT
    done = np.zeros(D.shape, bool)
    done[2:] = (D[2:] < D[1:-1]) & (D[1:-1] < D[:-2]) & (D[2:] < threshold)
    return _first(done), D


def _first(done_TN: np.ndarray) -> np.ndarray:
    import numpy as np

    step: np.ndarray = np.where(done_TN.any(0), done_TN.argmax(0) + 1, len(done_TN)).astype(np.int64)
    return step
