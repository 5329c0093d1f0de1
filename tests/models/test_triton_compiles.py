"""Every Triton kernel compiles to PTX for a GPU of compute capability 8.0; that needs no GPU, and runs nothing."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytest.importorskip("triton")

PROGRAM = """
import inspect
import sys

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from models.spiking import triton_kernels as spiking
from models.ssm import triton_kernels as ssm

NUMBERS = {"threshold": "fp64", "v_r": "fp64", "alpha": "fp64", "leak": "fp64"}
POINTERS = set(
    "x v0 k spikes v_seq grad_s grad_v h_seq dx dv0 dk amplitudes u_seq grad damplitudes u delta A B C y states last dy "
    "scratch kept du ddelta dA dB dC state dt taps bias shares weight weight".split()
)
FLAGS = {
    "DECAY": True, "HARD": True, "STRICT": False, "LEVELS": 0, "DETACH": False, "SURROGATE": "sigmoid", "START": True,
    "POTENTIALS": "all", "GRAD_S": True, "GRAD_V": "all", "NEED_K": True, "BLOCK": 256, "BINARY": False, "WHOLE_U": True,
    "KEEP": True, "CHUNK": 16, "BLOCK_D": 32, "BLOCK_N": 16, "BLOCK_P": 8, "BLOCK_L": 64, "BLOCK_C": 32, "BIAS": True, "W": 4, "BLOCK_W": 4,
}
SCANS = ("scan_forward", "scan_backward", "state_update", "ssd_step")
CONVOLUTIONS = ("conv_forward", "conv_backward", "conv_step")
VARIANTS = [{}, {"LEVELS": 4, "HARD": False}, {"DETACH": True, "STRICT": True, "HARD": False, "DECAY": False}]
VARIANTS += [{"SURROGATE": name} for name in ("atan", "rect", "erf", "soft_sign", "super_spike")]


def compile_kernel(module, name, floats, changes):
    function = getattr(module, name)
    names = list(inspect.signature(function.fn).parameters)
    constants = {n: (FLAGS | changes)[n] for n in names if n.isupper() and n in FLAGS}
    pointers = POINTERS - ({"C"} if module is ssm and name in CONVOLUTIONS else set())
    signature = {
        n: "constexpr" if n in constants else NUMBERS.get(n, "*" + floats if n in pointers else "i32") for n in names
    }
    source = ASTSource(function, signature, constants)
    done = triton.compile(source, target=GPUTarget("cuda", 80, 32), options={"enable_fp_fusion": False})
    assert ".entry" in done.asm["ptx"], name


count = 0
for floats in ("fp32", "fp64"):
    for name in ("forward", "backward"):
        for changes in VARIANTS:
            compile_kernel(spiking, name, floats, changes)
            count += 1
    for name in ("elastic_forward", "elastic_backward"):
        for changes in ({}, {"BINARY": True}):
            compile_kernel(spiking, name, floats, changes)
            count += 1
    for name in SCANS + CONVOLUTIONS:
        compile_kernel(ssm, name, floats, {})
        count += 1
print(count, "kernels")
"""


@pytest.mark.timeout(280)
def test_every_kernel_compiles_for_a_gpu() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split()[1] == "kernels"
