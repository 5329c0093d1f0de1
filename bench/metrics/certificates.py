"""Certificates of randomised smoothing: from counts of classes to a prediction and a radius that holds.

arXiv 1902.02918 (CERTIFY, PREDICT, Clopper-Pearson). Where a forward pass sees T independent noisy copies of the image, moving
the image moves all of them: a Gaussian's L2 radius shrinks by sqrt(T), and the L1 radius of Bernoulli spikes by T.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from retable.bench.errors import BenchError

if TYPE_CHECKING:
    import numpy as np

Law = Literal["gaussian", "bernoulli"]
ABSTAIN = -1
"""The prediction where the evidence does not suffice; its radius is 0."""
HALF = 0.5


def lower_bound(successes: np.ndarray, n: np.ndarray | int, alpha: float) -> np.ndarray:
    """Clopper-Pearson: what the probability behind `successes` of n exceeds with confidence 1 - alpha.

    0 for no success. Raises BenchError for alpha outside (0, 1) or counts outside [0, n].
    """
    import numpy as np
    from scipy.special import betaincinv

    check_alpha(alpha)
    k, n = np.broadcast_arrays(np.asarray(successes, dtype=np.float64), np.asarray(n, dtype=np.float64))
    if (k < 0).any() or (k > n).any() or (n < 1).any():
        raise BenchError("counts must lie between 0 and a number of draws of at least 1")
    bound: np.ndarray = betaincinv(np.maximum(k, 1), n - k + 1, alpha)
    return np.where(k == 0, 0.0, bound)


def radius(p_lower: np.ndarray, law: Law, sigma: float, copies: int) -> np.ndarray:
    """Within this L2 (gaussian) or L1 (bernoulli) distance the smoothed class cannot change; 0 where p_lower is at most 1/2."""
    import numpy as np
    from scipy.special import ndtri

    check_noise(law, sigma, copies)
    p = np.maximum(np.asarray(p_lower, dtype=np.float64), HALF)
    within: np.ndarray = sigma / math.sqrt(copies) * ndtri(p) if law == "gaussian" else (p - HALF) / copies
    return within


def certify(
    selection_NK: np.ndarray, estimation_NK: np.ndarray, *, alpha: float, law: Law, sigma: float, copies: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(prediction or ABSTAIN, radius, lower bound of its probability), each (N,), of counts by class.

    The class is the commonest of `selection_NK` (the lowest index of equals); only draws independent of those may bound its
    probability.
    """
    import numpy as np

    guess = selection_NK.argmax(1)
    p_lower = lower_bound(estimation_NK[np.arange(len(guess)), guess], estimation_NK.sum(1), alpha)
    sure = p_lower >= HALF
    within = np.where(sure, radius(p_lower, law, sigma, copies), 0.0)
    return np.where(sure, guess, ABSTAIN), within, p_lower


def predict(counts_NK: np.ndarray, alpha: float) -> tuple[np.ndarray, np.ndarray]:
    """(class or ABSTAIN, p-value), each (N,): abstains where the two commonest classes do not differ at level alpha."""
    import numpy as np
    from scipy.stats import binomtest

    check_alpha(alpha)
    top = np.argsort(-counts_NK, axis=1, kind="stable")[:, :2]
    pairs = np.take_along_axis(counts_NK, top, 1)
    p = np.array([binomtest(int(a), int(a + b), HALF).pvalue if a + b else 1.0 for a, b in pairs])
    return np.where(p > alpha, ABSTAIN, top[:, 0]), p


def surely(share: float, n: int, alpha: float, rho: float) -> float:
    """What a certified accuracy over n images exceeds with probability 1 - rho, each certificate wrong with alpha; may be below 0."""
    penalty = alpha + math.sqrt(alpha * (1 - alpha) * math.log(1 / rho) / n) + math.log(1 / rho) / (3 * n)
    return share - penalty


def check_alpha(alpha: float) -> None:
    """Raises BenchError unless alpha lies strictly between 0 and 1."""
    if not 0 < alpha < 1:
        raise BenchError(f"`alpha` must lie strictly between 0 and 1, not be {alpha}")


def check_noise(law: str, sigma: float, copies: int) -> None:
    """Raises BenchError for a law without a certificate, a Gaussian without deviation or fewer than one copy."""
    if law not in ("gaussian", "bernoulli"):
        raise BenchError(f"noise of the law {law!r} has no certificate; there is one for gaussian and bernoulli")
    if law == "gaussian" and not 0 < sigma < math.inf:
        raise BenchError(f"`sigma` must be above 0 for a certificate, not {sigma}")
    if copies < 1:
        raise BenchError(f"`copies` must be at least 1, not {copies}")
