"""The neurons' loops for Numba. A block of neurons runs through all time steps while its potentials stay in the cache.

x, s and the gradients are (T, M) with M neurons; `plan` is (k, threshold, v_r, levels) in the arrays' dtype. Every statement
rounds as the reference does (no fast-math), so both fire the same spikes. Nothing but x is kept for the backward pass,
which computes the potentials again.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from retable.models.common.kernels import cached
from retable.models.common.numba_math import exp

DECAY, HARD, STRICT, DETACH = 1, 2, 4, 8
"""Bits of `flags`."""

_inline = njit(inline="always", error_model="numpy")
_kernel = cached(nogil=True, error_model="numpy")
_sum = cached(nogil=True, error_model="numpy", fastmath={"reassoc"})


def block_size(steps, scratch):
    """Neurons that run through time together, so that `scratch` values each (of 4 bytes) stay in a 256 KiB of cache.

    Long rows keep the memory's prefetchers going: a row of 1024 floats is one page, and costs a third more time.
    """
    return max(128, min(1 << 14, (1 << 16) // (scratch * steps)))


@_inline
def _charge(v, x, k, v_r, decay):
    off = v - v_r
    return v + (x - off) * k if decay else v - off * k + x


@_inline
def _fire_integer(h, threshold, levels):
    c = h / threshold
    c = levels * 0 if c < 0 else c
    return np.rint(levels if c > levels else c)


@_kernel
def _step(x, v, s, plan, flags):
    """One time step of a row: s_t into s; the potentials v move on."""
    k, threshold, v_r, levels = plan[0], plan[1], plan[2], plan[3]
    one, zero = x.dtype.type(1), x.dtype.type(0)
    decay, hard, strict = flags & DECAY, flags & HARD, flags & STRICT
    if levels > 0:
        for i in range(x.size):
            h = _charge(v[i], x[i], k, v_r, decay)
            c = _fire_integer(h, threshold, levels)
            s[i] = c
            v[i] = h - c * threshold
        return
    for i in range(x.size):
        h = _charge(v[i], x[i], k, v_r, decay)
        fires = h > threshold if strict else h >= threshold
        spike = one if fires else zero
        s[i] = spike if h == h else h
        rest = v_r if fires else h
        v[i] = rest if hard else h - spike * threshold


@_kernel
def _step_again(x, h, v, plan, flags):
    """The same for the backward pass: h_t into h; the potentials v move on."""
    k, threshold, v_r, levels = plan[0], plan[1], plan[2], plan[3]
    decay, hard, strict = flags & DECAY, flags & HARD, flags & STRICT
    if levels > 0:
        for i in range(x.size):
            h[i] = _charge(v[i], x[i], k, v_r, decay)
            v[i] = h[i] - _fire_integer(h[i], threshold, levels) * threshold
        return
    for i in range(x.size):
        charged = _charge(v[i], x[i], k, v_r, decay)
        h[i] = charged
        v[i] = _after(charged, threshold, v_r, hard, strict)


@_inline
def _after(h, threshold, v_r, hard, strict):
    fires = h > threshold if strict else h >= threshold
    rest = v_r if fires else h
    soft = h - threshold if fires else h
    return rest if hard else soft


@_kernel
def _reset(h, v, plan, flags):
    """v_t of the potentials h_t."""
    threshold, v_r, levels = plan[1], plan[2], plan[3]
    for i in range(h.size):
        if levels > 0:
            v[i] = h[i] - _fire_integer(h[i], threshold, levels) * threshold
        else:
            v[i] = _after(h[i], threshold, v_r, flags & HARD, flags & STRICT)


@_kernel
def forward(start, stop, block, x, v0, spikes, v_seq, plan, flags):
    """Blocks start ... stop - 1 of all steps; v_seq is (T, M), (1, M) for the last potential alone, or (0, M).

    v0 (1, M), or (0, M) for neurons at rest.
    """
    v = np.empty(block, x.dtype)
    for number in range(start, stop):
        a = number * block
        z = min(a + block, x.shape[1])
        _first(v[: z - a], v0, a, plan)
        for t in range(x.shape[0]):
            _step(x[t, a:z], v[: z - a], spikes[t, a:z], plan, flags)
            if v_seq.shape[0] > 1:
                v_seq[t, a:z] = v[: z - a]
        if v_seq.shape[0] == 1:
            v_seq[0, a:z] = v[: z - a]


@_kernel
def _first(v, v0, a, plan):
    """The potentials before the first step of the block at neuron a."""
    if v0.shape[0]:
        v[:] = v0[0, a : a + v.size]
    else:
        v[:] = plan[2]


@_kernel
def _slopes(h, ds, plan, surrogate, alpha):
    """d s / d h of a row; `surrogate` is the index of its name in `surrogates.NAMES`."""
    threshold, levels, one, half = plan[1], plan[3], h.dtype.type(1), h.dtype.type(0.5)
    zero, a, pi = h.dtype.type(0), h.dtype.type(alpha), h.dtype.type(np.pi)
    n = h.size
    if levels > 0:
        for i in range(n):
            c = h[i] / threshold
            ds[i] = one / threshold if (c >= zero) & (c <= levels) else zero
    elif surrogate == 0:
        for i in range(n):
            s = one / (one + exp(-a * (h[i] - threshold)))
            ds[i] = a * s * (one - s)
    elif surrogate == 1:
        for i in range(n):
            q = pi * half * a * (h[i] - threshold)
            ds[i] = half * a / (one + q * q)
    elif surrogate == 2:
        for i in range(n):
            ds[i] = a if abs(h[i] - threshold) < half / a else zero
    elif surrogate == 3:
        for i in range(n):
            q = a - a * a * abs(h[i] - threshold)
            ds[i] = zero if q < zero else q
    elif surrogate == 4:
        for i in range(n):
            ds[i] = half * a * exp(-a * abs(h[i] - threshold))
    elif surrogate == 5:
        for i in range(n):
            q = one / a + abs(h[i] - threshold)
            ds[i] = half / (a * q * q)
    elif surrogate == 6:
        for i in range(n):
            q = a * (h[i] - threshold)
            ds[i] = a / np.sqrt(pi) * exp(-q * q)
    else:
        for i in range(n):
            q = abs(h[i] - threshold) + one
            ds[i] = a / (q * q)


@_kernel
def _back_step(h, ds, dv, given, plan, flags):
    """dv turns from d L / d v_t into d L / d h_t; `given` is d L / d s_t."""
    threshold, v_r = plan[1], plan[2]
    one, zero = h.dtype.type(1), h.dtype.type(0)
    hard, strict, detach = flags & HARD, flags & STRICT, flags & DETACH
    for i in range(h.size):
        through = zero if detach else ds[i]
        fires = h[i] > threshold if strict else h[i] >= threshold
        gate = (zero if fires else one) + through * (v_r - h[i]) if hard else one - through * threshold
        dv[i] = dv[i] * gate + given[i] * ds[i]


@_kernel
def _hand_on(dv, out, plan, flags):
    """d L / d x_t into `out`; dv turns from d L / d h_t into d L / d v_{t-1}."""
    k, one = plan[0], dv.dtype.type(1)
    share = k if flags & DECAY else one
    for i in range(dv.size):
        out[i] = dv[i] * share
        dv[i] *= one - k


@_kernel
def backward(start, stop, block, x, v0, grad_s, grad_v, dx, dv0, dk, plan, flags, surrogate, alpha):
    """Blocks start ... stop - 1. A gradient is (T, M); grad_v may be (1, M), of the last step, and both (0, M), zero.

    dv0 is like v0; dk has a number a block, or none when it is not needed.
    """
    T, M = x.shape
    h = np.empty((T, block), x.dtype)
    v, ds, dv = np.empty(block, x.dtype), np.empty(block, x.dtype), np.empty(block, x.dtype)
    none = np.zeros(block, x.dtype)
    for number in range(start, stop):
        a = number * block
        z = min(a + block, M)
        n = z - a
        _first(v[:n], v0, a, plan)
        for t in range(T):
            _step_again(x[t, a:z], h[t, :n], v[:n], plan, flags)
        dv[:n] = 0
        if grad_v.shape[0] == 1:
            dv[:n] = grad_v[0, a:z]
        for t in range(T - 1, -1, -1):
            if grad_v.shape[0] > 1:
                dv[:n] += grad_v[t, a:z]
            _slopes(h[t, :n], ds[:n], plan, surrogate, alpha)
            given = grad_s[t, a:z] if grad_s.shape[0] > 0 else none[:n]
            _back_step(h[t, :n], ds[:n], dv[:n], given, plan, flags)
            if dk.shape[0] > 0:
                if t == 0:
                    _first(v[:n], v0, a, plan)
                else:
                    _reset(h[t - 1, :n], v[:n], plan, flags)
                dk[number] += _k_share(dv[:n], x[t, a:z], v[:n], plan, flags)
            _hand_on(dv[:n], dx[t, a:z], plan, flags)
        if dv0.shape[0]:
            dv0[0, a:z] = dv[:n]


@_sum
def _k_share(dh, x, v, plan, flags):
    """Sum of d L / d h times d h / d k."""
    v_r, total = plan[2], 0.0
    if flags & DECAY:
        for i in range(dh.size):
            total += np.float64(dh[i]) * np.float64(x[i] - (v[i] - v_r))
    else:
        for i in range(dh.size):
            total -= np.float64(dh[i]) * np.float64(v[i] - v_r)
    return total


@_kernel
def _elastic_step(x, u, s, before, amplitude, leak, binary):
    """u_t and s_t of a row from those of the step before, in place; `before` is that step's amplitude."""
    one = x.dtype.type(1)
    for i in range(x.size):
        u[i] = leak * u[i] * (before - s[i]) + x[i]
        q = u[i] / amplitude
        c = np.rint(q)
        c = -one if c < -one else c
        c = one if c > one else c
        s[i] = (np.sign(u[i]) if binary else c) * amplitude


