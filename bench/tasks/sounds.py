"""Samples to be heard and seen: 16-bit sound files, and spectrograms as pictures."""

from __future__ import annotations

import io
import wave
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

ZOOM = 3
DARK, LIGHT = (20, 16, 60), (255, 240, 190)
"""Colours of the least and the greatest value."""


def wav(wave_N: np.ndarray, rate: int) -> bytes:
    """One channel of 16 bits; beyond [-1, 1] it is cut, what is no number is silence."""
    import numpy as np

    samples = np.rint(np.clip(np.nan_to_num(wave_N), -1, 1) * 32767).astype("<i2")
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(rate)
        sound.writeframes(samples.tobytes())
    return file.getvalue()


def spectrogram_png(mel_MK: np.ndarray, low: float, high: float) -> bytes:
    """Time to the right, low bands at the bottom; colours from `low` to `high`."""
    import numpy as np
    from PIL import Image

    share = np.clip((np.nan_to_num(mel_MK) - low) / max(high - low, 1e-6), 0, 1).T[::-1, :, None]
    pixels = np.rint(np.array(DARK) + share * (np.array(LIGHT) - np.array(DARK))).astype(np.uint8)
    image = Image.fromarray(pixels)
    file = io.BytesIO()
    image.resize((ZOOM * image.width, ZOOM * image.height), Image.Resampling.NEAREST).save(file, "PNG", optimize=True)
    return file.getvalue()
