"""From recordings with aligned phonemes to utterances: spectrogram, pitch and energy, standardised over the training part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from retable.bench.datasets.speech.front_end import FrontEnd
from retable.bench.datasets.speech.pitch import Tracker, f0, filled
from retable.bench.datasets.speech.speech import FEATURES, Level, Scale, Utterance
from retable.bench.errors import BenchError

if TYPE_CHECKING:
    import numpy as np

FENCE = 1.5
"""Values further than this many interquartile ranges from the quartiles count neither for the mean nor for the deviation."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Recording:
    """A waveform (N) and its phonemes with the sample at which each begins; the last one lasts to the end."""

    name: str
    text: str
    speaker: int
    wave: np.ndarray
    phonemes: np.ndarray
    onsets: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class Raw:
    """An utterance before pitch and energy (L or M) are standardised."""

    recording: Recording
    durations: np.ndarray
    mel: np.ndarray
    f0: np.ndarray
    pitch: np.ndarray
    energy: np.ndarray


class VoicelessError(BenchError):
    """No frame of a recording has a pitch."""


def raw(recording: Recording, front_end: FrontEnd, level: Level, tracker: Tracker) -> Raw:
    """Features of one recording. Raises BenchError for phonemes that are not in order, VoicelessError without any voice."""
    import numpy as np

    magnitudes_MF = front_end.magnitudes(recording.wave)
    durations = frames_of(recording, len(magnitudes_MF), front_end.hop)
    voice = f0(recording.wave, front_end.rate, front_end.hop, tracker)[: len(magnitudes_MF)]
    if not voice.any():
        raise VoicelessError(f"{recording.name}: no frame has a voice, so that there is no pitch")
    values = {"pitch": filled(voice), "energy": np.linalg.norm(magnitudes_MF, axis=1).astype(np.float32)}
    if level == "phoneme":
        values = {name: by_phoneme(value, durations) for name, value in values.items()}
    return Raw(recording=recording, durations=durations, mel=front_end.log_mel(magnitudes_MF), f0=voice, **values)


def frames_of(recording: Recording, frames: int, hop: int) -> np.ndarray:
    """Durations in frames, int64 (L): differences of rounded borders, the first 0 and the last the number of frames."""
    import numpy as np

    borders = np.append(np.rint(recording.onsets / hop), frames).astype(np.int64)
    borders[0] = 0
    borders = np.minimum(borders, frames)
    durations = np.diff(borders)
    if len(recording.onsets) != len(recording.phonemes) or (durations < 0).any():
        raise BenchError(f"{recording.name}: its phonemes do not follow each other in time")
    return durations


def by_phoneme(values_M: np.ndarray, durations_L: np.ndarray) -> np.ndarray:
    """Means over each phoneme's frames, 0 for one without any; float32 (L)."""
    import numpy as np

    ends = np.cumsum(durations_L)
    sums = np.append(0, np.cumsum(values_M.astype(np.float64)))
    totals = sums[ends] - sums[ends - durations_L]
    return (totals / np.maximum(durations_L, 1)).astype(np.float32)


def scale_of(values: Sequence[np.ndarray]) -> Scale:
    """Mean and deviation without outliers, then the range of all values with them. Raises BenchError for values that do not differ."""
    import numpy as np

    kept = np.concatenate([inside(part) for part in values]).astype(np.float64)
    mean, deviation = float(kept.mean()), float(kept.std())
    if not deviation > 0:
        raise BenchError("pitch or energy is the same throughout the corpus: there is nothing to be standardised")
    whole = (np.concatenate(values) - mean) / deviation
    return Scale(least=float(whole.min()), greatest=float(whole.max()), mean=mean, deviation=deviation)


def inside(values: np.ndarray) -> np.ndarray:
    """Those within the fences, of one utterance."""
    import numpy as np

    low, high = np.percentile(values, (25, 75))
    reach = FENCE * (high - low)
    kept: np.ndarray = values[(values > low - reach) & (values < high + reach)]
    return kept if len(kept) else values


def utterances(raws: Sequence[Raw], scales: dict[str, Scale]) -> list[Utterance]:
    return [utterance(item, scales) for item in raws]


def utterance(item: Raw, scales: dict[str, Scale]) -> Utterance:
    import numpy as np

    standard = {
        name: ((getattr(item, name) - scales[name].mean) / scales[name].deviation).astype(np.float32)
        for name in FEATURES
    }
    recording = item.recording
    return Utterance(
        name=recording.name,
        text=recording.text,
        speaker=recording.speaker,
        phonemes=recording.phonemes,
        durations=item.durations,
        wave=recording.wave,
        mel=item.mel,
        f0=item.f0,
        **standard,
    )
