"""Memory: the most resident memory that this process held during a block."""

from __future__ import annotations

import re
import sys
from pathlib import Path

PROC = Path("/proc/self")
RESET_PEAK = "5"
"""Written to clear_refs, it sets the kernel's high-water mark back to what is resident now (proc_pid_clear_refs(5))."""


class PeakMemory:
    """`with PeakMemory() as memory: ...`; then `memory.bytes`, or None and `memory.reason`.

    The figure is the high-water mark of the whole process's resident set, children not included: interpreter and
    libraries count, and so does what earlier stages left behind (`memory.before`). Where the mark cannot be set back,
    there is a figure only if the block raised the mark. Not to be nested: an inner block resets the outer mark.
    """

    def __init__(self, proc: Path = PROC) -> None:
        self._proc = proc
        self.bytes: int | None = None
        self.before: int | None = None
        self.reason: str | None = "the block has not ended"

    def __enter__(self) -> PeakMemory:
        self._is_reset = self._reset()
        self.before = self._status("VmRSS")
        self._mark = self._high_water()
        return self

    def __exit__(self, *exception: object) -> None:
        peak = self._high_water()
        if peak is None or self._mark is None:
            self.reason = "the system does not tell the peak of the resident set"
        elif self._is_reset or peak > self._mark:
            self.bytes, self.reason = peak, None
        else:
            self.reason = "the process had held more before, and the system cannot forget its peak"

    def _reset(self) -> bool:
        try:
            (self._proc / "clear_refs").write_text(RESET_PEAK)
        except OSError:
            return False
        return True

    def _high_water(self) -> int | None:
        """Bytes: VmHWM on Linux, the resource usage of the process elsewhere."""
        mark = self._status("VmHWM")
        return _maxrss() if mark is None and self._proc == PROC else mark

    def _status(self, name: str) -> int | None:
        try:
            found = re.search(rf"^{name}:\s*(\d+) kB$", (self._proc / "status").read_text(), flags=re.MULTILINE)
        except OSError:
            return None
        return int(found[1]) * 1024 if found else None


def _maxrss() -> int | None:
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
