"""The scans' cores on Triton kernels; compiled for CUDA, run in Triton's interpreter only.

No GPU has run them: the tests run them in the interpreter, and compile every launch for one. Block sizes:

    scan        32 channels with all N states of each; one warp for float32 and N = 16, more in proportion up to 8, then
                fewer channels: a thread holds 64 bytes of states, of which the backward pass needs a handful in registers;
                chunks of 16 steps: what is kept then weighs N / 16 of u, and the scratch of a program 32 KiB at N = 16
    steps       about 1024 states a program on 4 warps: many small programs, as a step has little work
    convolution 64 steps of 32 channels: a channel block is one 128-byte line of float32, W - 1 rows are read twice
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from triton import next_power_of_2

from retable.models.ssm import triton_kernels as kernels

CHUNK = 16
"""Steps between two kept states."""
LANES = 32
"""Channels of a scan program, if their states are not too many."""
WARP, MOST_WARPS = 2048, 8
"""Bytes of states for a warp of a scan program, and how many warps it has at most."""
TILE = 1024
"""States of a step's program."""
CONV = {"BLOCK_L": 64, "BLOCK_C": 32}


def scan_forward(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, keep: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """(y (B, D, L), states before every chunk or none, last state (B, D, N)) as `scan_reference.scan_forward`."""
    b, d, length = u.shape
    n, groups = A.shape[1], _groups(B, C)
    y = u.new_empty(b, length, d)
    states = u.new_empty(states_shape(b, d, length, n) if keep else (0,))
    last = u.new_empty(b, n, d)
    programs, sizes, options = _scan_launch(u, n, groups)
    if programs:
        arrays = (*_time_major(u, delta), *_by_state(A, B, C, groups), y, states, last)
        with torch.cuda.device_of(u):
            kernels.scan_forward[(programs,)](*arrays, *sizes, KEEP=keep, **options)
    return y.mT, states, last.mT.contiguous()


def states_shape(b: int, d: int, length: int, n: int) -> tuple[int, ...]:
    """Of what `scan_forward` keeps: x before every chunk, (B, chunks, N, D)."""
    return b, -(-length // CHUNK), n, d


def scan_backward(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, states: Tensor, dy: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of the five inputs in their shapes, from that of y (B, D, L)."""
    b, d, length = u.shape
    n, groups = A.shape[1], _groups(B, C)
    programs, sizes, options = _scan_launch(u, n, groups)
    du, ddelta, dA = u.new_empty(b, length, d), u.new_empty(b, length, d), u.new_empty(b, n, d)
    dB, dC = (u.new_empty(b, groups, sizes[-1], length, n) for _ in range(2))
    if programs:
        scratch = u.new_empty(programs, CHUNK, options["BLOCK_N"], options["BLOCK_D"])
        inputs = (*_time_major(u, delta), *_by_state(A, B, C, groups), states, *_time_major(dy), scratch)
        with torch.cuda.device_of(u):
            kernels.scan_backward[(programs,)](*inputs, du, ddelta, dA, dB, dC, *sizes, **options)
    of_B, of_C = (share.sum(2).mT.sum_to_size(value.shape).contiguous() for share, value in ((dB, B), (dC, C)))
    return du.mT, ddelta.mT, dA.sum(0).mT.contiguous(), of_B, of_C


def _groups(B: Tensor, C: Tensor) -> int:
    return max(B.shape[1], C.shape[1])


def _scan_launch(u: Tensor, n: int, groups: int) -> tuple[int, tuple[int, ...], dict[str, Any]]:
    """(programs, (L, D, N, G, channels a group, blocks a group), options)."""
    b, d, length = u.shape
    share = d // groups
    column = next_power_of_2(max(n, 1)) * u.element_size()  # bytes of a channel's states
    lanes = min(LANES, next_power_of_2(max(share, 1)), max(1, MOST_WARPS * WARP // column))
    blocks = -(-share // lanes)
    warps = max(1, min(MOST_WARPS, lanes * column // WARP))
    options = {"CHUNK": CHUNK, "BLOCK_N": column // u.element_size(), "BLOCK_D": lanes, "num_warps": warps}
    return b * groups * blocks, (length, d, n, groups, share, blocks), options


def _time_major(*values: Tensor) -> list[Tensor]:
    """(B, D, L) as (B, L, D)."""
    return [value.mT.contiguous() for value in values]


def _by_state(A: Tensor, B: Tensor, C: Tensor, groups: int) -> list[Tensor]:
    """A as (N, D), B and C as (B, G, L, N); the one of them with a single group is repeated if the other has more."""
    return [A.mT.contiguous(), *(value.mT.expand(-1, groups, -1, -1).contiguous() for value in (B, C))]


def state_update(state: Tensor, x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """y (B, D) for state (B, D, N), which moves on in place."""
    y, work = torch.empty_like(x, memory_format=torch.contiguous_format), state.contiguous()
    b, d, n = state.shape
    blocks, channels, columns = _tile(d, n)
    if y.numel():
        arrays = (work, *(value.contiguous() for value in (x, dt, A, B, C)), y)
        sizes = (d, n, B.shape[1], blocks)
        with torch.cuda.device_of(x):
            kernels.state_update[(b * blocks,)](*arrays, *sizes, BLOCK_D=channels, BLOCK_N=columns)
    if work is not state:
        state.copy_(work)
    return y


def ssd_step(state: Tensor, x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """y (B, H, P) for state (B, H, P, N), which moves on in place."""
    y, work = torch.empty_like(x, memory_format=torch.contiguous_format), state.contiguous()
    b, h, p, n = state.shape
    blocks, channels, columns = _tile(p, n)
    if y.numel():
        arrays = (work, *(value.contiguous() for value in (x, dt, A, B, C)), y)
        sizes = (h, p, n, B.shape[1], blocks)
        with torch.cuda.device_of(x):
            kernels.ssd_step[(b * h * blocks,)](*arrays, *sizes, BLOCK_P=channels, BLOCK_N=columns)
    if work is not state:
        state.copy_(work)
    return y


def _tile(channels: int, n: int) -> tuple[int, int, int]:
    """(programs for these channels, channels and states of one)."""
    columns = next_power_of_2(max(n, 1))
    block = max(1, min(TILE // columns, next_power_of_2(max(channels, 1))))
    return -(-channels // block), block, columns


def conv_forward(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """y (B, L, C) for x (B, L, C), weight (C, W)."""
    y = torch.empty_like(x, memory_format=torch.contiguous_format)
    programs, sizes = _patches(x)
    if programs:
        arrays = (x.contiguous(), weight.contiguous(), x if bias is None else bias.contiguous(), y)
        with torch.cuda.device_of(x):
            kernels.conv_forward[(programs,)](*arrays, *sizes, BIAS=bias is not None, W=weight.shape[1], **CONV)
    return y


def conv_backward(x: Tensor, weight: Tensor, dy: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x, weight and bias."""
    dx = torch.empty_like(x, memory_format=torch.contiguous_format)
    width, (programs, sizes) = weight.shape[1], _patches(x)
    shares = x.new_empty(len(x), sizes[2], width + 1, x.shape[2])
    if programs:
        arrays = (x.contiguous(), weight.contiguous(), dy.contiguous(), dx, shares)
        with torch.cuda.device_of(x):
            kernels.conv_backward[(programs,)](*arrays, *sizes, W=width, **CONV)
    total = shares.sum((0, 1))
    return dx, total[:-1].mT.contiguous(), total[-1].clone()


def _patches(x: Tensor) -> tuple[int, tuple[int, int, int, int]]:
    """(programs, (L, C, blocks in time, blocks of channels)) for x (B, L, C)."""
    b, length, channels = x.shape
    rows, columns = -(-length // CONV["BLOCK_L"]), -(-channels // CONV["BLOCK_C"])
    return b * rows * columns, (length, channels, rows, columns)


def conv_step(x: Tensor, state: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """y (B, C) for state (B, C, W) in any layout, which moves on in place by x."""
    y = torch.empty_like(x, memory_format=torch.contiguous_format)
    b, channels, width = state.shape
    columns = -(-channels // CONV["BLOCK_C"])
    if y.numel():
        arrays = (x.contiguous(), state, weight.contiguous(), x if bias is None else bias.contiguous(), y)
        options = {"BIAS": bias is not None, "W": width, "BLOCK_W": next_power_of_2(width)}
        with torch.cuda.device_of(x):
            kernels.conv_step[(b * columns,)](
                *arrays, channels, columns, *state.stride(), **options, BLOCK_C=CONV["BLOCK_C"], num_warps=1
            )
    return y
