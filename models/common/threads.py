"""Loops over independent blocks on as many threads as torch uses, for compiled kernels that release the GIL."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from threading import Lock

import torch

PIECES = 4
"""Ranges a thread, so that a core that is busy elsewhere holds up one of them and not its whole share."""

_creation = Lock()


def spread(kernel: Callable[[int, int], object], blocks: int, worth: bool = True) -> None:
    """Call `kernel(start, stop)` on ranges that cover 0 ... blocks - 1, in parallel when it is `worth` the hand-over.

    Results must not depend on the ranges, so that the number of threads changes speed alone.
    """
    threads = min(torch.get_num_threads(), blocks)
    if threads < 2 or not worth:
        kernel(0, blocks)
        return
    pieces = min(blocks, PIECES * threads)
    ranges = iter([(blocks * i // pieces, blocks * (i + 1) // pieces) for i in range(pieces)])

    def work() -> None:
        for start, stop in ranges:  # one iterator for all threads: who is free takes the next range
            kernel(start, stop)

    with _creation:
        pool = _pool(os.getpid(), torch.get_num_threads() - 1)  # a forked child has none of its parent's threads
    others = [pool.submit(work) for _ in range(threads - 1)]
    try:
        work()
    finally:
        for other in others:
            other.result()


@cache
def _pool(process: int, threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="kernel")
