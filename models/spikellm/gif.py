"""The generalised integrate-and-fire neuron in time (arXiv 2407.04752, section 3): T steps of L = 2^n levels.

    s_t = L - 1 where m_t >= L, else m_t;    m_{t+1} = m_t - s_t

An impulse m_1 = q charges it; there is no leak and the reset is soft. That is an I-LIF of `levels` L - 1 without decay, so
the shared operator runs it (and its backends, and the accountant sees its integer spikes).
"""

from __future__ import annotations

import torch
from torch import Tensor

from retable.models.common.backends import Backend
from retable.models.spiking.operators import integrate_and_fire


def steps_of(addbit: int) -> int:
    """T = 2^addbit."""
    return 1 << addbit


def largest_sum(bits: int, steps: int) -> int:
    """The largest integer that T steps of n bits can say: T (L - 1), which is T - 1 less than the quantiser's T L - 1."""
    return steps * (2**bits - 1)


def spikes(q: Tensor, bits: int, steps: int, backend: Backend | None = None) -> Tensor:
    """Integer spikes (T, ...) in 0 ... 2^bits - 1 of the integers q >= 0; their sum is min(q, T (2^bits - 1))."""
    x = torch.zeros((steps, *q.shape), dtype=q.dtype, device=q.device)
    x[0] = q
    fired, _ = integrate_and_fire(
        x, k=0.0, v_reset=None, decay_input=False, levels=2**bits - 1, detach_reset=True, backend=backend
    )
    return fired
