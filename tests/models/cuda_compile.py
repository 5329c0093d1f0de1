"""Compiles every launch of the Triton backends for a GPU that is not there; run as a program, it prints one JSON line a kernel.

The launches are the backends' own, with tensors on the CPU: a stand-in for the driver names the target, and a kernel is
compiled down to machine code but not started.
"""

from __future__ import annotations

import json
import re
import sys
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.runtime import driver
from triton.runtime.jit import JITFunction

from retable.models.spiking import reference, surrogates
from retable.models.spiking import triton_backend as spiking
from retable.models.ssm import triton_backend as ssm

INSTRUCTIONS = {
    "fused": r"\bfma\.",
    "atomic": r"\b(?:atom|red)\.",
    "asynchronous": r"\bcp\.async\.ca\.",
    "rounded division": r"\bdiv\.rn\.f32\b",
    "float64 argument": r"\.param \.f64\b",
}


class Ampere:
    """What the compiler asks a driver."""

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", 80, 32)

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0


def launch_neurons(dtype: torch.dtype) -> None:
    x, k, alpha = torch.zeros(3, 2, 64, dtype=dtype), torch.tensor(0.5, dtype=dtype), torch.ones(3, dtype=dtype)
    hard = reference.Neuron(1.0, 0.0, True, False, 0, False, "sigmoid", 4.0)
    integer = reference.Neuron(1.0, None, False, True, 4, True, "sigmoid", 4.0)
    for neuron in (hard, integer):
        spiking.forward(neuron, x, x[:1], k, 3)
        spiking.forward(neuron, x[:1], x[:0], k, 1)
        spiking.backward(neuron, x, x[:1], k, x, x, True)
    for binary in (False, True):
        spiking.elastic_forward(x, alpha, binary, True)
        spiking.elastic_backward(x, alpha, x, binary)


def launch_surrogates(dtype: torch.dtype) -> None:
    x, k = torch.zeros(1, 2, 64, dtype=dtype), torch.tensor(0.5, dtype=dtype)
    for surrogate in surrogates.NAMES:
        soft = reference.Neuron(1.0, None, False, True, 0, True, surrogate, 2.0)
        spiking.backward(soft, x, x[:0], k, x, x[:0], False)


def launch_scans(dtype: torch.dtype, n: int) -> None:
    u, A, B = (
        torch.zeros(2, 64, 20, dtype=dtype),
        torch.zeros(64, n, dtype=dtype),
        torch.zeros(2, 2, n, 20, dtype=dtype),
    )
    _, states, _ = ssm.scan_forward(u, u, A, B, B, True)
    ssm.scan_backward(u, u, A, B, B, states, u)
    column, x = u[..., 0].contiguous(), torch.zeros(2, 4, 16, dtype=dtype)
    ssm.state_update(torch.zeros(2, 64, n, dtype=dtype), column, column, A, B[..., 0], B[..., 0])
    ssm.ssd_step(torch.zeros(2, 4, 16, n, dtype=dtype), x, x[..., 0], x[0, :, 0], B[..., 0], B[..., 0])


def launch_convolutions(dtype: torch.dtype) -> None:
    x, weight = torch.zeros(2, 20, 64, dtype=dtype), torch.zeros(64, 4, dtype=dtype)
    ssm.conv_forward(x, weight, weight[:, 0])
    ssm.conv_backward(x, weight, x)
    ssm.conv_step(x[:, 0], torch.zeros(4, 2, 64, dtype=dtype).permute(1, 2, 0), weight, None)


def describe(kernel: str, compiled: Any, dtype: torch.dtype) -> str:
    counts = {what: len(re.findall(pattern, compiled.asm["ptx"])) for what, pattern in INSTRUCTIONS.items()}
    return json.dumps({"kernel": kernel, "dtype": str(dtype), "bytes": len(compiled.asm["cubin"]), **counts})


def main() -> None:
    driver.set_active(Ampere())
    run = JITFunction.run
    found: list[tuple[str, Any]] = []

    def compile_only(self: Any, *args: Any, grid: Any, warmup: bool, **options: Any) -> Any:
        name = self.fn.__module__.removeprefix("retable.models.").partition(".")[0] + "." + self.fn.__name__
        found.append((name, run(self, *args, grid=grid, warmup=True, **options)))

    JITFunction.run = compile_only
    for dtype, n in ((torch.float32, 16), (torch.float64, 3)):
        launch_neurons(dtype)
        if dtype == torch.float32:
            launch_surrogates(dtype)
        launch_scans(dtype, n)
        launch_convolutions(dtype)
        for name, compiled in found:
            print(describe(name, compiled, dtype))
        found.clear()


if __name__ == "__main__":
    assert not triton.knobs.runtime.interpret, "set TRITON_INTERPRET=0"
    sys.exit(main())
