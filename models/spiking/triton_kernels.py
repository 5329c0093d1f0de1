"""The neurons' loops for Triton: a program takes `BLOCK` neurons through all time steps, their potentials in registers.

x, s and the gradients are (T, M) with M neurons. `DECAY`, `HARD`, `STRICT`, `LEVELS` and `DETACH` are the fields of
`reference.Neuron`. Every statement rounds as the reference does, so both fire the same spikes: the launches forbid fused
multiply-adds, divisions that decide something are IEEE ones, and numbers come in as float64 and are rounded to x's dtype.
Nothing but x is kept for the backward pass, which computes the potentials again into scratch memory (T, M).
"""

from __future__ import annotations

import math

import triton
import triton.language as tl

PI = tl.constexpr(math.pi)
SQRT_PI = tl.constexpr(math.sqrt(math.pi))


@triton.jit
def _divide(a, b):
    """a / b to the nearest number: a plain float32 division is approximate on a GPU."""
    if a.dtype == tl.float64:
        return a / b
    else:
        return tl.div_rn(a, b)


@triton.jit
def _round(c):
    """Half to even, NaN for NaN: from 2^23 (float64: 2^52) on there are no fractions, adding it leaves the rounding to the adder."""
    whole = tl.full((), 4503599627370496.0 if c.dtype == tl.float64 else 8388608.0, c.dtype)
    size = tl.abs(c)
    near = (size + whole) - whole
    return tl.where(size < whole, tl.where(c < 0, -near, near), c)


@triton.jit
def _clip(c, low, high):
    c = tl.where(c < low, tl.full((), low, c.dtype), c)
    return tl.where(c > high, tl.full((), high, c.dtype), c)


@triton.jit
def _sign(q):
    one = tl.full((), 1, q.dtype)
    return tl.where(q > 0, one, tl.where(q < 0, -one, q))


@triton.jit
def _charge(v, x, k, v_r, DECAY: tl.constexpr):
    off = v - v_r
    if DECAY:
        return v + (x - off) * k
    else:
        return v - off * k + x


@triton.jit
def _fire(h, threshold, STRICT: tl.constexpr, LEVELS: tl.constexpr):
    if LEVELS > 0:
        return _round(_clip(_divide(h, threshold), 0, LEVELS))
    else:
        fires = h > threshold if STRICT else h >= threshold
        return tl.where(h == h, fires.to(h.dtype), h)


@triton.jit
def _reset(h, s, threshold, v_r, HARD: tl.constexpr):
    if HARD:
        return tl.where(s > 0, v_r, h)
    else:
        return h - s * threshold


@triton.jit
def _at_rest(v0, cols, inside, v_r, BLOCK: tl.constexpr, START: tl.constexpr):
    """The potentials before the first step: v0 (M) if `START`, else v_r."""
    if START:
        return tl.load(v0 + cols, mask=inside, other=0)
    else:
        return tl.zeros((BLOCK,), v_r.dtype) + v_r


@triton.jit
def _columns(M, BLOCK: tl.constexpr):
    """(the program's neurons, which of them exist); 64-bit numbers, as M may be large."""
    cols = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    return cols, cols < M


