"""The loops of the scans for Numba: channels side by side in vector registers, time step after time step.

Arrays are time-major, so that the channels of a step are neighbours: u, delta, y (B, L, D); A (N, D); B, C (B, G, L, N).
A unit of work is one sequence and up to `lanes` channels of one group; its state (N, lanes) stays in the first-level cache,
and nothing of size L x D x N is ever written. Training keeps the state before every `CHUNK` steps; the backward pass runs a
chunk forward again with its exponentials, then backwards without any.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from retable.models.common.kernels import cached
from retable.models.common.numba_math import exp, softplus

CHUNK = 16
"""Steps between two kept states."""
LANES = 512
"""The most channels that run side by side."""

_loose = {"contract", "reassoc"}
_kernel = cached(nogil=True, error_model="numpy", fastmath=_loose)
_inline = njit(inline="always", error_model="numpy", fastmath=_loose)


@_inline
def _unit(item, groups, blocks, share, lanes):
    """(sequence, group, first channel, channels) of a unit of work; `share` channels a group in `blocks` blocks."""
    b, rest = divmod(item, groups * blocks)
    g, block = divmod(rest, blocks)
    return b, g, g * share + block * lanes, min(lanes, share - block * lanes)


@_kernel
def softplus_rows(start, stop, x, bias, y):
    """y = softplus(x + bias) for rows start ... stop - 1 of (rows, D)."""
    for row in range(start, stop):
        for d in range(bias.size):
            y[row, d] = softplus(x[row, d] + bias[d])


@_kernel
def _advance(x, A, dt, dtu, y, b, c):
    """x = exp(dt A) x + dtu b and y += c x, for one step and one state index."""
    for i in range(x.size):
        state = exp(dt[i] * A[i]) * x[i] + dtu[i] * b
        x[i] = state
        y[i] += c * state


@_kernel
def scan_forward(start, stop, lanes, u, delta, A, B, C, y, checkpoints, last):
    """Units start ... stop - 1; checkpoints (B, chunks, N, D) may have no chunks; last (B, N, D)."""
    (L, D), (N, G) = u.shape[1:], (A.shape[0], B.shape[1])
    share = D // G
    blocks = (share + lanes - 1) // lanes
    x_, A_, dtu_ = np.empty((N, lanes), u.dtype), np.empty((N, lanes), u.dtype), np.empty(lanes, u.dtype)
    keep = checkpoints.shape[1] > 0
    for item in range(start, stop):
        b, g, d, w = _unit(item, G, blocks, share, lanes)
        x_[:] = 0
        A_[:, :w] = A[:, d : d + w]
        for t in range(L):
            if keep and t % CHUNK == 0:
                checkpoints[b, t // CHUNK, :, d : d + w] = x_[:, :w]
            dt, y_t, u_t = delta[b, t, d : d + w], y[b, t, d : d + w], u[b, t, d : d + w]
            for i in range(w):
                dtu_[i] = dt[i] * u_t[i]
                y_t[i] = 0
            for n in range(N):
                _advance(x_[n, :w], A_[n], dt, dtu_, y_t, B[b, g, t, n], C[b, g, t, n])
        last[b, :, d : d + w] = x_[:, :w]


@_kernel
def _decay(a, A, dt):
    for i in range(a.size):
        a[i] = exp(dt[i] * A[i])


@_kernel
def _follow(after, before, a, dtu, b):
    for i in range(after.size):
        after[i] = a[i] * before[i] + dtu[i] * b


@_kernel
def _retreat(g, carry, dy, x, dtu, dub, b, c):
    """g = dL/dx_l = c dy + carry; its share of dL/d(dt u) into dub; returns dL/db and dL/dc."""
    db, dc = g.dtype.type(0), g.dtype.type(0)
    for i in range(g.size):
        g[i] = dy[i] * c + carry[i]
    for i in range(g.size):
        db += g[i] * dtu[i]
        dc += dy[i] * x[i]
    for i in range(g.size):
        dub[i] += g[i] * b
    return db, dc


@_kernel
def _through_decay(g, carry, a, before, A, dA, dt, ddt):
    """carry = a g for the step before; the decay's own gradient into dA and ddt. g is used up."""
    for i in range(g.size):
        carry[i] = g[i] * a[i]
    for i in range(g.size):
        g[i] = carry[i] * before[i]
    for i in range(g.size):
        dA[i] += g[i] * dt[i]
    for i in range(g.size):
        ddt[i] += g[i] * A[i]


