"""Miniatures of speech corpora: humming sounds in each corpus's folders, and alignments as the forced aligner writes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

SEED = 20240710
RATES = {"ljspeech": 22050, "baker": 48000, "libritts": 24000, "aishell3": 44100}
PLACES = {
    "ljspeech": ("wavs/LJ001-{:04d}.wav",),
    "baker": ("Wave/{:06d}.wav",),
    "libritts": ("train-clean-100/103/1241/103_1241_{:06d}.wav", "train-clean-100/911/128/911_128_{:06d}.wav"),
    "aishell3": ("train/wav/SSB0005/SSB0005{:04d}.wav", "train/wav/SSB1935/SSB1935{:04d}.wav"),
}
"""Recordings of each speaker; two speakers where the corpus has several."""
UTTERANCES = 6
PHONES = ("HH", "AH0", "L", "OW1", "W", "ER1", "D")
SECONDS_A_PHONE, SILENCE = 0.11, 0.1


def corpus(dataset: Any, root: Path) -> None:
    """Each recording as 16-bit WAV of the corpus's own rate beside its TextGrid."""
    import numpy as np

    from retable.bench.datasets.speech.corpora import FOLDERS

    rng, folder = np.random.default_rng(SEED), root / FOLDERS[dataset.corpus]
    speakers = PLACES[dataset.corpus]
    for number in range(UTTERANCES):
        for place in speakers:
            sound = folder / place.format(number)
            speaker = {"libritts": sound.parts[-3], "aishell3": sound.parts[-2]}.get(dataset.corpus, folder.name)
            phones = rng.permutation(PHONES)
            _hum(sound, RATES[dataset.corpus], len(phones), rng)
            _align(folder / "TextGrid" / speaker / f"{sound.stem}.TextGrid", list(phones))


def _hum(path: Path, rate: int, phones: int, rng: np.random.Generator) -> None:
    """A voice-like sum of harmonics, its pitch gliding from phone to phone."""
    import numpy as np
    from scipy.io import wavfile

    count = int(rate * (phones * SECONDS_A_PHONE + 2 * SILENCE))
    pitch = np.interp(np.arange(count), np.linspace(0, count, phones + 1), rng.uniform(110, 220, phones + 1))
    phase = 2 * np.pi * np.cumsum(pitch) / rate
    sound = sum(np.sin(k * phase) / k for k in range(1, 9)) * 0.15
    time = np.arange(count) / rate
    sound *= (time > SILENCE) & (time < time[-1] - SILENCE)
    path.parent.mkdir(parents=True, exist_ok=True)
    wavfile.write(path, rate, (sound * 2**15).clip(-(2**15), 2**15 - 1).astype(np.int16))


def _align(path: Path, phones: list[str]) -> None:
    """The long format, with the tiers `words` and `phones`."""
    end = len(phones) * SECONDS_A_PHONE + 2 * SILENCE
    edges = [0.0, *(SILENCE + SECONDS_A_PHONE * k for k in range(len(phones) + 1)), end]
    tiers = {"words": [(0.0, end, "hum")], "phones": list(zip(edges, edges[1:], ["sil", *phones, ""], strict=False))}
    lines = [
        'File type = "ooTextFile"',
        'Object class = "TextGrid"',
        "",
        "xmin = 0",
        f"xmax = {end}",
        "tiers? <exists>",
    ]
    lines += [f"size = {len(tiers)}", "item []:"]
    for i, (name, found) in enumerate(tiers.items(), start=1):
        lines += [f"    item [{i}]:", '        class = "IntervalTier"', f'        name = "{name}"']
        lines += ["        xmin = 0", f"        xmax = {end}", f"        intervals: size = {len(found)}"]
        for j, (start, stop, text) in enumerate(found, start=1):
            lines += [f"        intervals [{j}]:", f"            xmin = {start}", f"            xmax = {stop}"]
            lines += [f'            text = "{text}"']
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


STAND_INS: Mapping[str, Callable[..., None]] = {"speech-corpus": corpus}