@triton.jit
def forward(
    x,
    v0,
    k,
    spikes,
    v_seq,
    T,
    M,
    threshold: tl.float64,
    v_r: tl.float64,
    DECAY: tl.constexpr,
    HARD: tl.constexpr,
    STRICT: tl.constexpr,
    LEVELS: tl.constexpr,
    START: tl.constexpr,
    POTENTIALS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """`POTENTIALS` is "none", "last" (v_seq (1, M)) or "all" ((T, M)); v0 (1, M) is read if `START`."""
    cols, inside = _columns(M, BLOCK)
    k = tl.load(k)
    threshold, v_r = tl.full((), threshold, k.dtype), tl.full((), v_r, k.dtype)
    v = _at_rest(v0, cols, inside, v_r, BLOCK, START)
    for _ in range(T):
        h = _charge(v, tl.load(x + cols, mask=inside, other=0), k, v_r, DECAY)
        s = _fire(h, threshold, STRICT, LEVELS)
        tl.store(spikes + cols, s, mask=inside)
        v = _reset(h, s, threshold, v_r, HARD)
        if POTENTIALS == "all":
            tl.store(v_seq + cols, v, mask=inside)
            v_seq += M
        x += M
        spikes += M
    if POTENTIALS == "last":
        tl.store(v_seq + cols, v, mask=inside)


@triton.jit
def _slope(h, threshold, alpha, LEVELS: tl.constexpr, SURROGATE: tl.constexpr):
    """d s / d h; alpha is a float64, so that its constants round as those of `surrogates.DERIVATIVES` do."""
    one, zero = tl.full((), 1, h.dtype), tl.full((), 0, h.dtype)
    z = h - threshold
    size = tl.abs(z)
    a = tl.full((), alpha, h.dtype)
    if LEVELS > 0:
        c = _divide(h, threshold)
        ds = tl.where((c >= 0) & (c <= LEVELS), one, zero) / threshold
    elif SURROGATE == "sigmoid":
        s = one / (one + tl.exp(-a * z))
        ds = a * s * (one - s)
    elif SURROGATE == "atan":
        q = tl.full((), PI / 2 * alpha, h.dtype) * z
        ds = tl.full((), alpha / 2, h.dtype) / (one + q * q)
    elif SURROGATE == "rect":
        ds = tl.where(size < tl.full((), 1 / (2 * alpha), h.dtype), a, zero)
    elif SURROGATE == "piecewise_quadratic":
        q = a - tl.full((), alpha * alpha, h.dtype) * size
        ds = tl.where(q < 0, zero, q)
    elif SURROGATE == "piecewise_exp":
        ds = tl.full((), alpha / 2, h.dtype) * tl.exp(-a * size)
    elif SURROGATE == "soft_sign":
        q = tl.full((), 1 / alpha, h.dtype) + size
        ds = one / (tl.full((), 2 * alpha, h.dtype) * q * q)
    elif SURROGATE == "erf":
        q = a * z
        ds = tl.full((), alpha / SQRT_PI, h.dtype) * tl.exp(-(q * q))
    else:
        tl.static_assert(SURROGATE == "super_spike")
        q = size + one
        ds = a / (q * q)
    return ds


@triton.jit
def _reset_slope(h, s, ds, threshold, v_r, HARD: tl.constexpr, DETACH: tl.constexpr):
    """d v / d h."""
    one = tl.full((), 1, h.dtype)
    direct = one - (s > 0).to(h.dtype) if HARD else tl.zeros_like(h) + one
    if DETACH:
        return direct
    elif HARD:
        return direct + ds * (v_r - h)
    else:
        return direct - ds * threshold


@triton.jit
def backward(
    x,
    v0,
    k,
    grad_s,
    grad_v,
    h_seq,
    dx,
    dv0,
    dk,
    T,
    M,
    threshold: tl.float64,
    v_r: tl.float64,
    alpha: tl.float64,
    DECAY: tl.constexpr,
    HARD: tl.constexpr,
    STRICT: tl.constexpr,
    LEVELS: tl.constexpr,
    DETACH: tl.constexpr,
    SURROGATE: tl.constexpr,
    START: tl.constexpr,
    GRAD_S: tl.constexpr,
    GRAD_V: tl.constexpr,
    NEED_K: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """`GRAD_V` is "none", "last" (grad_v (1, M)) or "all"; h_seq (T, M) is scratch; dk has a number a program if `NEED_K`."""
    cols, inside = _columns(M, BLOCK)
    k = tl.load(k)
    threshold, v_r = tl.full((), threshold, k.dtype), tl.full((), v_r, k.dtype)
    v = _at_rest(v0, cols, inside, v_r, BLOCK, START)
    start = v
    for _ in range(T):
        h = _charge(v, tl.load(x + cols, mask=inside, other=0), k, v_r, DECAY)
        tl.store(h_seq + cols, h, mask=inside)
        v = _reset(h, _fire(h, threshold, STRICT, LEVELS), threshold, v_r, HARD)
        x += M
        h_seq += M
    tl.debug_barrier()  # h_seq is read by other threads than wrote it if the compiler lays the loads out differently
    end = tl.cast(T, tl.int64) * M
    grad_s += end
    dx += end
    dv = tl.zeros_like(v)
    share = tl.zeros_like(v)
    if GRAD_V == "last":
        dv = tl.load(grad_v + cols, mask=inside, other=0)
    else:
        grad_v += end
    for i in range(T):
        x -= M
        h_seq -= M
        dx -= M
        h = tl.load(h_seq + cols, mask=inside, other=0)
        ds = _slope(h, threshold, alpha, LEVELS, SURROGATE)
        if GRAD_V == "all":
            grad_v -= M
            dv += tl.load(grad_v + cols, mask=inside, other=0)
        dh = dv * _reset_slope(h, _fire(h, threshold, STRICT, LEVELS), ds, threshold, v_r, HARD, DETACH)
        if GRAD_S:
            grad_s -= M
            dh += tl.load(grad_s + cols, mask=inside, other=0) * ds
        tl.store(dx + cols, dh * k if DECAY else dh, mask=inside)
        if NEED_K:
            first = i == T - 1
            h = tl.load(h_seq - M + cols, mask=inside & (i < T - 1), other=0)
            v = _reset(h, _fire(h, threshold, STRICT, LEVELS), threshold, v_r, HARD)
            off = tl.where(first, start, v) - v_r
            share += dh * (tl.load(x + cols, mask=inside, other=0) - off) if DECAY else -dh * off
        dv = dh * (1 - k)
    if START:
        tl.store(dv0 + cols, dv, mask=inside)
    if NEED_K:
        tl.store(dk + tl.program_id(0), tl.sum(tl.where(inside, share, tl.zeros_like(share)), 0))


@triton.jit
def _elastic_spike(u, amplitude, BINARY: tl.constexpr):
    q = _divide(u, amplitude)
    if BINARY:
        return _sign(u) * amplitude
    else:
        return _round(_clip(q, -1, 1)) * amplitude


@triton.jit
def elastic_forward(
    x,
    amplitudes,
    spikes,
    u_seq,
    T,
    M,
    leak: tl.float64,
    BINARY: tl.constexpr,
    WHOLE_U: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """amplitudes (T,); u_seq (T, M) is written if `WHOLE_U`."""
    cols, inside = _columns(M, BLOCK)
    before = tl.load(amplitudes)
    leak = tl.full((), leak, before.dtype)
    u = tl.zeros((BLOCK,), before.dtype)
    s = u
    for _ in range(T):
        u = leak * u * (before - s) + tl.load(x + cols, mask=inside, other=0)
        before = tl.load(amplitudes)
        s = _elastic_spike(u, before, BINARY)
        tl.store(spikes + cols, s, mask=inside)
        if WHOLE_U:
            tl.store(u_seq + cols, u, mask=inside)
            u_seq += M
        x += M
        spikes += M
        amplitudes += 1


@triton.jit
def elastic_backward(
    x, amplitudes, grad, u_seq, dx, damplitudes, T, M, leak: tl.float64, BINARY: tl.constexpr, BLOCK: tl.constexpr
):
    """u_seq (T, M) is scratch; damplitudes (programs, T), still to be summed and scaled."""
    cols, inside = _columns(M, BLOCK)
    before = tl.load(amplitudes)
    leak, one = tl.full((), leak, before.dtype), tl.full((), 1, before.dtype)
    u = tl.zeros((BLOCK,), before.dtype)
    s = u
    for _ in range(T):
        u = leak * u * (before - s) + tl.load(x + cols, mask=inside, other=0)
        before = tl.load(amplitudes)
        s = _elastic_spike(u, before, BINARY)
        tl.store(u_seq + cols, u, mask=inside)
        x += M
        u_seq += M
        amplitudes += 1
    tl.debug_barrier()  # as in `backward`
    end = tl.cast(T, tl.int64) * M
    grad += end
    dx += end
    damplitudes += (tl.program_id(0) + 1).to(tl.int64) * T
    du = tl.zeros((BLOCK,), before.dtype)
    for _ in range(T):
        amplitudes -= 1
        u_seq -= M
        grad -= M
        dx -= M
        damplitudes -= 1
        amplitude = tl.load(amplitudes)
        u = tl.load(u_seq + cols, mask=inside, other=0)
        given = tl.load(grad + cols, mask=inside, other=0)
        q = _divide(u, amplitude)
        near = (q >= -1) & (q <= 1)
        du = du * (leak * (amplitude - _elastic_spike(u, amplitude, BINARY))) + given * near.to(u.dtype)
        tl.store(dx + cols, du, mask=inside)
        slope = _sign(u) if BINARY else tl.where(near, _round(_clip(q, -one, one)) - q, _sign(u))
        tl.store(damplitudes, tl.sum(given * slope, 0))