@_kernel
def elastic_forward(start, stop, block, x, amplitudes, spikes, u_seq, leak, binary):
    """Blocks start ... stop - 1; u_seq (T, M) or without rows."""
    u, s = np.empty(block, x.dtype), np.empty(block, x.dtype)
    for number in range(start, stop):
        a = number * block
        z = min(a + block, x.shape[1])
        n = z - a
        u[:n], s[:n] = 0, 0
        for t in range(x.shape[0]):
            _elastic_step(x[t, a:z], u[:n], s[:n], amplitudes[t - 1], amplitudes[t], leak, binary)
            spikes[t, a:z] = s[:n]
            if u_seq.shape[0] > 0:
                u_seq[t, a:z] = u[:n]


@_kernel
def _elastic_back_step(u, s, du, given, out, slope, amplitude, leak, binary):
    """d L / d u_t from that of u_{t+1} in du, into du and `out`; d s_t / d alpha_t into `slope`."""
    one, zero = u.dtype.type(1), u.dtype.type(0)
    for i in range(u.size):
        q = u[i] / amplitude
        inside = (q >= -one) & (q <= one)
        du[i] = du[i] * (leak * (amplitude - s[i])) + given[i] * (one if inside else zero)
        out[i] = du[i]
        sign = np.sign(u[i])
        slope[i] = sign if binary else (np.rint(q) - q if inside else sign)


