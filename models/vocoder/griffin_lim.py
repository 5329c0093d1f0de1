"""Griffin-Lim (1984) from a log-mel spectrogram. Shapes: M frames, K mel bands, F frequencies, N samples.

Magnitudes come from the least-squares inverse of the mel basis, cut at 0; phases start from fixed draws, and each iteration keeps
those of the nearest consistent spectrogram. The same spectrogram always gives the same sound.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

MOMENTUM = 0.99
"""Of the fast variant (Perraudin et al., 2013)."""
SEED = 0


class GriffinLim:
    """`front_end` is what the spectrograms were made with: its `fft`, `hop`, `window` and `basis` (K, F)."""

    def __init__(self, front_end: Any, iterations: int = 32) -> None:
        self.fft, self.hop, self.iterations = front_end.fft, front_end.hop, iterations
        self.window = torch.from_numpy(front_end.window)
        self.inverse_FK = torch.linalg.pinv(torch.from_numpy(front_end.basis).double()).float()

    @torch.no_grad()
    def __call__(self, log_mel_MK: Tensor) -> Tensor:
        """(N) with N = hop (M - 1), on the CPU."""
        magnitude_FM = (self.inverse_FK @ log_mel_MK.detach().cpu().float().exp().T).clamp(min=0)
        draws = torch.rand(magnitude_FM.shape, generator=torch.Generator().manual_seed(SEED))
        phase_FM = torch.polar(torch.ones_like(draws), 2 * math.pi * draws)
        before_FM = torch.zeros_like(phase_FM)
        for _ in range(self.iterations):
            rebuilt_FM = self._analysed(self._sound(magnitude_FM * phase_FM))
            ahead_FM = rebuilt_FM - MOMENTUM / (1 + MOMENTUM) * before_FM
            phase_FM = ahead_FM / ahead_FM.abs().clamp(min=1e-12)
            before_FM = rebuilt_FM
        return self._sound(magnitude_FM * phase_FM)

    def _sound(self, spectrum_FM: Tensor) -> Tensor:
        return torch.istft(spectrum_FM, self.fft, self.hop, window=self.window)

    def _analysed(self, wave_N: Tensor) -> Tensor:
        return torch.stft(wave_N, self.fft, self.hop, window=self.window, pad_mode="reflect", return_complex=True)