@_kernel
def scan_backward(start, stop, lanes, u, delta, A, B, C, checkpoints, dy, du, ddelta, dA, dB, dC):
    """Units start ... stop - 1. dA (B, N, D), dB and dC (B, G, blocks, L, N): shares, still to be summed."""
    (L, D), (N, G) = u.shape[1:], (A.shape[0], B.shape[1])
    share = D // G
    blocks = (share + lanes - 1) // lanes
    states, a_ = np.empty((CHUNK + 1, N, lanes), u.dtype), np.empty((CHUNK, N, lanes), u.dtype)
    carry, dA_, A_ = np.empty((N, lanes), u.dtype), np.empty((N, lanes), u.dtype), np.empty((N, lanes), u.dtype)
    dtu_, g = np.empty((CHUNK, lanes), u.dtype), np.empty(lanes, u.dtype)
    dub, ddt = np.empty(lanes, u.dtype), np.empty(lanes, u.dtype)
    for item in range(start, stop):
        b, grp, d, w = _unit(item, G, blocks, share, lanes)
        block = item % blocks
        carry[:], dA_[:] = 0, 0
        A_[:, :w] = A[:, d : d + w]
        for chunk in range(checkpoints.shape[1] - 1, -1, -1):
            first = chunk * CHUNK
            steps = min(CHUNK, L - first)
            states[0, :, :w] = checkpoints[b, chunk, :, d : d + w]
            for j in range(steps):
                dt, u_t = delta[b, first + j, d : d + w], u[b, first + j, d : d + w]
                for i in range(w):
                    dtu_[j, i] = dt[i] * u_t[i]
                for n in range(N):
                    _decay(a_[j, n, :w], A_[n], dt)
                    _follow(states[j + 1, n, :w], states[j, n], a_[j, n], dtu_[j], B[b, grp, first + j, n])
            for j in range(steps - 1, -1, -1):
                t = first + j
                dt, u_t, dy_t = delta[b, t, d : d + w], u[b, t, d : d + w], dy[b, t, d : d + w]
                dub[:], ddt[:] = 0, 0
                for n in range(N):
                    db, dc = _retreat(
                        g[:w], carry[n], dy_t, states[j + 1, n], dtu_[j], dub, B[b, grp, t, n], C[b, grp, t, n]
                    )
                    dB[b, grp, block, t, n], dC[b, grp, block, t, n] = db, dc
                    _through_decay(g[:w], carry[n], a_[j, n], states[j, n], A_[n], dA_[n], dt, ddt)
                du_t, ddelta_t = du[b, t, d : d + w], ddelta[b, t, d : d + w]
                for i in range(w):
                    du_t[i] = dub[i] * dt[i]
                    ddelta_t[i] = dub[i] * u_t[i] + ddt[i]
        dA[b, :, d : d + w] = dA_[:, :w]


@_kernel
def _update_row(state, A, b, c, dt, dtu):
    """The N states of one channel, moved on; returns y."""
    y = state.dtype.type(0)
    for n in range(state.size):
        state[n] = exp(dt * A[n]) * state[n] + dtu * b[n]
        y += c[n] * state[n]
    return y


@_kernel
def state_update(start, stop, state, x, dt, A, B, C, y):
    """Sequences start ... stop - 1 of one step: state (B, D, N), x, dt and y (B, D), B and C (B, G, N)."""
    D = x.shape[1]
    for b in range(start, stop):
        for d in range(D):
            g = d // (D // B.shape[1])
            y[b, d] = _update_row(state[b, d], A[d], B[b, g], C[b, g], dt[b, d], dt[b, d] * x[b, d])


@_kernel
def _step_row(state, b, c, decay, dtx):
    y = state.dtype.type(0)
    for n in range(state.size):
        state[n] = decay * state[n] + dtx * b[n]
        y += c[n] * state[n]
    return y


@_kernel
def ssd_step(start, stop, state, x, dt, A, B, C, y):
    """Heads start ... stop - 1 of all sequences: state (B, H, P, N), x and y (B, H, P), dt (B, H), B and C (B, G, N)."""
    H, P = x.shape[1:]
    for item in range(start, stop):
        b, h = divmod(item, H)
        g = h // (H // B.shape[1])
        step = dt[b, h]
        decay = exp(step * A[h])
        for p in range(P):
            y[b, h, p] = _step_row(state[b, h, p], B[b, g], C[b, g], decay, step * x[b, h, p])


@_kernel
def _add_product(y, x, w):
    for c in range(y.size):
        y[c] += x[c] * w[c]


@_kernel
def conv_forward(start, stop, x, taps, bias, y):
    """Sequences start ... stop - 1: x and y (B, L, C), taps (W, C), the last of which meets the present input."""
    W = taps.shape[0]
    for b in range(start, stop):
        for t in range(x.shape[1]):
            y[b, t] = bias
            for k in range(min(W, t + 1)):
                _add_product(y[b, t], x[b, t - k], taps[W - 1 - k])


@_kernel
def conv_backward(start, stop, x, taps, dy, dx, shares):
    """Gradients of sequences start ... stop - 1; shares (B, W + 1, C) of the taps' and, last, of the bias's."""
    W, L = taps.shape[0], x.shape[1]
    for b in range(start, stop):
        shares[b] = 0
        for t in range(L):
            dx[b, t] = 0
            for k in range(min(W, L - t)):
                _add_product(dx[b, t], dy[b, t + k], taps[W - 1 - k])
            for k in range(min(W, t + 1)):
                _add_product(shares[b, W - 1 - k], dy[b, t], x[b, t - k])
            shares[b, W] += dy[b, t]


@_kernel
def conv_step(x, state, taps, bias, y):
    """x and y (B, C), state (W, B, C) of the last inputs, moved on by x, taps (W, C)."""
    W = taps.shape[0]
    for b in range(x.shape[0]):
        y[b] = bias
        for k in range(W):
            state[k, b] = state[k + 1, b] if k < W - 1 else x[b]
            _add_product(y[b], state[k, b], taps[k])
