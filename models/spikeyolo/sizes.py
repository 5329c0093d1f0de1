"""The published sizes, without torch. Channels and depths are multiples of those of the 1024-channel network."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Size:
    """`depth` and `width` multiply repeats and channels; the neck and SPPF are cut at `max_channels` times width.

    `p5_ratio` is the expansion of the last block of the neck.
    """

    depth: float
    width: float
    max_channels: int = 1024
    p5_ratio: int = 1

    def repeats(self, n: int) -> int:
        """Blocks of a stage that has `n` at depth 1; halves go to the even number."""
        return max(round(n * self.depth), 1)

    def channels(self, c: int, *, cut: bool = False, multiple: int = 1) -> int:
        """`c` of the 1024-channel network: the backbone's as they are, the neck's `cut`, SPPF's up to a `multiple` of 8."""
        most = min(c, self.max_channels) if cut else c
        return -(-int(most * self.width) // multiple) * multiple


SPIKEYOLO_SIZES = {
    "13.2M": Size(0.33, 0.375),
    "23.1M": Size(0.33, 0.5),
    "48M": Size(0.5, 0.625, 7024, 2),
    "69M": Size(0.5, 0.75, 1024, 2),
}
"""By what the paper calls them, for 80 classes; 7024 is what the released configuration says."""
YOLOV8_SIZES = {"n": Size(0.33, 0.25), "s": Size(0.33, 0.5), "m": Size(0.67, 0.75, 768)}
"""Of the plain conversion (Ultralytics YOLOv8)."""
