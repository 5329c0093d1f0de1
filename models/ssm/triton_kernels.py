"""The scans' loops for Triton; run in Triton's interpreter only, never on a GPU.

Arrays are time-major, as for the compiled CPU kernels: u, delta, y (B, L, D); A (D, N); B, C (B, G, L, N). A program of the
scan is one sequence and `BD` channels of one group, whose state (BD, BN) stays in registers; BN is N rounded up to a power
of two. Training keeps the state before every `CHUNK` steps; the backward pass computes a chunk's states again into scratch
memory. Sums over channels are stored by program, and torch adds them in one order.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _channels(D, G, blocks, BD: tl.constexpr):
    """(sequence, group, block, channels, which of them exist) of a program."""
    b = tl.program_id(1).to(tl.int64)
    g = tl.program_id(0) // blocks
    block = tl.program_id(0) % blocks
    share = D // G
    inside = block * BD + tl.arange(0, BD)
    return b, g, block, g * share + inside, inside < share


@triton.jit
def scan_forward(
    u,
    delta,
    A,
    B,
    C,
    y,
    states,
    last,
    D,
    L,
    N,
    G,
    blocks,
    chunks,
    KEEP: tl.constexpr,
    CHUNK: tl.constexpr,
    BD: tl.constexpr,
    BN: tl.constexpr,
):
    """states (B, chunks, D, N) are written if `KEEP`; last (B, D, N)."""
    b, g, _, d, has_d = _channels(D, G, blocks, BD)
    n = tl.arange(0, BN)
    has_n = n < N
    tile, has = d[:, None] * N + n[None, :], has_d[:, None] & has_n[None, :]
    a_log = tl.load(A + tile, mask=has, other=0)
    x = tl.zeros((BD, BN), a_log.dtype)
    for t in range(L):
        if KEEP:
            if t % CHUNK == 0:
                tl.store(states + (b * chunks + t // CHUNK) * D * N + tile, x, mask=has)
        row, state = (b * L + t) * D + d, ((b * G + g) * L + t) * N + n
        dt = tl.load(delta + row, mask=has_d, other=0)
        dtu = dt * tl.load(u + row, mask=has_d, other=0)
        b_t, c_t = tl.load(B + state, mask=has_n, other=0), tl.load(C + state, mask=has_n, other=0)
        x = tl.exp(dt[:, None] * a_log) * x + dtu[:, None] * b_t[None, :]
        tl.store(y + row, tl.sum(x * c_t[None, :], 1), mask=has_d)
    tl.store(last + b * D * N + tile, x, mask=has)


@triton.jit
def scan_backward(
    u,
    delta,
    A,
    B,
    C,
    states,
    dy,
    scratch,
    du,
    ddelta,
    dA,
    dB,
    dC,
    D,
    L,
    N,
    G,
    blocks,
    chunks,
    CHUNK: tl.constexpr,
    BD: tl.constexpr,
    BN: tl.constexpr,
):
    """dA (B, D, N); dB and dC (B, G, blocks, L, N); scratch (programs, CHUNK, BD, BN)."""
    b, g, block, d, has_d = _channels(D, G, blocks, BD)
    n = tl.arange(0, BN)
    has_n = n < N
    tile, has = d[:, None] * N + n[None, :], has_d[:, None] & has_n[None, :]
    own = tl.arange(0, BD)[:, None] * BN + n[None, :]
    scratch += (b * (G * blocks) + tl.program_id(0)) * CHUNK * BD * BN
    a_log = tl.load(A + tile, mask=has, other=0)
    carry = tl.zeros((BD, BN), a_log.dtype)
    share = tl.zeros((BD, BN), a_log.dtype)
    for i in range(chunks):
        chunk = chunks - 1 - i
        first = chunk * CHUNK
        steps = tl.minimum(CHUNK, L - first)
        x = tl.load(states + (b * chunks + chunk) * D * N + tile, mask=has, other=0)
        for j in range(steps):
            row, state = (b * L + first + j) * D + d, ((b * G + g) * L + first + j) * N + n
            dt = tl.load(delta + row, mask=has_d, other=0)
            dtu = dt * tl.load(u + row, mask=has_d, other=0)
            tl.store(scratch + j * BD * BN + own, x)
            x = tl.exp(dt[:, None] * a_log) * x + dtu[:, None] * tl.load(B + state, mask=has_n, other=0)[None, :]
        tl.debug_barrier()  # scratch is read by other threads than wrote it if the loads are laid out differently
        for k in range(steps):
            j = steps - 1 - k
            row, state = (b * L + first + j) * D + d, ((b * G + g) * L + first + j) * N + n
            dt, u_t = tl.load(delta + row, mask=has_d, other=0), tl.load(u + row, mask=has_d, other=0)
            b_t, c_t = tl.load(B + state, mask=has_n, other=0), tl.load(C + state, mask=has_n, other=0)
            dy_t = tl.load(dy + row, mask=has_d, other=0)
            before = tl.load(scratch + j * BD * BN + own)
            a = tl.exp(dt[:, None] * a_log)
            dtu = dt * u_t
            after = a * before + dtu[:, None] * b_t[None, :]
            grad = dy_t[:, None] * c_t[None, :] + carry  # dL/dx_t
            shared = (((b * G + g) * blocks + block) * L + first + j) * N + n
            tl.store(dC + shared, tl.sum(tl.where(has, dy_t[:, None] * after, 0), 0), mask=has_n)
            tl.store(dB + shared, tl.sum(tl.where(has, grad * dtu[:, None], 0), 0), mask=has_n)
            dub = tl.sum(grad * b_t[None, :], 1)
            carry = grad * a
            da = carry * before
            share += da * dt[:, None]
            tl.store(du + row, dub * dt, mask=has_d)
            tl.store(ddelta + row, dub * u_t + tl.sum(da * a_log, 1), mask=has_d)
        tl.debug_barrier()
    tl.store(dA + b * D * N + tile, share, mask=has)


@triton.jit
def state_update(state, x, dt, A, B, C, y, D, N, G, blocks, BD: tl.constexpr, BN: tl.constexpr):
    """One step of the scan: state (B, D, N) in place, x, dt and y (B, D), B and C (B, G, N)."""
    b, g, _, d, has_d = _channels(D, G, blocks, BD)
    n = tl.arange(0, BN)
    has_n = n < N
    tile, has = d[:, None] * N + n[None, :], has_d[:, None] & has_n[None, :]
    dt_ = tl.load(dt + b * D + d, mask=has_d, other=0)
    dtx = dt_ * tl.load(x + b * D + d, mask=has_d, other=0)
    b_, c_ = (
        tl.load(B + (b * G + g) * N + n, mask=has_n, other=0),
        tl.load(C + (b * G + g) * N + n, mask=has_n, other=0),
    )
    old = tl.load(state + b * D * N + tile, mask=has, other=0)
    new = tl.exp(dt_[:, None] * tl.load(A + tile, mask=has, other=0)) * old + dtx[:, None] * b_[None, :]
    tl.store(state + b * D * N + tile, new, mask=has)
    tl.store(y + b * D + d, tl.sum(new * c_[None, :], 1), mask=has_d)


@triton.jit
def ssd_step(state, x, dt, A, B, C, y, H, P, N, G, BP: tl.constexpr, BN: tl.constexpr):
    """One step of one head: state (B, H, P, N) in place, x and y (B, H, P), dt (B, H), A (H), B and C (B, G, N)."""
    h, b = tl.program_id(0), tl.program_id(1).to(tl.int64)
    g = h // (H // G)
    p = tl.program_id(2) * BP + tl.arange(0, BP)
    n = tl.arange(0, BN)
    has_p, has_n = p < P, n < N
    tile, has = ((b * H + h) * P + p)[:, None] * N + n[None, :], has_p[:, None] & has_n[None, :]
    step = tl.load(dt + b * H + h)
    decay = tl.exp(step * tl.load(A + h))
    dtx = step * tl.load(x + (b * H + h) * P + p, mask=has_p, other=0)
    b_ = tl.load(B + (b * G + g) * N + n, mask=has_n, other=0)
    c_ = tl.load(C + (b * G + g) * N + n, mask=has_n, other=0)
    new = decay * tl.load(state + tile, mask=has, other=0) + dtx[:, None] * b_[None, :]
    tl.store(state + tile, new, mask=has)
    tl.store(y + (b * H + h) * P + p, tl.sum(new * c_[None, :], 1), mask=has_p)


@triton.jit
def convolve(x, taps, bias, y, L, C, W, STEP: tl.constexpr, BT: tl.constexpr, BC: tl.constexpr):
    """y_t = bias + sum_k taps[W - 1 - k] x_{t - k}; with `STEP` -1 x_{t + k}, which is the gradient's direction.

    x and y (B, L, C), taps (W, C), bias (C).
    """
    b = tl.program_id(2).to(tl.int64)
    t = tl.program_id(0) * BT + tl.arange(0, BT)
    c = tl.program_id(1) * BC + tl.arange(0, BC)
    has_c = c < C
    total = tl.zeros((BT, BC), taps.dtype.element_ty) + tl.load(bias + c, mask=has_c, other=0)[None, :]
    for k in range(W):
        at = t - k * STEP
        has = ((t < L) & (at >= 0) & (at < L))[:, None] & has_c[None, :]
        value = tl.load(x + (b * L + at)[:, None] * C + c[None, :], mask=has, other=0)
        total += value * tl.load(taps + (W - 1 - k) * C + c, mask=has_c, other=0)[None, :]
    tl.store(y + (b * L + t)[:, None] * C + c[None, :], total, mask=(t < L)[:, None] & has_c[None, :])


@triton.jit
def tap_gradients(x, dy, shares, L, C, W, BT: tl.constexpr, BC: tl.constexpr):
    """shares (B, W + 1, C): the gradients of the taps and, last, of the bias, by sequence. Program (k, channels, b)."""
    k, b = tl.program_id(0), tl.program_id(2).to(tl.int64)
    c = tl.program_id(1) * BC + tl.arange(0, BC)
    has_c = c < C
    total = tl.zeros((BC,), shares.dtype.element_ty)
    for start in range(0, L, BT):
        t = start + tl.arange(0, BT)
        at = t - k
        has = ((t < L) & (at >= 0))[:, None] & has_c[None, :]
        grad = tl.load(dy + (b * L + t)[:, None] * C + c[None, :], mask=(t < L)[:, None] & has_c[None, :], other=0)
        if k < W:
            grad = grad * tl.load(x + (b * L + at)[:, None] * C + c[None, :], mask=has, other=0)
        total += tl.sum(grad, 0)
    row = tl.where(k < W, W - 1 - k, W)
    tl.store(shares + (b * (W + 1) + row) * C + c, total, mask=has_c)


@triton.jit
def conv_step(x, state, taps, bias, y, C, W, stride_b, stride_c, stride_w, BC: tl.constexpr):
    """x and y (B, C), state (B, C, W) with its strides, moved on by x, taps (W, C), bias (C)."""
    b = tl.program_id(1).to(tl.int64)
    c = tl.program_id(0) * BC + tl.arange(0, BC)
    has = c < C
    new = tl.load(x + b * C + c, mask=has, other=0)
    total = tl.load(bias + c, mask=has, other=0)
    place = state + b * stride_b + c * stride_c
    for k in range(W):
        value = new
        if k < W - 1:
            value = tl.load(place + (k + 1) * stride_w, mask=has, other=0)
        tl.store(place + k * stride_w, value, mask=has)
        total += value * tl.load(taps + k * C + c, mask=has, other=0)
    tl.store(y + b * C + c, total, mask=has)
