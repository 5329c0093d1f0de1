"""`speech-corpus`: LJSpeech, Baker (BZNSYP), LibriTTS or AISHELL-3 as published, with TextGrids of the Montreal Forced Aligner.

$BENCH_DATA/<folder>/ holds the corpus in its own layout and TextGrid/<speaker>/<utterance>.TextGrid beside it; that of LJSpeech's one
speaker is published as TextGrid/LJSpeech/. Features are made once and kept in .features/ there, since a corpus is larger than a memory.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from retable import contents
from retable.bench.datasets.fixed import fixed_order
from retable.bench.datasets.speech import textgrid
from retable.bench.datasets.speech.pitch import Tracker, ready
from retable.bench.datasets.speech.speech import FEATURES, Level
from retable.bench.errors import BenchError, MissingDataError

if TYPE_CHECKING:
    import numpy as np

    from retable.bench.datasets.speech.features import Raw
    from retable.bench.datasets.speech.front_end import FrontEnd
    from retable.bench.datasets.speech.speech import Scale, SpeechData, Utterance

CorpusName = Literal["ljspeech", "baker", "libritts", "aishell3"]
FOLDERS: dict[CorpusName, str] = {
    "ljspeech": "LJSpeech-1.1",
    "baker": "BZNSYP",
    "libritts": "LibriTTS",
    "aishell3": "AISHELL-3",
}
SOUNDS: dict[CorpusName, str] = {
    "ljspeech": "wavs/*.wav",
    "baker": "Wave/*.wav",
    "libritts": "train-*/*/*/*.wav",
    "aishell3": "train/wav/*/*.wav",
}
"""Where each keeps its recordings."""
ALONE = "LJSpeech"
"""The folder of LJSpeech's published alignments."""
LEFT_OUT = 0.05
"""The aligner fails on some recordings of the large corpora, and some hold no voice: this share of all may be left out."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """A recording and its alignment."""

    name: str
    speaker: str
    sound: Path
    grid: Path


@dataclass(frozen=True, kw_only=True)
class SpeechCorpus:
    """`held_out` utterances of a fixed order are not trained on. Recordings are brought to 22050 samples a second.

    Those without an alignment, or without any voice, are left out as by the released code; more than LEFT_OUT are an error.
    """

    NAME: ClassVar[str] = "speech-corpus"

    corpus: CorpusName = "ljspeech"
    held_out: int = 512
    level: Level = "phoneme"
    pitch: Tracker = "dio"

    def __post_init__(self) -> None:
        if self.held_out < 1:
            raise BenchError(f"`held_out` must be at least 1, not {self.held_out}")

    @property
    def folder(self) -> Path:
        return Path(os.environ.get("BENCH_DATA", "data")) / FOLDERS[self.corpus]

    def digest(self) -> str:
        """SHA-256 over names and contents of recordings and alignments. Raises MissingDataError."""
        total = sha256(f"{self.corpus} {self.held_out} {self.level} {self.pitch}".encode())
        for source in self._sources():
            total.update(f"{source.name} {source.speaker} {contents.file_digest(source.sound)}".encode())
            total.update(source.grid.read_bytes())
        return total.hexdigest()

    def ready(self) -> None:
        """Raises MissingDataError without the package that tracks pitches."""
        ready(self.pitch)

    def load(self) -> SpeechData:
        """Raises MissingDataError, BenchError for a file that is not what its name says."""
        from retable.bench.datasets.speech.features import scale_of
        from retable.bench.datasets.speech.front_end import FrontEnd
        from retable.bench.datasets.speech.speech import SpeechData

        sources, front_end = self._sources(), FrontEnd()
        speakers = tuple(sorted({source.speaker for source in sources}))
        grids = [textgrid.spoken(textgrid.intervals(source.grid)) for source in sources]
        symbols = tuple(sorted({interval.text for grid in grids for interval in grid}))
        made = [
            self._features(source, grid, symbols, speakers, front_end)
            for source, grid in zip(sources, grids, strict=True)
        ]
        files = [file for file in made if file is not None]
        silent = next((source for source, file in zip(sources, made, strict=True) if file is None), None)
        if silent is not None:
            check_left_out(len(made) - len(files), len(made), f"{silent.sound} holds no voice")
        order = fixed_order(len(files), f"speech-corpus {self.corpus}")
        if len(order) <= self.held_out:
            raise BenchError(
                f"{self.folder} has {len(order)} utterances, not more than the {self.held_out} to hold out"
            )
        held_out, train = ([files[i] for i in part] for part in (order[: self.held_out], order[self.held_out :]))
        scales = {name: scale_of([getattr(read(file), name) for file in train]) for name in FEATURES}
        return SpeechData(
            name=f"speech-corpus ({self.corpus})",
            train=Stored(train, scales),
            held_out=Stored(held_out, scales),
            symbols=symbols,
            speakers=speakers,
            level=self.level,
            scales=scales,
            front_end=front_end,
        )

    def _sources(self) -> list[Source]:
        """By name, those that are aligned. Raises MissingDataError where there are none, or too few are."""
        found = [self._source(path) for path in sorted(self.folder.glob(SOUNDS[self.corpus]))]
        if not found:
            raise MissingDataError(
                f"{self.corpus} is missing: put its recordings at {self.folder / SOUNDS[self.corpus]} and their "
                f"alignments at {self.folder}/TextGrid/<speaker>/<utterance>.TextGrid, or set BENCH_DATA"
            )
        aligned = [source for source in found if source.grid.is_file()]
        without = next((source for source in found if not source.grid.is_file()), None)
        if without is not None:
            check_left_out(len(found) - len(aligned), len(found), f"{without.sound} has no alignment at {without.grid}")
        return aligned

    def _source(self, sound: Path) -> Source:
        """Speakers are the folders that the corpus has for them; one of a single speaker is named after itself."""
        speaker = {"libritts": sound.parts[-3], "aishell3": sound.parts[-2]}.get(self.corpus, FOLDERS[self.corpus])
        grids = self.folder / "TextGrid"
        alone = self.corpus == "ljspeech" and (grids / ALONE).is_dir()
        grid = grids / (ALONE if alone else speaker) / f"{sound.stem}.TextGrid"
        return Source(name=sound.stem, speaker=speaker, sound=sound, grid=grid)

    def _features(
        self,
        source: Source,
        grid: list[textgrid.Interval],
        symbols: tuple[str, ...],
        speakers: tuple[str, ...],
        front_end: FrontEnd,
    ) -> Path | None:
        """Where those of a recording are kept, made if they are not; another recording, alignment or option is another file.

        None for a recording without any voice.
        """
        import numpy as np

        from retable.bench.datasets.speech.features import Recording, VoicelessError, raw

        if not grid:
            return None
        sound = contents.file_digest(source.sound)
        facts = f"{sound} {source.grid.read_bytes()!r} {self.level} {self.pitch} {symbols} {speakers} {front_end}"
        file = self.folder / ".features" / f"{source.name}-{sha256(facts.encode()).hexdigest()[:16]}.npz"
        if not file.is_file():
            first = round(grid[0].start * front_end.rate)
            wave = read_sound(source.sound, front_end.rate)[first : round(grid[-1].end * front_end.rate)]
            recording = Recording(
                name=source.name,
                text=" ".join(interval.text for interval in grid),
                speaker=speakers.index(source.speaker),
                wave=wave,
                phonemes=np.array([1 + symbols.index(interval.text) for interval in grid], np.int64),
                onsets=np.array([round(interval.start * front_end.rate) - first for interval in grid], np.int64),
            )
            try:
                write(file, raw(recording, front_end, self.level, self.pitch))
            except VoicelessError:
                return None
        return file


def check_left_out(count: int, of: int, example: str) -> None:
    """Warns of recordings that cannot be used; raises MissingDataError with the example where they are more than LEFT_OUT."""
    if count > LEFT_OUT * of:
        raise MissingDataError(f"{count} of {of} recordings cannot be used, more than {LEFT_OUT:.0%}: {example}")
    if count:
        warnings.warn(f"{count} of {of} recordings are left out, the first since {example}", stacklevel=2)


class Stored(Sequence["Utterance"]):
    """Utterances read from their files when they are asked for."""

    def __init__(self, files: Sequence[Path], scales: dict[str, Scale]) -> None:
        self._files, self._scales = files, scales

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, i):  # type: ignore[no-untyped-def]
        from retable.bench.datasets.speech.features import utterance

        if isinstance(i, slice):
            return Stored(self._files[i], self._scales)
        return utterance(read(self._files[i]), self._scales)

    def __iter__(self) -> Iterator[Utterance]:
        return (self[i] for i in range(len(self)))


ARRAYS = ("durations", "mel", "f0", "pitch", "energy")
OF_RECORDING = ("wave", "phonemes", "onsets")


def write(file: Path, item: Raw) -> None:
    """Whole or not at all."""
    import numpy as np

    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f"{file.name}.{os.getpid()}")
    arrays = {name: getattr(item, name) for name in ARRAYS}
    arrays |= {name: getattr(item.recording, name) for name in OF_RECORDING}
    facts = np.array([item.recording.name, item.recording.text, str(item.recording.speaker)])
    with partial.open("wb") as out:
        np.savez(out, facts=facts, **arrays)
    partial.replace(file)


def read(file: Path) -> Raw:
    import numpy as np

    from retable.bench.datasets.speech.features import Raw, Recording

    with np.load(file, allow_pickle=False) as stored:
        name, text, speaker = (str(fact) for fact in stored["facts"])
        parts = {key: stored[key] for key in (*ARRAYS, *OF_RECORDING)}
    recording = Recording(name=name, text=text, speaker=int(speaker), **{key: parts[key] for key in OF_RECORDING})
    return Raw(recording=recording, **{key: parts[key] for key in ARRAYS})


def read_sound(path: Path, rate: int) -> np.ndarray:
    """One channel, float32 in [-1, 1], at `rate`. Raises BenchError for what is no WAV file."""
    from math import gcd

    import numpy as np
    from scipy.io import wavfile
    from scipy.signal import resample_poly

    try:
        own, samples = wavfile.read(path)
    except ValueError as error:
        raise BenchError(f"{path} is not a WAV file: {error}") from error
    if samples.dtype.kind == "u":  # 8 bits are stored around 128
        samples = samples / 128.0 - 1
    elif samples.dtype.kind == "i":
        samples = samples / float(np.iinfo(samples.dtype).max + 1)
    if samples.ndim > 1:
        samples = samples.mean(1)
    if own != rate:
        common = gcd(own, rate)
        samples = resample_poly(samples, rate // common, own // common)
    return samples.astype(np.float32)
