"""Random numbers that no library version can change: PCG64's raw bits, which NumPy keeps stable, in whole numbers."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


class Draws:
    """A stream named by its key; equal keys draw equal numbers."""

    def __init__(self, *key: object) -> None:
        import numpy as np

        seed = int.from_bytes(sha256(":".join(str(part) for part in key).encode()).digest()[:16], "little")
        self._bits = np.random.PCG64(seed)

    def below(self, count: int) -> int:
        """A whole number from 0 to `count` - 1."""
        return (int(self._bits.random_raw()) * count) >> 64

    def between(self, low: int, high: int) -> int:
        """A whole number from `low` to `high`, both possible."""
        return low + self.below(high - low + 1)

    def chance(self, share: int, of: int) -> bool:
        """True in `share` of `of` cases."""
        return self.below(of) < share

    def many(self, count: int, below: int) -> np.ndarray:
        """int64 (count,) numbers from 0 to `below` - 1; `below` is at most 2**32."""
        import numpy as np

        high = self._bits.random_raw(count) >> np.uint64(32)
        return (high * np.uint64(below) >> np.uint64(32)).astype(np.int64)
