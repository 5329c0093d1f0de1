"""`espeak-sentences`: short sentences of simple grammar that espeak-ng speaks, with the exact durations of their phonemes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from retable.bench.datasets.fixed import fixed_order
from retable.bench.datasets.speech.sentences import PARTS, sentences
from retable.bench.datasets.speech.speech import Level
from retable.bench.errors import BenchError

if TYPE_CHECKING:
    import numpy as np

    from retable.bench.datasets.speech.espeak import Order, Spoken
    from retable.bench.datasets.speech.features import Recording
    from retable.bench.datasets.speech.speech import SpeechData

PAUSES = ("_", "_:", "_!", "_|")
FORMAT = "1"
"""Raise it when the same orders are to be spoken anew."""


@dataclass(frozen=True, kw_only=True)
class EspeakSentences:
    """Each of `voices` speaks the same `train` sentences, and `held_out` others; `speed` is in words a minute.

    A voice is one of espeak's (`en-us`, `en-us+m3`, `cmn`); every one is a speaker. Pauses at both ends are cut. The corpus is
    kept below $BENCH_DATA (default `data/`), under the digest of the package's version, the voices and the sentences.
    """

    NAME: ClassVar[str] = "espeak-sentences"

    voices: tuple[str, ...] = ("en-us",)
    train: int = 48
    held_out: int = 8
    speed: int = 175
    level: Level = "phoneme"

    def __post_init__(self) -> None:
        if not self.voices or len(set(self.voices)) != len(self.voices):
            raise BenchError(
                f"`voices` must name one voice at least and none twice, not {', '.join(self.voices) or 'none'}"
            )
        for voice in self.voices:
            if language(voice) not in PARTS:
                raise BenchError(f"`voices`: no sentences for {voice!r}; there are some for en-... and cmn")
        for name, least, most in (("train", 2, 124), ("held_out", 1, 123), ("speed", 80, 450)):
            if not least <= getattr(self, name) <= most:
                raise BenchError(f"`{name}` must lie between {least} and {most}, not be {getattr(self, name)}")
        if self.train + self.held_out > 125:
            raise BenchError(
                f"there are 125 sentences, and `train` and `held_out` ask for {self.train + self.held_out}"
            )

    def digest(self) -> str:
        """SHA-256 of what the corpus follows from: package, voices, sentences in their order, level.

        Two processes speak it alike, so it need not be spoken for that. Raises MissingDataError without the synthesiser.
        """
        from retable.bench.datasets.speech import espeak

        espeak.library()
        spoken = {voice: sentences(language(voice)) for voice in self.voices}
        facts = (FORMAT, package(), self.voices, spoken, self.speed, self.train, self.held_out, self.level)
        return sha256(repr(facts).encode()).hexdigest()

    def load(self) -> SpeechData:
        """Raises MissingDataError without the synthesiser."""
        from retable.bench.datasets.speech.features import raw, scale_of, utterances
        from retable.bench.datasets.speech.front_end import FrontEnd
        from retable.bench.datasets.speech.speech import FEATURES, SpeechData

        spoken, front_end = self._spoken(), FrontEnd()
        symbols = tuple(sorted({phoneme for item in spoken for phoneme in item.phonemes}))
        numbers = {symbol: i for i, symbol in enumerate(symbols, start=1)}
        recordings = [self._recording(i, item, numbers) for i, item in enumerate(spoken)]
        raws = [raw(recording, front_end, self.level, "yin") for recording in recordings]
        per_voice = self.train + self.held_out
        train = [item for i, item in enumerate(raws) if i % per_voice < self.train]
        held_out = [item for i, item in enumerate(raws) if i % per_voice >= self.train]
        scales = {name: scale_of([getattr(item, name) for item in train]) for name in FEATURES}
        return SpeechData(
            name=f"espeak-sentences ({', '.join(self.voices)})",
            train=utterances(train, scales),
            held_out=utterances(held_out, scales),
            symbols=symbols,
            speakers=self.voices,
            level=self.level,
            scales=scales,
            front_end=front_end,
        )

    def _orders(self) -> list[Order]:
        """Voice by voice, each the training sentences and then the others; one order for all numbers of them is not needed."""
        from retable.bench.datasets.speech import espeak

        chosen = fixed_order(125, "espeak-sentences")[: self.train + self.held_out]
        return [
            espeak.Order(voice=voice, sentence=sentences(language(voice))[i], speed=self.speed)
            for voice in self.voices
            for i in chosen
        ]

    def _spoken(self) -> Sequence[Spoken]:
        from retable.bench.datasets.speech import espeak

        espeak.library()
        return corpus(tuple(self._orders()))

    def _recording(self, i: int, spoken: Spoken, numbers: dict[str, int]) -> Recording:
        import numpy as np

        from retable.bench.datasets.speech.features import Recording

        order = self._orders()[i]
        phonemes, onsets, end = trimmed(spoken)
        wave = spoken.wave[onsets[0] : end].astype(np.float32) / 32768
        return Recording(
            name=f"{order.voice}-{i % (self.train + self.held_out):03}",
            text=order.sentence,
            speaker=self.voices.index(order.voice),
            wave=wave,
            phonemes=np.array([numbers[phoneme] for phoneme in phonemes], np.int64),
            onsets=onsets - onsets[0],
        )


def language(voice: str) -> str:
    """Whose sentences a voice says."""
    return voice.partition("+")[0].partition("-")[0]


def trimmed(spoken: Spoken) -> tuple[tuple[str, ...], np.ndarray, int]:
    """Phonemes from the first to the last that is no pause, their onsets, and the sample at which the last one ends."""
    said = [i for i, phoneme in enumerate(spoken.phonemes) if phoneme not in PAUSES]
    if not said:
        raise BenchError("espeak-ng said nothing but pauses")
    first, last = said[0], said[-1]
    end = int(spoken.onsets[last + 1]) if last + 1 < len(spoken.onsets) else len(spoken.wave)
    return spoken.phonemes[first : last + 1], spoken.onsets[first : last + 1], end


@lru_cache(maxsize=4)
def corpus(orders: tuple[Order, ...]) -> Sequence[Spoken]:
    """All of them, from the cache or spoken anew in a fresh process."""
    import tempfile

    from retable.bench.datasets.speech import espeak

    path = cache_file(orders)
    if path.is_file():
        return espeak.read(path)
    with tempfile.TemporaryDirectory(prefix="retable-espeak-") as folder:
        fresh = Path(folder) / "corpus.npz"
        espeak.synthesise(orders, fresh)
        keep(fresh, path)
        return espeak.read(fresh)


def package() -> str:
    """The synthesiser's version."""
    from importlib.metadata import version

    from retable.bench.datasets.speech import espeak

    return version(espeak.DISTRIBUTION.partition("==")[0])


def cache_file(orders: tuple[Order, ...]) -> Path:
    """Named after the package's version, the voices, the sentences."""
    text = f"{FORMAT} {package()} {[sorted(asdict(order).items()) for order in orders]}"
    folder = Path(os.environ.get("BENCH_DATA", "data")) / "cache"
    return folder / f"espeak-{sha256(text.encode()).hexdigest()[:32]}.npz"


def keep(fresh: Path, path: Path) -> None:
    """A copy under its final name, whole or not at all; where nothing can be written the corpus is spoken again next time."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{path.name}.{os.getpid()}")
        partial.write_bytes(fresh.read_bytes())
        partial.replace(path)
    except OSError:
        return
