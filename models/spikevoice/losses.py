"""The objective (arXiv 2408.00788, released code): five terms of weight 1, each over what is no padding."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from retable.models.spikevoice.network import Output
from retable.models.spikevoice.sizes import Config
from retable.models.spikevoice.variance import Targets


@dataclass(frozen=True, kw_only=True, eq=False)
class Losses:
    """L1 of the mel spectrograms before and after the post-net; squared errors of pitch, energy and log(duration + 1)."""

    mel: Tensor
    mel_post: Tensor
    pitch: Tensor
    energy: Tensor
    duration: Tensor

    @property
    def total(self) -> Tensor:
        return self.mel + self.mel_post + self.duration + self.pitch + self.energy


def losses(out: Output, mel_BMK: Tensor, targets: Targets, c: Config) -> Losses:
    """Of a teacher-forced pass against the spectrograms (B, M, K), which are cut as the output was."""
    phonemes, frames = ~out.pad_BL, ~out.pad_BM
    wanted_BMK = mel_BMK[:, : frames.shape[1]][frames]
    by_level = {"phoneme": phonemes, "frame": frames}
    return Losses(
        mel=F.l1_loss(out.mel[frames], wanted_BMK),
        mel_post=F.l1_loss(out.mel_post[frames], wanted_BMK),
        pitch=_squared(out.pitch, targets.pitch, by_level[c.pitch_level]),
        energy=_squared(out.energy, targets.energy, by_level[c.energy_level]),
        duration=_squared(out.log_durations, (targets.durations + 1).to(out.mel.dtype).log(), phonemes),
    )


def _squared(predicted_BL: Tensor, wanted_BL: Tensor, counted_BL: Tensor) -> Tensor:
    L = counted_BL.shape[1]
    return F.mse_loss(predicted_BL[:, :L][counted_BL], wanted_BL[:, :L][counted_BL])
