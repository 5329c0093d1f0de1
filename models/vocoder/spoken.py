"""What a synthesiser gives for one utterance. Shapes: L phonemes, M frames, K mel bands, N samples."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class Spoken:
    """Log-mel (M, K) and sound (N); predicted frames of each phoneme (L), real-valued, None of what predicts none."""

    mel: Tensor
    wave: Tensor | None = None
    durations: Tensor | None = None
