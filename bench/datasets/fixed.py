"""What keeps packaged data fixed: a pinned digest of the arrays, and an order that no library version can change."""

from __future__ import annotations

from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from retable.bench.errors import BenchError, MissingDataError

if TYPE_CHECKING:
    import numpy as np


def package_folder(module: str, distribution: str, data: str) -> Path:
    """Where an installed package lives, without importing it. Raises MissingDataError, naming what to install."""
    spec = find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise MissingDataError(f"{data} are missing: `pip install {distribution}` brings them")
    return Path(next(iter(spec.submodule_search_locations)))


def require_packages(what: str, brings: str, *modules: str) -> None:
    """Raises MissingDataError that names the first of the modules that is not installed, and what `brings` it."""
    missing = next((module for module in modules if find_spec(module) is None), None)
    if missing is not None:
        raise MissingDataError(f"{what} needs {missing}: `pip install {brings}` brings it")


def array_digest(*arrays: np.ndarray) -> str:
    """SHA-256 over type, shape and little-endian content of arrays."""
    import numpy as np

    total = sha256()
    for array in arrays:
        little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        total.update(f"{little.dtype.str}{little.shape}".encode())
        total.update(little.tobytes())
    return total.hexdigest()


def require_digest(expected: str, source: str, *arrays: np.ndarray) -> None:
    """Raises BenchError when the arrays are not those that `expected` was taken of."""
    found = array_digest(*arrays)
    if found != expected:
        raise BenchError(f"{source} differs from the pinned data: its SHA-256 is {found}, not {expected}; reinstall it")


def fixed_order(count: int, salt: str) -> np.ndarray:
    """A permutation of range(count), int64: by the SHA-256 of `salt` and the number."""
    import numpy as np

    return np.array(sorted(range(count), key=lambda i: sha256(f"{salt}:{i}".encode()).digest()), dtype=np.int64)
