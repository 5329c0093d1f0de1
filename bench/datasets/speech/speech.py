"""What speech data look like to tasks and methods. Shapes: L phonemes, M frames, K mel bands, N samples of audio."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np

    from retable.bench.datasets.speech.front_end import FrontEnd

Level = Literal["phoneme", "frame"]
FEATURES = ("pitch", "energy")


@dataclass(frozen=True, kw_only=True, eq=False)
class Utterance:
    """One recording and what is said in it.

    `phonemes` int64 (L), from 1 on: places in `SpeechData.symbols`. `durations` int64 (L) in frames, together M. `wave` float32 (N) in
    [-1, 1]. `mel` float32 (M, K), natural logarithms. `f0` float32 (M) in Hz, 0 where there is no voice. `pitch` and `energy` float32
    (L) or (M), standardised over the corpus.
    """

    name: str
    text: str
    speaker: int
    phonemes: np.ndarray
    durations: np.ndarray
    wave: np.ndarray
    mel: np.ndarray
    f0: np.ndarray
    pitch: np.ndarray
    energy: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Of one feature over the training utterances: `least` and `greatest` standardised value; `mean` and `deviation` before that."""

    least: float
    greatest: float
    mean: float
    deviation: float


@dataclass(frozen=True, kw_only=True, eq=False)
class SpeechData:
    """Training and held-out utterances of a corpus, its symbols and speakers by number, and how features were made."""

    name: str
    train: Sequence[Utterance]
    held_out: Sequence[Utterance]
    symbols: tuple[str, ...]
    speakers: tuple[str, ...]
    level: Level
    scales: Mapping[str, Scale]
    front_end: FrontEnd
