"""Hardware: processor, cores, memory and accelerators, without importing anything heavy."""

from __future__ import annotations

import os
import platform
from functools import cache
from pathlib import Path
from typing import Any

from retable.bench.probes import absent

VECTOR_UNITS = ("avx2", "avx512f", "avx512_bf16", "amx_tile", "asimd", "sve")
"""Instruction sets by which numerical libraries choose their kernels, and so the last digits of their results."""


V3 = ("avx2", "bmi1", "bmi2", "f16c", "fma", "movbe")
"""What Linux calls the instruction sets by which x86-64-v3 goes beyond its predecessor."""


def hardware() -> dict[str, Any]:
    """Facts of this machine by name; bytes for memory. A fact that cannot be read is `{"absent": reason}`."""
    facts = _cpuinfo(Path("/proc/cpuinfo"))
    return {
        "cpu": facts.get("model name") or _brand(),
        "architecture": platform.machine(),
        "vector_units": _vector_units(facts),
        "cores": _cores(),
        "memory": _memory(),
        "gpus": _gpus(Path("/proc/driver/nvidia/gpus")),
    }


def processor() -> str:
    """The type of this processor: maker, name, family and model, and the vector units that matter."""
    facts = _cpuinfo(Path("/proc/cpuinfo"))
    units, name = _vector_units(facts), facts.get("model name") or platform.processor() or "a processor without a name"
    details = [f"{word} {facts[key]}" for word, key in (("family", "cpu family"), ("model", "model")) if key in facts]
    return ", ".join(
        [f"{facts.get('vendor_id', '')} {name}".strip(), *details, *(units if isinstance(units, list) else [])]
    )


@cache
def not_portable() -> str:
    """Why numbers are not computed here as on every x86-64-v3 processor; empty where they are.

    $BENCH_NUMERICS `native` wants the speed instead.
    """
    if os.environ.get("BENCH_NUMERICS", "") == "native":
        return "BENCH_NUMERICS asks for it"
    if platform.machine() not in ("x86_64", "AMD64"):
        return f"this machine has the architecture {platform.machine()}, not x86-64"
    flags = _cpuinfo(Path("/proc/cpuinfo")).get("flags", "").split()
    lacking = [unit for unit in V3 if unit not in flags]
    return f"this processor lacks {', '.join(lacking)}" if lacking else ""


def _cpuinfo(path: Path) -> dict[str, str]:
    """The first processor's block of /proc/cpuinfo."""
    try:
        block = path.read_text(errors="replace").partition("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in block.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def _brand() -> str | dict[str, str]:
    return platform.processor() or absent("the system does not name its processor")


def _vector_units(facts: dict[str, str]) -> list[str] | dict[str, str]:
    flags = facts.get("flags") or facts.get("Features")
    if flags is None:
        return absent("no processor flags in /proc/cpuinfo")
    return [unit for unit in VECTOR_UNITS if unit in flags.split()]


def _cores() -> int | dict[str, str]:
    """Logical cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except (AttributeError, OSError):
        return os.cpu_count() or absent("the system does not count its cores")


def _memory() -> int | dict[str, str]:
    """Bytes of physical memory."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError) as error:
        return absent(f"the system does not tell its memory: {error}")


def _gpus(folder: Path) -> list[str] | dict[str, str]:
    """Model names of NVIDIA devices, from the driver's files or its own tool; torch is asked only if it is loaded."""
    try:
        models = [_cpuinfo(path / "information").get("Model") for path in sorted(folder.iterdir())]
    except OSError:
        models = []
    names = [model for model in models if model]
    return names or _ask_torch() or _ask_driver() or absent("no NVIDIA driver found")


def _ask_torch() -> list[str]:
    import sys

    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return []
    return [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]


def _ask_driver() -> list[str]:
    import shutil
    import subprocess

    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    try:
        done = subprocess.run(
            [tool, "--query-gpu=name", "--format=csv,noheader"], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in done.stdout.splitlines() if line.strip()]
