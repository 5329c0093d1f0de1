"""The official CUDA kernels of the package mamba-ssm behind the same functions; used only after a probe scan.

Written against mamba-ssm 2.3 and never run on a GPU: `missing` compares a small scan and its gradients with the reference
first, and says what is wrong instead of using kernels that are absent, fail or disagree.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from retable.models.ssm import scan_reference

CHUNK = 2048
"""Steps between two kept states of the official kernels."""


@cache
def missing(device: str) -> str | None:
    """Why the kernels cannot be used, or None."""
    if device != "cuda":
        return f"it runs on CUDA, the tensors are on {device}"
    try:
        import selective_scan_cuda  # noqa: F401 - the compiled extension of mamba-ssm
    except ImportError as error:
        return f"mamba-ssm is not installed or its extension does not load ({error})"
    try:
        return _probe()
    except Exception as error:  # whatever an incompatible extension raises is a reason not to use it
        return f"its probe scan failed: {type(error).__name__}: {error}"


def _probe() -> str | None:
    generator = torch.Generator("cuda").manual_seed(0)
    u, delta, dy = (torch.rand(2, 4, 33, generator=generator, device="cuda") for _ in range(3))
    A = -torch.rand(4, 3, generator=generator, device="cuda")
    B, C = (torch.rand(2, 2, 3, 33, generator=generator, device="cuda") for _ in range(2))
    y, states, last = scan_forward(u, delta, A, B, C, True)
    want, kept, want_last = scan_reference.scan_forward(u, delta, A, B, C, True)
    pairs = [(y, want), (last, want_last)]
    grads = scan_backward(u, delta, A, B, C, states, dy)
    pairs += list(zip(grads, scan_reference.scan_backward(u, delta, A, B, C, kept, dy), strict=True))
    if all(torch.allclose(got, expected, rtol=1e-3, atol=1e-3) for got, expected in pairs):
        return None
    return "its probe scan disagrees with the reference"


def scan_forward(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, keep: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """As `scan_reference.scan_forward`."""
    import selective_scan_cuda

    arguments = [value.contiguous() for value in (u, delta, A, B, C)]
    y, states, *_ = selective_scan_cuda.fwd(*arguments, None, None, None, False)
    return y, states if keep else u.new_empty(0), states[:, :, -1, 1::2].contiguous()


def states_shape(b: int, d: int, length: int, n: int) -> tuple[int, ...]:
    """Of what the official forward keeps: decays and states by chunk, (B, D, chunks, 2 N)."""
    return b, d, -(-length // CHUNK), 2 * n


def scan_backward(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, states: Tensor, dy: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """As `scan_reference.scan_backward`."""
    import selective_scan_cuda

    arguments = [value.contiguous() for value in (u, delta, A, B, C)]
    du, ddelta, dA, dB, dC, *_ = selective_scan_cuda.bwd(
        *arguments, None, None, None, dy.contiguous(), states, None, None, False, False
    )
    return du, ddelta, dA, dB, dC
