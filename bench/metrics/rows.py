"""Rows: an array that grows by batches, in memory while it is small, then in an unnamed file below $TMPDIR.

What is read from the file is a copy that its reader lets go of: nothing is mapped, so that a process stays as small as the
rows it looks at.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

IN_MEMORY = 256 << 20
"""Bytes; what is larger goes to the file."""
AT_ONCE = 32 << 20
"""Bytes of the rows that are read at a time."""


class Rows:
    """(N, ...) of one type. Reads like an array: by a number, a slice, a list of numbers; `np.asarray` reads all of it."""

    def __init__(self, shape: tuple[int, ...], dtype: Any) -> None:
        """`shape` is that of one row."""
        import numpy as np

        self.dtype = np.dtype(dtype)
        self._row, self._count = tuple(shape), 0
        self._bytes = self.dtype.itemsize * int(np.prod(shape, dtype=np.int64))
        self._file: Any = None
        self._parts: list[np.ndarray] = []

    def append(self, batch: np.ndarray) -> None:
        """Rows more. Raises OSError where they have to be written and cannot be."""
        import numpy as np

        if batch.shape[1:] != self._row:
            raise ValueError(f"rows of {self._row}, not of {batch.shape[1:]}")
        self._parts.append(np.array(batch, self.dtype))
        self._count += len(batch)
        if self._file is not None or self._count * self._bytes > IN_MEMORY:
            import tempfile

            self._file = self._file or tempfile.TemporaryFile(prefix="retable-rows-")  # noqa: SIM115 - for as long as the rows are
            for part in self._parts:
                self._file.write(part.data)
            self._file.flush()
            self._parts.clear()

    def finished(self) -> np.ndarray | Rows:
        """A plain array of what is small; itself, of what lies in the file."""
        import numpy as np

        if self._file is not None:
            return self
        return np.concatenate(self._parts) if self._parts else np.empty(self.shape, self.dtype)

    @property
    def shape(self) -> tuple[int, ...]:
        return self._count, *self._row

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, which: Any) -> np.ndarray:
        import numpy as np

        numbers = np.arange(self._count)[which]
        if numbers.ndim == 0:
            return self._read(int(numbers), 1)[0]
        if not len(numbers):
            return np.empty((0, *self._row), self.dtype)
        runs = np.split(numbers, np.flatnonzero(np.diff(numbers) != 1) + 1)
        return np.concatenate([self._read(int(run[0]), len(run)) for run in runs])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self._read(0, self._count).astype(dtype or self.dtype, copy=False)

    def _read(self, first: int, count: int) -> np.ndarray:
        import numpy as np

        if self._file is None:
            return np.concatenate(self._parts)[first : first + count]
        found = np.empty((count, *self._row), self.dtype)
        view, at = memoryview(found.data).cast("B"), first * self._bytes
        while len(view):
            read = os.preadv(self._file.fileno(), [view], at)
            if not read:
                raise OSError("the file of rows is shorter than what was written to it")
            view, at = view[read:], at + read
        return found


def blocks(rows: Any) -> Iterator[np.ndarray]:
    """All rows in order, so many at a time as AT_ONCE holds."""
    import numpy as np

    width = max(1, rows.dtype.itemsize * int(np.prod(rows.shape[1:], dtype=np.int64)))
    step = max(1, AT_ONCE // width)
    for start in range(0, len(rows), step):
        yield rows[start : start + step]
