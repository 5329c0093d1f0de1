"""What a loaded text is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, eq=False)
class TextData:
    """Training (and calibration) text and held-out text, each one string."""

    name: str
    train: str
    held_out: str
