"""From a waveform to its log-mel spectrogram, as the published corpora are prepared (arXiv 2408.00788, released code).

Magnitudes of an STFT (FFT 1024, hop 256, Hann window of 1024, edges reflected), 80 bands of 0 to 8000 Hz on Slaney's mel scale, each of
unit area; natural logarithm of what is at least 1e-5.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from retable.bench.errors import BenchError

if TYPE_CHECKING:
    import numpy as np

LINEAR_HZ, BREAK_HZ, LOG_STEP = 200 / 3, 1000.0, 27
"""Slaney's scale: a mel is 200/3 Hz below 1000 Hz; above, 27 of them are a factor of 6.4."""


@dataclass(frozen=True, kw_only=True)
class FrontEnd:
    """Shapes: N samples, M = 1 + N // hop frames, F = fft / 2 + 1 frequencies, K bands."""

    rate: int = 22050
    fft: int = 1024
    hop: int = 256
    bands: int = 80
    low: float = 0.0
    high: float = 8000.0
    floor: float = 1e-5

    @cached_property
    def window(self) -> np.ndarray:
        """Periodic Hann window, float32 (fft)."""
        import numpy as np

        return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(self.fft) / self.fft)).astype(np.float32)

    @cached_property
    def basis(self) -> np.ndarray:
        """Triangles of unit area, float32 (K, F)."""
        import numpy as np

        frequencies = np.linspace(0, self.rate / 2, self.fft // 2 + 1)
        corners = mel_to_hz(np.linspace(hz_to_mel(self.low), hz_to_mel(self.high), self.bands + 2))
        width = np.diff(corners)
        rising = (frequencies - corners[:-2, None]) / width[:-1, None]
        falling = (corners[2:, None] - frequencies) / width[1:, None]
        triangles = np.maximum(0, np.minimum(rising, falling))
        return (triangles * (2 / (corners[2:] - corners[:-2]))[:, None]).astype(np.float32)

    def frames(self, samples: int) -> int:
        return 1 + samples // self.hop

    def magnitudes(self, wave_N: np.ndarray) -> np.ndarray:
        """Float32 (M, F). Raises BenchError for a recording that is too short to be reflected."""
        import numpy as np

        half = self.fft // 2
        if len(wave_N) <= half:
            raise BenchError(f"a recording of {len(wave_N)} samples is too short: more than {half} are needed")
        padded = np.pad(wave_N.astype(np.float32), half, mode="reflect")
        views = np.lib.stride_tricks.sliding_window_view(padded, self.fft)[:: self.hop]
        spectrum: np.ndarray = np.abs(np.fft.rfft(views * self.window, axis=1)).astype(np.float32)
        return spectrum

    def log_mel(self, magnitudes_MF: np.ndarray) -> np.ndarray:
        """Float32 (M, K)."""
        import numpy as np

        mel: np.ndarray = np.log(np.maximum(magnitudes_MF @ self.basis.T, self.floor)).astype(np.float32)
        return mel


def hz_to_mel(hz: float) -> float:
    """Slaney's scale; 1000 Hz are 15 mel."""
    import math

    if hz < BREAK_HZ:
        return hz / LINEAR_HZ
    return BREAK_HZ / LINEAR_HZ + LOG_STEP * math.log(hz / BREAK_HZ) / math.log(6.4)


def mel_to_hz(mel: np.ndarray) -> np.ndarray:
    import numpy as np

    knee = BREAK_HZ / LINEAR_HZ
    hz: np.ndarray = np.where(mel < knee, mel * LINEAR_HZ, BREAK_HZ * 6.4 ** ((mel - knee) / LOG_STEP))
    return hz
