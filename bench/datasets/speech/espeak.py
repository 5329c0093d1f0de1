"""espeak-ng through ctypes: sentences in, waveforms and the onsets of their phonemes out.

A waveform depends on what the process has spoken before, so that a corpus comes from one fixed order of calls in a fresh
process: `synthesise` starts `python -m` of this module, which reads its orders from stdin and writes an .npz file.
"""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retable.bench.datasets.fixed import package_folder
from retable.bench.errors import BenchError

if TYPE_CHECKING:
    import numpy as np

MODULE, DISTRIBUTION = "espeakng_loader", "espeakng-loader==0.2.4"
RATE = 22050
SYNCHRONOUS, PHONEME_EVENTS = 2, 1
WORDS_A_MINUTE = 1
"""espeak's number of the parameter."""
UTF8, END_PAUSE = 1, 0x1000
LIST_END, PHONEME = 0, 7
PATIENCE = 300
"""Seconds after which the process is given up; it takes one."""


@dataclass(frozen=True, kw_only=True)
class Order:
    """One sentence for one of espeak's voices (`en-us+f3`) at a speed in words a minute."""

    voice: str
    sentence: str
    speed: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Spoken:
    """16-bit samples (N), espeak's mnemonics of the phonemes, and the sample at which each begins (L)."""

    wave: np.ndarray
    phonemes: tuple[str, ...]
    onsets: np.ndarray


def library() -> tuple[Path, Path]:
    """(shared library, its data) of the installed package. Raises MissingDataError."""
    folder = package_folder(MODULE, DISTRIBUTION, "espeak sentences")
    names = {"win32": "espeak-ng.dll", "darwin": "libespeak-ng.dylib"}
    return folder / names.get(sys.platform, "libespeak-ng.so"), folder / "espeak-ng-data"


def synthesise(orders: Sequence[Order], out: Path) -> None:
    """Speak all of them in a fresh process, into the file `out`.

    Raises MissingDataError without the package, BenchError for a voice that is not repeatable or with espeak's own reason.
    """
    for voice in {order.voice: None for order in orders}:
        refuse_breath(voice)
    command = [sys.executable, "-m", __name__, str(out)]
    request = json.dumps([asdict(order) for order in orders])
    done = subprocess.run(command, input=request, text=True, capture_output=True, timeout=PATIENCE, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        raise BenchError(f"espeak-ng could not speak the corpus: {reason}")


def refuse_breath(voice: str) -> None:
    """Raises BenchError for a variant (`en-us+f3`) with breath: its noise is seeded by the clock."""
    variant = voice.partition("+")[2]
    file = library()[1] / "voices" / "!v" / variant
    if variant and file.is_file() and any(line.startswith("breath") for line in file.read_text("utf-8").splitlines()):
        raise BenchError(
            f"the voice {voice!r} breathes noise that no two processes share: take a variant without `breath`"
        )


def read(path: Path) -> list[Spoken]:
    """What `synthesise` wrote."""
    import numpy as np

    with np.load(path, allow_pickle=False) as file:
        waves = np.split(file["samples"], file["wave_ends"][:-1])
        onsets = np.split(file["onsets"], file["phoneme_ends"][:-1])
        names = np.split(file["names"], file["phoneme_ends"][:-1])
    return [
        Spoken(wave=wave, phonemes=tuple(str(name) for name in spoken), onsets=begins)
        for wave, begins, spoken in zip(waves, onsets, names, strict=True)
    ]


class _Id(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Id),
    ]


class Voice:
    """The library, initialised; one a process. Raises RuntimeError where it refuses."""

    def __init__(self) -> None:
        path, data = library()
        self.espeak: Any = ctypes.CDLL(str(path))
        rate = self.espeak.espeak_Initialize(SYNCHRONOUS, 0, str(data.parent).encode(), PHONEME_EVENTS)
        if rate != RATE:
            raise RuntimeError(f"it starts with a rate of {rate} samples a second, not {RATE}")
        kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))
        self._callback = kind(self._collect)  # kept: the library only has its address
        self.espeak.espeak_SetSynthCallback(self._callback)
        self._samples: list[bytes] = []
        self._phonemes: list[tuple[int, str]] = []

    def _collect(self, wave: Any, count: int, events: Any) -> int:
        if wave and count > 0:
            self._samples.append(ctypes.string_at(wave, 2 * count))
        i = 0
        while events[i].type != LIST_END:
            if events[i].type == PHONEME:
                self._phonemes.append((events[i].sample, events[i].id.string.decode()))
            i += 1
        return 0

    def say(self, order: Order) -> tuple[bytes, list[tuple[int, str]]]:
        """16-bit samples, and (onset in samples, mnemonic) of every phoneme."""
        self._must(self.espeak.espeak_SetVoiceByName(order.voice.encode()), f"it has no voice {order.voice!r}")
        self._must(self.espeak.espeak_SetParameter(WORDS_A_MINUTE, order.speed, 0), f"no speed of {order.speed}")
        self._samples, self._phonemes = [], []
        text = order.sentence.encode() + b"\0"
        status = self.espeak.espeak_Synth(text, ctypes.c_size_t(len(text)), 0, 1, 0, UTF8 | END_PAUSE, None, None)
        self._must(status, f"it cannot say {order.sentence!r}")
        self._must(self.espeak.espeak_Synchronize(), "it did not end")
        return b"".join(self._samples), self._phonemes

    @staticmethod
    def _must(status: int, reason: str) -> None:
        if status:
            raise RuntimeError(f"{reason} (status {status})")


def main(out: str) -> None:
    """Read orders from stdin, speak, write."""
    import numpy as np

    voice = Voice()
    spoken = [voice.say(Order(**order)) for order in json.loads(sys.stdin.read())]
    waves = [np.frombuffer(samples, "<i2") for samples, _ in spoken]
    phonemes = [phoneme for _, found in spoken for phoneme in found]
    np.savez_compressed(
        out,
        samples=np.concatenate(waves),
        wave_ends=np.cumsum([len(wave) for wave in waves]),
        onsets=np.array([onset for onset, _ in phonemes], np.int64),
        names=np.array([name for _, name in phonemes], "U8"),
        phoneme_ends=np.cumsum([len(found) for _, found in spoken]),
    )


if __name__ == "__main__":
    main(sys.argv[1])
