"""Arrays, sparse matrices and neighbour lists out of Python 2 pickles, without running what a pickle names.

A pickle is a program that may call anything. Here the six names that Planetoid's files use stand for records of ours, which
keep what they are given; any other name ends the reading.
"""

from __future__ import annotations

import io
import pickle
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from retable.bench.errors import BenchError

if TYPE_CHECKING:
    import numpy as np

NUMBERS = ("f4", "f8", "i4", "i8", "u1", "b1")


class _Type:
    """numpy.dtype: the name and, in its state, the order of the bytes."""

    def __init__(self, name: str, *rest: Any) -> None:
        self.name, self.order = name, "<"

    def __setstate__(self, state: Any) -> None:
        self.order = state[1]


class _Array:
    """numpy.ndarray: shape, type, order of the axes and content, as text of Latin-1."""

    def __init__(self, *rest: Any) -> None:
        self.state: tuple[Any, ...] = ()

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.state = state

    def read(self) -> np.ndarray:
        import numpy as np

        _, shape, kind, fortran, content = self.state
        if kind.name not in NUMBERS:
            raise ValueError(f"an array of {kind.name!r} is not numbers")
        flat = np.frombuffer(content.encode("latin-1"), (">" if kind.order == ">" else "<") + kind.name)
        return flat.reshape(shape, order="F" if fortran else "C")


class _Rows:
    """scipy.sparse.csr_matrix: its attributes."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.state = state

    def read(self) -> np.ndarray:
        import numpy as np

        values, columns, starts = (self.state[name].read() for name in ("data", "indices", "indptr"))
        out = np.zeros(self.state["_shape"], np.float32)
        out[np.repeat(np.arange(len(out)), np.diff(starts)), columns] = values
        return out


class _Lists(dict[int, list[int]]):
    """collections.defaultdict of lists."""

    def __init__(self, kind: Any) -> None:
        super().__init__()


_KNOWN = {
    ("numpy", "dtype"): _Type,
    ("numpy", "ndarray"): _Array,
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("scipy.sparse.csr", "csr_matrix"): _Rows,
    ("collections", "defaultdict"): _Lists,
    ("__builtin__", "list"): list,
}


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Called with the names as Python 3 spells them, or as they stand."""
        module = "__builtin__" if module == "builtins" else module
        if (module, name) not in _KNOWN:
            raise pickle.UnpicklingError(f"it names {module}.{name}")
        return _KNOWN[module, name]


def matrix(content: bytes, source: str | PurePath) -> np.ndarray:
    """The numbers of a pickled array or sparse matrix, dense. Raises BenchError naming the source of anything else."""
    return _read(content, source, lambda found: found.read())


def neighbours(content: bytes, source: str | PurePath) -> np.ndarray:
    """int64 (2, E): (node, neighbour) of a pickled mapping of lists. Raises BenchError naming the source."""
    import numpy as np

    def pairs(found: dict[int, list[int]]) -> np.ndarray:
        counts = [len(others) for others in found.values()]
        nodes = np.repeat(np.fromiter(found, np.int64, len(found)), counts)
        others = np.fromiter((node for listed in found.values() for node in listed), np.int64, sum(counts))
        return np.stack([nodes, others])

    return _read(content, source, pairs)


def _read(content: bytes, source: str | PurePath, take: Any) -> Any:
    try:
        return take(_Reader(io.BytesIO(content), encoding="latin-1").load())
    except Exception as error:  # a broken pickle can raise anything
        raise BenchError(f"{source} is not a pickle of numbers as Planetoid's files are: {error}") from error
