"""Constants of the spiking neuron and of its normalisation, without torch: suites check them before anything is imported."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Dynamics:
    """Decay k in [0, 1), threshold V_th, rho and eps of STFN, width a of the rectangular surrogate, penalty r of rank-order coding.

    The paper states none of these values. V_th enters twice, as the scale rho V_th of the normalised input and as the
    threshold, so changing it alone changes nothing but the affine part: sweep rho.
    """

    decay: float = 0.25
    threshold: float = 0.5
    rho: float = 1.0
    eps: float = 1e-5
    window: float = 1.0
    penalty: float = 0.9

    def __post_init__(self) -> None:
        if not 0 <= self.decay < 1:
            raise ValueError(f"`decay` must lie in [0, 1), not be {self.decay}")
        if not 0 < self.penalty < 1:
            raise ValueError(f"`penalty` must lie between 0 and 1, not be {self.penalty}")
        for name in ("threshold", "rho", "eps", "window"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"`{name}` must be above 0, not {getattr(self, name)}")
