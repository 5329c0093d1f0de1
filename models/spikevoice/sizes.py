"""What SpikeVoice is built from, without torch. The defaults are the published configuration of LJSpeech."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Arm = Literal["stsa", "sequential", "softmax", "ann"]
Level = Literal["phoneme", "frame"]
Spacing = Literal["linear", "log"]


@dataclass(frozen=True, kw_only=True)
class Config:
    """Sizes and protocol. T steps, d channels, K mel bands.

    `arm`: stsa        attention over the steps, then over the sequence (the paper's)
           sequential  over the sequence alone
           softmax     over the sequence, softmax(q k^T / sqrt(d_k)) v of spikes
           ann         FastSpeech 2, T = 1
    `energy_by_pitch` is the released code's: energies are scaled by the factor meant for pitches.
    """

    arm: Arm = "stsa"
    T: int = 4
    d: int = 256
    heads: int = 2
    decoder_heads: int | None = None
    encoder_blocks: int = 4
    decoder_blocks: int = 6
    filter: int = 1024
    kernels: tuple[int, int] = (9, 1)
    predictor: int = 256
    predictor_kernel: int = 3
    bins: int = 256
    pitch_level: Level = "phoneme"
    energy_level: Level = "phoneme"
    pitch_spacing: Spacing = "linear"
    energy_spacing: Spacing = "linear"
    energy_by_pitch: bool = True
    postnet: int = 512
    mels: int = 80
    symbols: int = 360
    speakers: int = 0
    longest: int = 1000

    def __post_init__(self) -> None:
        for name, least in (
            ("T", 1), ("d", 2), ("heads", 1), ("encoder_blocks", 1), ("decoder_blocks", 1), ("filter", 1), ("predictor", 1),
            ("bins", 2), ("postnet", 1), ("mels", 1), ("symbols", 1), ("speakers", 0), ("longest", 1),
        ):  # fmt: skip
            if getattr(self, name) < least:
                raise ValueError(f"`{name}` must be at least {least}, not {getattr(self, name)}")
        for name, heads in (("heads", self.heads), ("decoder_heads", self.decoder_heads or self.heads)):
            if self.d % heads:
                raise ValueError(f"`d` must be a multiple of the {heads} `{name}`, not {self.d}")
        for name, kernels in (("kernels", self.kernels), ("predictor_kernel", (self.predictor_kernel,))):
            if any(k < 1 or k % 2 == 0 for k in kernels):
                raise ValueError(f"`{name}` must be odd, so that lengths stay: not {kernels}")
        if self.arm == "ann" and self.T != 1:
            raise ValueError(f"without neurons nothing changes over time: `T` must be 1, not {self.T}")
