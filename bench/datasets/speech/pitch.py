"""F0 by frame: YIN (de Cheveigne & Kawahara, 2002), and the published protocol's DIO with StoneMask where pyworld is installed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from retable.bench.datasets.fixed import require_packages
from retable.bench.errors import MissingDataError

if TYPE_CHECKING:
    import numpy as np

Tracker = Literal["yin", "dio"]
LOWEST, HIGHEST = 65.0, 500.0
CLEAR, APERIODIC = 0.15, 0.35
"""The first dip of the normalised difference below CLEAR is taken, else the deepest; a voiced frame's is below APERIODIC."""
SILENT = 0.02
"""A frame whose amplitude is below this share of the recording's largest has no voice."""


def f0(wave_N: np.ndarray, rate: int, hop: int, tracker: Tracker = "yin") -> np.ndarray:
    """Hz by frame, float32 (1 + N // hop), 0 where there is no voice. Raises MissingDataError for `dio` without pyworld."""
    return yin(wave_N, rate, hop) if tracker == "yin" else dio(wave_N, rate, hop)


def yin(wave_N: np.ndarray, rate: int, hop: int) -> np.ndarray:
    """Steps 1 to 5 of YIN in windows of two of the longest periods, centred as the frames of the spectrogram are."""
    import numpy as np

    longest, shortest = int(rate / LOWEST), int(rate / HIGHEST)
    span = 2 * longest
    reach = span + longest
    padded = np.pad(wave_N.astype(np.float64), (reach // 2, reach))
    starts = hop * np.arange(1 + len(wave_N) // hop)
    frames_MS = np.lib.stride_tricks.sliding_window_view(padded, reach)[starts]
    cumulative_ML = _normalised_difference(frames_MS, span, longest)
    lag_M, depth_M = _first_dip(cumulative_ML, shortest)
    loud_M = np.sqrt((frames_MS[:, :span] ** 2).mean(1))
    voiced = (depth_M < APERIODIC) & (loud_M > SILENT * max(np.abs(wave_N).max(initial=0), 1e-9))
    return np.where(voiced, rate / np.maximum(lag_M, 1), 0).astype(np.float32)


def _normalised_difference(frames_MS: np.ndarray, span: int, longest: int) -> np.ndarray:
    """d'(lag) for lags 0 ... longest, (M, longest + 1): squared difference of a window to itself `lag` later, over its running mean."""
    import numpy as np

    size = 1 << (frames_MS.shape[1] + span - 1).bit_length()
    head = np.fft.rfft(frames_MS[:, :span], size)
    correlation = np.fft.irfft(np.conj(head) * np.fft.rfft(frames_MS, size), size)[:, : longest + 1]
    power = np.concatenate([np.zeros((len(frames_MS), 1)), np.cumsum(frames_MS**2, 1)], 1)
    energy = power[:, span : span + longest + 1] - power[:, : longest + 1]
    difference = np.maximum(energy[:, :1] + energy - 2 * correlation, 0)
    running = np.cumsum(difference[:, 1:], 1) / np.arange(1, longest + 1)
    normalised = np.ones_like(difference)
    np.divide(difference[:, 1:], running, out=normalised[:, 1:], where=running > 1e-12)
    return normalised


def _first_dip(normalised_ML: np.ndarray, shortest: int) -> tuple[np.ndarray, np.ndarray]:
    """The first local minimum below CLEAR, or the lowest of all, refined by a parabola; and its depth."""
    import numpy as np

    inner = normalised_ML[:, 1:-1]
    dips = (inner <= normalised_ML[:, :-2]) & (inner < normalised_ML[:, 2:])
    dips[:, : shortest - 1] = False
    deep = dips & (inner < CLEAR)
    lowest = np.where(dips, inner, np.inf).argmin(1)
    lag = 1 + np.where(deep.any(1), deep.argmax(1), lowest)
    rows = np.arange(len(lag))
    before, here, after = (normalised_ML[rows, lag + step] for step in (-1, 0, 1))
    bend = before - 2 * here + after
    shift = np.where(np.abs(bend) > 1e-12, 0.5 * (before - after) / np.where(bend == 0, 1, bend), 0)
    return lag + np.clip(shift, -0.5, 0.5), np.where(dips.any(1), here, np.inf)


def ready(tracker: Tracker) -> None:
    """Raises MissingDataError for `dio` without pyworld."""
    if tracker == "dio":
        require_packages("a pitch by DIO and StoneMask", "pyworld 'setuptools<81'", "pyworld")


def dio(wave_N: np.ndarray, rate: int, hop: int) -> np.ndarray:
    """The protocol of the published corpora."""
    import numpy as np

    try:
        import pyworld
    except ImportError as error:
        raise MissingDataError(
            "pitches by DIO and StoneMask need pyworld: `pip install pyworld 'setuptools<81'`"
        ) from error
    wave = wave_N.astype(np.float64)
    coarse, times = pyworld.dio(wave, rate, frame_period=hop / rate * 1000)
    fine: np.ndarray = pyworld.stonemask(wave, coarse, times, rate).astype(np.float32)
    return fine


def filled(f0_M: np.ndarray) -> np.ndarray:
    """Linear through frames without voice, constant beyond the first and last voiced one; all 0 where there is none."""
    import numpy as np

    voiced = np.flatnonzero(f0_M)
    if not len(voiced):
        return f0_M
    return np.interp(np.arange(len(f0_M)), voiced, f0_M[voiced]).astype(np.float32)
