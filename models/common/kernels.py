"""Compiled kernels: Numba's compiler, with its disk cache where there is a place for one and without where there is none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit


def cached(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """`numba.njit` with `options` and a cache on the disk; on a machine where nothing can be written it compiles each time."""

    def compiled(function: Callable[..., Any]) -> Any:
        try:
            return njit(cache=True, **options)(function)
        except RuntimeError as error:
            if "no locator available" not in str(error):
                raise
            return njit(**options)(function)

    return compiled
