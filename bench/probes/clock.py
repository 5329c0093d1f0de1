"""Clock: wall and processor time of a block."""

from __future__ import annotations

import time


class Stopwatch:
    """`with Stopwatch() as watch: ...`; then `watch.wall` and `watch.cpu` in seconds.

    `cpu` is user and system time of all threads of this process, without children; over `wall` it tells how many cores
    were busy. Work that a device does asynchronously ends later: synchronise inside the block.
    """

    def __init__(self) -> None:
        self.wall: float | None = None
        self.cpu: float | None = None

    def __enter__(self) -> Stopwatch:
        self._cpu, self._wall = time.process_time(), time.perf_counter()
        return self

    def __exit__(self, *exception: object) -> None:
        self.wall = time.perf_counter() - self._wall
        self.cpu = time.process_time() - self._cpu

    @property
    def timings(self) -> dict[str, float]:
        """As a record holds them; only what has been measured."""
        measured = {"wall": self.wall, "cpu": self.cpu}
        return {name: seconds for name, seconds in measured.items() if seconds is not None}