@_kernel
def elastic_backward(start, stop, block, x, amplitudes, grad, dx, damplitudes, leak, binary):
    """Blocks start ... stop - 1; damplitudes is (blocks, T), still to be summed and scaled."""
    T = x.shape[0]
    u, s = np.empty((T, block), x.dtype), np.empty((T, block), x.dtype)
    du, slope = np.empty(block, x.dtype), np.empty(block, x.dtype)
    for number in range(start, stop):
        a = number * block
        z = min(a + block, x.shape[1])
        n = z - a
        for t in range(T):
            if t == 0:
                u[0, :n], s[0, :n] = 0, 0
            else:
                u[t, :n], s[t, :n] = u[t - 1, :n], s[t - 1, :n]
            _elastic_step(x[t, a:z], u[t, :n], s[t, :n], amplitudes[t - 1], amplitudes[t], leak, binary)
        du[:n] = 0
        for t in range(T - 1, -1, -1):
            given = grad[t, a:z]
            _elastic_back_step(u[t, :n], s[t, :n], du[:n], given, dx[t, a:z], slope[:n], amplitudes[t], leak, binary)
            damplitudes[number, t] = _dot(given, slope[:n])


@_sum
def _dot(a, b):
    total = 0.0
    for i in range(a.size):
        total += np.float64(a[i]) * np.float64(b[i])
    return total
