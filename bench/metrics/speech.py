"""How near speech is to its recording, frame by frame: the durations are the recording's, so that frames belong together.

Shapes: M frames, K mel bands. A value an utterance, and their mean.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from retable.bench.errors import BenchError
from retable.bench.metrics.measured import absent, measured, unusable
from retable.bench.record import Direction, Measurement

if TYPE_CHECKING:
    import numpy as np

CEPSTRA = 13
DECIBEL = 10 * math.sqrt(2) / math.log(10)
NO_PREDICTION = "a recording predicts no durations"


@dataclass(frozen=True, kw_only=True)
class MelL1:
    """Mean absolute difference of the log-mel spectrograms (natural logarithm)."""

    NAME: ClassVar[str] = "mel_l1"

    UNIT: ClassVar[str] = "nats"
    DIRECTION: ClassVar[Direction] = "lower"
    VERSION: ClassVar[str] = "1"
    EXACT: ClassVar[bool] = False

    def measure(self, evidence: Any) -> Measurement:
        import numpy as np

        return _mean_of_pairs(self, evidence, lambda spoken, true: float(np.abs(spoken - true).mean()))


@dataclass(frozen=True, kw_only=True)
class MelCepstralDistortion:
    """10 sqrt(2) / ln 10 times the mean distance of the cepstra c_1 to c_13 of the log-mel spectrogram x of K bands.

    c_k = 1/K sum_n x_n cos(pi k (n + 1/2) / K). Not comparable with distortions of other cepstra (WORLD's, say): the front
    end is part of the number.
    """

    NAME: ClassVar[str] = "mcd"

    UNIT: ClassVar[str] = "dB"
    DIRECTION: ClassVar[Direction] = "lower"
    VERSION: ClassVar[str] = "1"
    EXACT: ClassVar[bool] = False

    def measure(self, evidence: Any) -> Measurement:
        return _mean_of_pairs(self, evidence, cepstral_distortion)


def cepstral_distortion(spoken_MK: np.ndarray, true_MK: np.ndarray) -> float:
    """In dB; the zeroth cepstrum, the loudness, is left out."""
    import numpy as np
    from scipy.fft import dct

    K = true_MK.shape[1]
    away = dct(spoken_MK.astype(np.float64) - true_MK, type=2, axis=1)[:, 1 : CEPSTRA + 1] / (2 * K)
    return float(DECIBEL * np.sqrt((away**2).sum(1)).mean())


@dataclass(frozen=True, kw_only=True)
class F0Error:
    """Root of the mean squared difference of F0 over all frames that have a voice in both."""

    NAME: ClassVar[str] = "f0_rmse"

    UNIT: ClassVar[str] = "Hz"
    DIRECTION: ClassVar[Direction] = "lower"
    VERSION: ClassVar[str] = "1"
    EXACT: ClassVar[bool] = False

    def measure(self, evidence: Any) -> Measurement:
        import numpy as np

        true, spoken = (np.concatenate(parts) for parts in zip(*evidence.f0, strict=True))
        both = (true > 0) & (spoken > 0)
        if not both.any():
            return absent(self, "no frame has a voice in both the speech and its recording")
        value = np.sqrt(((true[both] - spoken[both]).astype(np.float64) ** 2).mean())
        return measured(self, value, n=len(evidence.pairs), details={"frames": int(both.sum())})


@dataclass(frozen=True, kw_only=True)
class VoicingError:
    """Share of frames that have a voice in only one of speech and recording."""

    NAME: ClassVar[str] = "voicing_error"

    UNIT: ClassVar[str] = "%"
    DIRECTION: ClassVar[Direction] = "lower"
    VERSION: ClassVar[str] = "1"
    EXACT: ClassVar[bool] = False

    def measure(self, evidence: Any) -> Measurement:
        return _mean(self, [float(100 * ((true > 0) != (spoken > 0)).mean()) for true, spoken in evidence.f0])


@dataclass(frozen=True, kw_only=True)
class DurationError:
    """Mean absolute difference of predicted and true durations, over phonemes."""

    NAME: ClassVar[str] = "duration_error"

    UNIT: ClassVar[str] = "frames"
    DIRECTION: ClassVar[Direction] = "lower"
    VERSION: ClassVar[str] = "1"
    EXACT: ClassVar[bool] = False

    def measure(self, evidence: Any) -> Measurement:
        import numpy as np

        if any(pair.durations is None for pair in evidence.pairs):
            return absent(self, NO_PREDICTION)
        return _mean(self, [float(np.abs(pair.durations - pair.reference.durations).mean()) for pair in evidence.pairs])


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """How many times as long the speech is, by the model's own durations, when it is asked to last `factor` times as long.

    Durations are whole frames before the factor and cut to whole ones after it: by a whole factor the number is exact.
    """

    NAME: ClassVar[str] = "stretch"

    factor: float

    UNIT: ClassVar[str] = "times"
    DIRECTION: ClassVar[Direction] = "none"
    VERSION: ClassVar[str] = "1"
    EXACT: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not 0 < self.factor < math.inf:
            raise BenchError(f"stretch[...] takes a factor above 0, not {self.factor}")

    def measure(self, evidence: Any) -> Measurement:
        if not evidence.model.PREDICTS:
            return absent(self, NO_PREDICTION)
        if silent := sum(not pair.durations.round().any() for pair in evidence.pairs):
            return absent(self, f"the model speaks not one frame of {silent} of {len(evidence.pairs)} utterances")
        plain, stretched = evidence.frames_at(1.0), evidence.frames_at(self.factor)
        found = measured(self, sum(stretched) / sum(plain), n=len(plain), details={"frames": sum(plain)})
        return replace(found, exact=float(self.factor).is_integer())


def _mean_of_pairs(metric: Any, evidence: Any, of: Callable[[np.ndarray, np.ndarray], float]) -> Measurement:
    return _mean(metric, [of(pair.mel, pair.reference.mel) for pair in evidence.pairs])


def _mean(metric: Any, values: Sequence[float]) -> Measurement:
    import numpy as np

    if reason := unusable(values, "utterances"):
        return absent(metric, reason)
    return measured(metric, float(np.mean(values)), n=len(values), samples=tuple(values))
