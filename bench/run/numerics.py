"""Numerics: how a process computes. `portable` gives the same bits on every x86-64-v3 processor, `native` is the fastest.

Libraries choose their kernels by the processor: its vector units, its maker, the sizes of its caches. `portable` pins each
choice to what every processor since Haswell and Zen has, by variables that the libraries read when they are loaded; so it
must be settled first. What no variable pins is computed by another library (`replaced`). Nothing is said of the C library,
whose mathematical functions choose by FMA and AVX2 alone, nor of other versions of the packages than the locked ones.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from retable.bench.errors import BenchError
from retable.bench.run import replaced
from retable.bench.suite import Numerics

PORTABLE: Mapping[str, str] = MappingProxyType(
    {
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "ONEDNN_DEFAULT_FPMATH_MODE": "STRICT",
        # The only branch that processors of all makers have: asked for AVX2, those of AMD silently take another.
        "MKL_CBWR": "COMPATIBLE",
        "MKL_DYNAMIC": "FALSE",
        "OMP_DYNAMIC": "FALSE",
        "OPENBLAS_CORETYPE": "Haswell",
        # The names of NumPy from 2.4 on, and those before; each passes over the other's.
        "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR "
        "AVX512F AVX512CD AVX512_KNL AVX512_KNM AVX512_SKX AVX512_CLX AVX512_CNL",
        "NUMBA_CPU_NAME": "x86-64-v3",
        "NUMBA_CPU_FEATURES": "+64bit,+avx,+avx2,+bmi,+bmi2,+cmov,+cx16,+cx8,+f16c,+fma,+fxsr,+lzcnt,+mmx,+movbe,+popcnt,"
        "+sahf,+sse,+sse2,+sse3,+sse4.1,+sse4.2,+ssse3,+xsave",
        "NUMBA_DISABLE_INTEL_SVML": "1",
    }
)
"""What has to stand in the environment before a numerical library is loaded."""

LIBRARIES = ("torch", "numpy", "numba")


def environment(numerics: Numerics, inherited: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The inherited variables as a process needs them; `native` leaves every choice to the libraries."""
    kept = {name: value for name, value in inherited.items() if name not in PORTABLE}
    return {**kept, **PORTABLE} if numerics == "portable" else kept


def settle(numerics: Numerics) -> None:
    """Set this process's variables; raises BenchError where a library has been loaded under others."""
    wanted = environment(numerics)
    if any(os.environ.get(name) != wanted.get(name) for name in PORTABLE):
        loaded = [name for name in LIBRARIES if name in sys.modules]
        if loaded:
            raise BenchError(
                f"{numerics} numerics have to be settled before {loaded[0]} is loaded, and this process has loaded it: "
                "run in worker processes (--jobs 1 or more)"
            )
        for name in PORTABLE:
            os.environ.pop(name, None)
        os.environ.update(wanted)


def establish(numerics: Numerics) -> None:
    """Make this process compute so, and check that it does. Raises BenchError as `settle`, or where a library disobeys."""
    settle(numerics)
    if numerics == "portable":
        _verify()
        adjust()


def adjust() -> None:
    """What portable numerics need of torch beyond variables."""
    import torch

    torch.set_float32_matmul_precision("highest")
    torch.backends.nnpack.set_flags(False)  # its blocks follow the sizes of the caches
    replaced.replace()


def facts(numerics: Numerics) -> dict[str, Any]:
    """What a record's environment tells of it."""
    if numerics == "native":
        return {"setting": numerics, "verified": "nothing to verify: libraries choose by the processor"}
    return {
        "setting": numerics,
        "variables": dict(PORTABLE),
        "replaced": list(replaced.NAMES),
        "verified": "each stage asks torch, NumPy, Numba and OpenBLAS, and fails where one does not obey",
    }


def _verify() -> None:
    """Raises BenchError, naming the first library that computes with more than x86-64-v3 has."""
    import numpy as np
    import torch
    from threadpoolctl import threadpool_info

    capability = torch.backends.cpu.get_cpu_capability()
    if capability != "AVX2":
        raise BenchError(f"portable numerics did not take hold: torch computes with {capability}")
    umath = np._core._multiarray_umath  # type: ignore[attr-defined]
    chosen = [name for name in umath.__cpu_dispatch__ if umath.__cpu_features__.get(name)]
    if beyond := [name for name in chosen if name.startswith(("AVX512", "X86_V4"))]:
        raise BenchError(f"portable numerics did not take hold: NumPy computes with {beyond[0]}")
    for library in threadpool_info():
        kind = library.get("architecture", "Haswell")
        if library["internal_api"] == "openblas" and kind != "Haswell":
            raise BenchError(f"portable numerics did not take hold: OpenBLAS computes for {kind}")
    numba = sys.modules.get("numba")
    target = PORTABLE["NUMBA_CPU_NAME"] if numba is None else numba.config.CPU_NAME
    if target != PORTABLE["NUMBA_CPU_NAME"]:
        raise BenchError(f"portable numerics did not take hold: Numba compiles for {target or 'this processor'}")
