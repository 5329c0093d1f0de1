"""PRIME's neurons for Numba: one pass over memory forth and one back. Every statement rounds as the reference does.

Arrays are (T, M) with M neurons, `plan` is (leak, threshold, slope, centre) in their dtype.
"""

from __future__ import annotations

import numpy as np

from retable.models.common.kernels import cached

BLOCK = 2048
"""Neurons that run through all steps together, so that their potentials stay in the cache."""

_kernel = cached(nogil=True, error_model="numpy")


@_kernel
def forward(x, v0, spikes, u, plan):
    """Spikes and potentials before the reset of x, from the potentials v0 (M)."""
    leak, threshold, slope = plan[0], plan[1], plan[2]
    one, zero = x.dtype.type(1), x.dtype.type(0)
    v = np.empty(BLOCK, x.dtype)
    for a in range(0, x.shape[1], BLOCK):
        z = min(a + BLOCK, x.shape[1])
        v[: z - a] = v0[a:z]
        for t in range(x.shape[0]):
            for i in range(a, z):
                charged = v[i - a] * leak + x[t, i]
                h = charged if charged > zero else charged * slope
                fires = h > threshold
                u[t, i] = h
                spikes[t, i] = one if fires else zero
                v[i - a] = zero if fires else h


@_kernel
def backward(grad, u, dx, plan):
    """Gradient of x from that of the spikes."""
    leak, threshold, slope, centre = plan[0], plan[1], plan[2], plan[3]
    one, zero, half = u.dtype.type(1), u.dtype.type(0), u.dtype.type(0.5)
    later = np.empty(BLOCK, u.dtype)
    for a in range(0, u.shape[1], BLOCK):
        z = min(a + BLOCK, u.shape[1])
        later[:] = zero
        for back in range(u.shape[0]):
            t = u.shape[0] - 1 - back
            for i in range(a, z):
                h = u[t, i]
                window = one if abs(h - centre) < half else zero
                through = (zero if h > threshold else one) - h * window
                d = window * grad[t, i] + through * leak * later[i - a]
                d = d if h > zero else d * slope
                dx[t, i] = d
                later[i - a] = d
