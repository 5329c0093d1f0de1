"""What a task of speech is given in place of a synthesiser."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from retable.models.vocoder.spoken import Spoken


class RecordingSpeaker(nn.Module):
    """The utterance's own spectrogram; its sound is the recording's, or the vocoder's of that spectrogram."""

    PREDICTS = False

    def __init__(self, vocoder: Callable[[Tensor], Tensor] | None) -> None:
        super().__init__()
        self._vocoder = vocoder

    def speak(self, utterance: Any) -> Spoken:
        mel_MK = torch.from_numpy(utterance.mel)
        wave_N = torch.from_numpy(utterance.wave) if self._vocoder is None else self._vocoder(mel_MK)
        return Spoken(mel=mel_MK, wave=wave_N)
