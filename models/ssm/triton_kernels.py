"""The loops of the scans and of the convolution for Triton.

The selective scan is sequential in time: a program is one sequence and a block of channels of one group, and batch times
channels give the parallelism. Arrays are time-major, u, delta, y (B, L, D); A (N, D); B, C (B, G, L, N), so that the threads
of a warp read neighbouring channels, and the sum over n hardly leaves a thread. Nothing of size L x D x N is written:
training keeps the state before every `CHUNK` steps, and the backward pass runs a chunk forward again, its states in scratch
memory that the second-level cache holds, then backwards with the exponentials computed once more. What the channels of B
and C share is written as one share a program and added by the caller: no atomics, the same bits in every run.
"""

from __future__ import annotations

import triton
import triton.language as tl

STAGES = tl.constexpr(3)
"""Time steps whose inputs are on their way while one is computed; they do not depend on the state."""


@triton.jit
def _unit(G, blocks, share, BLOCK_D: tl.constexpr):
    """(sequence, group, block, channels, which of them exist) of a program; a group's `share` channels are in `blocks`."""
    item = tl.program_id(0)
    block, rest = item % blocks, item // blocks
    lane = block * BLOCK_D + tl.arange(0, BLOCK_D)
    return (rest // G).to(tl.int64), rest % G, block, rest % G * share + lane, lane < share


@triton.jit
def scan_forward(
    u,
    delta,
    A,
    B,
    C,
    y,
    kept,
    last,
    L,
    D,
    N,
    G,
    share,
    blocks,
    KEEP: tl.constexpr,
    CHUNK: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """kept (B, chunks, N, D) is written if `KEEP`; last (B, N, D)."""
    b, g, _, d, inside = _unit(G, blocks, share, BLOCK_D)
    n = tl.arange(0, BLOCK_N)
    tile, pairs = n[:, None] * D + d[None, :], (n < N)[:, None] & inside[None, :]
    A_ = tl.load(A + tile, mask=pairs, other=0)
    x = tl.zeros((BLOCK_N, BLOCK_D), A_.dtype)
    u += b * L * D
    delta += b * L * D
    y += b * L * D
    B += (b * G + g) * L * N
    C += (b * G + g) * L * N
    kept += b * ((L + CHUNK - 1) // CHUNK) * N * D
    for l in tl.range(0, L, num_stages=STAGES):  # noqa: E741 - the paper's index
        if KEEP:
            tl.store(kept + tl.cast(l // CHUNK, tl.int64) * N * D + tile, x, mask=pairs & (l % CHUNK == 0))
        dt = tl.load(delta + d, mask=inside, other=0)
        dtu = dt * tl.load(u + d, mask=inside, other=0)
        B_l = tl.load(B + n, mask=n < N, other=0)
        C_l = tl.load(C + n, mask=n < N, other=0)
        x = tl.exp(dt[None, :] * A_) * x + dtu[None, :] * B_l[:, None]
        tl.store(y + d, tl.sum(C_l[:, None] * x, 0), mask=inside)
        u += D
        delta += D
        y += D
        B += N
        C += N
    tl.store(last + b * N * D + tile, x, mask=pairs)


@triton.jit
def scan_backward(
    u,
    delta,
    A,
    B,
    C,
    kept,
    dy,
    scratch,
    du,
    ddelta,
    dA,
    dB,
    dC,
    L,
    D,
    N,
    G,
    share,
    blocks,
    CHUNK: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """scratch (programs, CHUNK, BLOCK_N, BLOCK_D); dA (B, N, D), dB and dC (B, G, blocks, L, N) are still to be summed."""
    b, g, block, d, inside = _unit(G, blocks, share, BLOCK_D)
    n = tl.arange(0, BLOCK_N)
    tile, pairs = n[:, None] * D + d[None, :], (n < N)[:, None] & inside[None, :]
    slot = n[:, None] * BLOCK_D + tl.arange(0, BLOCK_D)[None, :]
    scratch += tl.program_id(0).to(tl.int64) * (CHUNK * BLOCK_N * BLOCK_D)
    A_ = tl.load(A + tile, mask=pairs, other=0)
    carry = tl.zeros((BLOCK_N, BLOCK_D), A_.dtype)  # a_{l+1} dL/dx_{l+1}
    dA_ = tl.zeros((BLOCK_N, BLOCK_D), A_.dtype)
    chunks = (L + CHUNK - 1) // CHUNK
    rows, steps = b * L, (b * G + g) * L  # first rows of the sequence in arrays over (B, L) and (B, G, L)
    shares = ((b * G + g) * blocks + block) * L
    for i in range(chunks):
        start = (chunks - 1 - i) * CHUNK
        stop = tl.minimum(start + CHUNK, L)
        x = tl.load(kept + (b * chunks + chunks - 1 - i) * N * D + tile, mask=pairs, other=0)
        for l in tl.range(start, stop, num_stages=STAGES):  # noqa: E741
            tl.store(scratch + (l - start) * (BLOCK_N * BLOCK_D) + slot, x)
            dt = tl.load(delta + (rows + l) * D + d, mask=inside, other=0)
            dtu = dt * tl.load(u + (rows + l) * D + d, mask=inside, other=0)
            B_l = tl.load(B + (steps + l) * N + n, mask=n < N, other=0)
            x = tl.exp(dt[None, :] * A_) * x + dtu[None, :] * B_l[:, None]
        tl.debug_barrier()  # the loads below may be laid out over the threads differently from the stores above
        for j in tl.range(0, stop - start, num_stages=STAGES):
            l = stop - 1 - j  # noqa: E741
            before = tl.load(scratch + (l - start) * (BLOCK_N * BLOCK_D) + slot)  # x_{l-1}, and x is x_l
            dt = tl.load(delta + (rows + l) * D + d, mask=inside, other=0)
            u_l = tl.load(u + (rows + l) * D + d, mask=inside, other=0)
            dy_l = tl.load(dy + (rows + l) * D + d, mask=inside, other=0)
            B_l = tl.load(B + (steps + l) * N + n, mask=n < N, other=0)
            C_l = tl.load(C + (steps + l) * N + n, mask=n < N, other=0)
            dx = dy_l[None, :] * C_l[:, None] + carry
            tl.store(dC + (shares + l) * N + n, tl.sum(dy_l[None, :] * x, 1), mask=n < N)
            tl.store(dB + (shares + l) * N + n, tl.sum(dx * (dt * u_l)[None, :], 1), mask=n < N)
            ddtu = tl.sum(dx * B_l[:, None], 0)
            carry = tl.exp(dt[None, :] * A_) * dx
            through = carry * before  # dL/d(delta_l A)
            dA_ += through * dt[None, :]
            tl.store(du + (rows + l) * D + d, ddtu * dt, mask=inside)
            tl.store(ddelta + (rows + l) * D + d, ddtu * u_l + tl.sum(through * A_, 0), mask=inside)
            x = before
        tl.debug_barrier()  # the next chunk overwrites the scratch
    tl.store(dA + b * N * D + tile, dA_, mask=pairs)


@triton.jit
def state_update(state, x, dt, A, B, C, y, D, N, G, blocks, BLOCK_D: tl.constexpr, BLOCK_N: tl.constexpr):
    """One step: state (B, D, N) moves on in place; x, dt, y (B, D), A (D, N), B and C (B, G, N)."""
    b = (tl.program_id(0) // blocks).to(tl.int64)
    d, n = tl.program_id(0) % blocks * BLOCK_D + tl.arange(0, BLOCK_D), tl.arange(0, BLOCK_N)
    inside, pairs = d < D, (d < D)[:, None] & (n < N)[None, :]
    tile = d[:, None] * N + n[None, :]
    group = (b * G + d // (D // G))[:, None] * N + n[None, :]
    state += b * D * N
    dt_d = tl.load(dt + b * D + d, mask=inside, other=0)
    dtx = dt_d * tl.load(x + b * D + d, mask=inside, other=0)
    decay = tl.exp(dt_d[:, None] * tl.load(A + tile, mask=pairs, other=0))
    new = decay * tl.load(state + tile, mask=pairs, other=0) + dtx[:, None] * tl.load(B + group, mask=pairs, other=0)
    tl.store(state + tile, new, mask=pairs)
    tl.store(y + b * D + d, tl.sum(new * tl.load(C + group, mask=pairs, other=0), 1), mask=inside)


@triton.jit
def ssd_step(state, x, dt, A, B, C, y, H, P, N, G, blocks, BLOCK_P: tl.constexpr, BLOCK_N: tl.constexpr):
    """One step: state (B, H, P, N) moves on in place; x and y (B, H, P), dt (B, H), A (H,), B and C (B, G, N)."""
    item = (tl.program_id(0) // blocks).to(tl.int64)  # sequence times H plus head
    b, h = item // H, item % H
    p, n = tl.program_id(0) % blocks * BLOCK_P + tl.arange(0, BLOCK_P), tl.arange(0, BLOCK_N)
    inside, pairs = p < P, (p < P)[:, None] & (n < N)[None, :]
    tile = item * P * N + p[:, None] * N + n[None, :]
    group = (b * G + h // (H // G)) * N + n
    step = tl.load(dt + item)
    decay = tl.exp(step * tl.load(A + h))
    dtx = step * tl.load(x + item * P + p, mask=inside, other=0)
    B_n = tl.load(B + group, mask=n < N, other=0)
    C_n = tl.load(C + group, mask=n < N, other=0)
    new = decay * tl.load(state + tile, mask=pairs, other=0) + dtx[:, None] * B_n[None, :]
    tl.store(state + tile, new, mask=pairs)
    tl.store(y + item * P + p, tl.sum(new * C_n[None, :], 1), mask=inside)


@triton.jit
def _patch(L, C, rows, columns, BLOCK_L: tl.constexpr, BLOCK_C: tl.constexpr):
    """(sequence, block in time, time steps, channels) of a program; `rows` x `columns` blocks a sequence."""
    item = tl.program_id(0)
    row = item // columns % rows
    l = row.to(tl.int64) * BLOCK_L + tl.arange(0, BLOCK_L)  # noqa: E741
    return (item // columns // rows).to(tl.int64), row, l, item % columns * BLOCK_C + tl.arange(0, BLOCK_C)


@triton.jit
def _rows(array, l, c, L, C):  # noqa: E741
    """Time steps l and channels c of (L, C), 0 outside."""
    inside = ((l >= 0) & (l < L))[:, None] & (c < C)[None, :]
    return tl.load(array + l[:, None] * C + c[None, :], mask=inside, other=0)


@triton.jit
def conv_forward(
    x,
    weight,
    bias,
    y,
    L,
    C,
    rows,
    columns,
    BIAS: tl.constexpr,
    W: tl.constexpr,
    BLOCK_L: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """x and y (B, L, C), weight (C, W), the last of which meets the present input; bias (C,) is added if `BIAS`."""
    b, _, l, c = _patch(L, C, rows, columns, BLOCK_L, BLOCK_C)  # noqa: E741
    x += b * L * C
    total = tl.zeros((BLOCK_L, BLOCK_C), x.dtype.element_ty)
    if BIAS:
        total += tl.load(bias + c, mask=c < C, other=0)[None, :]
    for k in tl.static_range(W):
        tap = tl.load(weight + c * W + (W - 1 - k), mask=c < C, other=0)
        total += _rows(x, l - k, c, L, C) * tap[None, :]
    tl.store(y + b * L * C + l[:, None] * C + c[None, :], total, mask=(l < L)[:, None] & (c < C)[None, :])


@triton.jit
def conv_backward(
    x,
    weight,
    dy,
    dx,
    shares,
    L,
    C,
    rows,
    columns,
    W: tl.constexpr,
    BLOCK_L: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """shares (B, rows, W + 1, C) of the gradients of the taps and, last, of the bias are still to be summed."""
    b, row, l, c = _patch(L, C, rows, columns, BLOCK_L, BLOCK_C)  # noqa: E741
    x += b * L * C
    dy += b * L * C
    shares += (b * rows + row) * ((W + 1) * C)
    given = _rows(dy, l, c, L, C)
    total = tl.zeros((BLOCK_L, BLOCK_C), x.dtype.element_ty)
    for k in tl.static_range(W):
        tap = tl.load(weight + c * W + (W - 1 - k), mask=c < C, other=0)
        total += _rows(dy, l + k, c, L, C) * tap[None, :]
        tl.store(shares + (W - 1 - k) * C + c, tl.sum(given * _rows(x, l - k, c, L, C), 0), mask=c < C)
    tl.store(shares + W * C + c, tl.sum(given, 0), mask=c < C)
    tl.store(dx + b * L * C + l[:, None] * C + c[None, :], total, mask=(l < L)[:, None] & (c < C)[None, :])


@triton.jit
def conv_step(
    x,
    state,
    weight,
    bias,
    y,
    C,
    columns,
    stride_b,
    stride_c,
    stride_w,
    BIAS: tl.constexpr,
    W: tl.constexpr,
    BLOCK_W: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """x and y (B, C); state (B, C, W) in any layout holds the last inputs and moves on in place by x."""
    b = (tl.program_id(0) // columns).to(tl.int64)
    w, c = tl.arange(0, BLOCK_W), tl.program_id(0) % columns * BLOCK_C + tl.arange(0, BLOCK_C)
    pairs = (w < W)[:, None] & (c < C)[None, :]
    place = state + b * stride_b + w[:, None] * tl.cast(stride_w, tl.int64) + c[None, :] * tl.cast(stride_c, tl.int64)
    older = tl.load(place + stride_w, mask=pairs & (w < W - 1)[:, None], other=0)
    newest = tl.load(x + b * C + c, mask=c < C, other=0)
    inputs = tl.where((w == W - 1)[:, None], newest[None, :], older)
    tl.debug_barrier()  # another thread may still have to read what this one overwrites
    tl.store(place, inputs, mask=pairs)
    taps = tl.load(weight + c[None, :] * W + w[:, None], mask=pairs, other=0)
    total = tl.sum(inputs * taps, 0)
    if BIAS:
        total += tl.load(bias + c, mask=c < C, other=0)
    tl.store(y + b * C + c, total, mask=c < C)
