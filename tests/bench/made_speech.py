"""Speech for tests that no synthesiser said: buzzing vowels of exact length and pitch, and a speaker that repeats them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from retable.bench.datasets.speech.features import Recording, raw, scale_of, utterances
from retable.bench.datasets.speech.front_end import FrontEnd
from retable.bench.datasets.speech.speech import FEATURES, Level, SpeechData

RATE, HOP = 22050, 256
VOWELS = {1: (700, 1200), 2: (300, 2300), 3: (400, 800)}
"""Formants in Hz of three symbols."""


def buzz(hz: float, frames: int, formants: tuple[int, int] = (500, 1500), start: float = 0.0) -> np.ndarray:
    """A vowel: harmonics of `hz`, louder near the formants."""
    t = start + np.arange(frames * HOP) / RATE
    tones = [
        np.exp(-(((k * hz - f) / 200) ** 2)) * np.sin(2 * np.pi * k * hz * t)
        for f in formants
        for k in range(1, int(4000 / hz))
    ]
    return (np.sum(tones, 0) + 0.2 * np.sin(2 * np.pi * hz * t)).astype(np.float32) / 10


def recording(seed: int, speaker: int = 0) -> Recording:
    """Four vowels of 4 to 9 frames around 120 Hz, the second speaker's at 200 Hz."""
    rng = np.random.default_rng(seed)
    phonemes, frames = rng.integers(1, 4, 4), rng.integers(4, 10, 4)
    hz = (120, 200)[speaker] * rng.uniform(0.9, 1.1, 4)
    loud = rng.uniform(0.5, 1.0, 4)
    parts = [a * buzz(h, n, VOWELS[int(p)]) for a, h, n, p in zip(loud, hz, frames, phonemes, strict=True)]
    wave = np.concatenate(parts)
    onsets = HOP * np.append(0, frames.cumsum()[:-1])
    return Recording(name=f"made-{seed}", text="", speaker=speaker, wave=wave, phonemes=phonemes, onsets=onsets)


def made_speech(train: int = 12, held_out: int = 3, speakers: int = 1, level: Level = "phoneme") -> SpeechData:
    front_end = FrontEnd()
    raws = [raw(recording(i, i % speakers), front_end, level, "yin") for i in range(train + held_out)]
    scales = {name: scale_of([getattr(item, name) for item in raws[:train]]) for name in FEATURES}
    return SpeechData(
        name="made",
        train=utterances(raws[:train], scales),
        held_out=utterances(raws[train:], scales),
        symbols=("a", "i", "u"),
        speakers=tuple(f"speaker-{i}" for i in range(speakers)),
        level=level,
        scales=scales,
        front_end=front_end,
    )


class Repeater:
    """A speaker that says the recording, spoilt as `spoil` says; durations are `off` frames too long."""

    PREDICTS = True

    def __init__(self, spoil: Any = lambda wave: wave, off: float = 0.0) -> None:
        self.spoil, self.off = spoil, off

    def eval(self) -> None:
        pass

    def speak(self, utterance: Any, *, forced: bool = True, duration: float = 1.0, sound: bool = True) -> Any:
        front_end = FrontEnd()
        wave = self.spoil(utterance.wave).astype(np.float32)
        mel = front_end.log_mel(front_end.magnitudes(wave))[: len(utterance.mel)]
        if not forced:
            mel = mel[: int(duration * 10)]
        durations = torch.from_numpy(utterance.durations + self.off)
        return SimpleNamespace(mel=torch.from_numpy(mel), wave=torch.from_numpy(wave), durations=durations)
