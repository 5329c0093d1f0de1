"""Task `speak`: fit on aligned speech, then speak the held-out utterances and hold them to their recordings (arXiv 2408.00788)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from retable.bench.accountant.names import RuleName
from retable.bench.errors import BenchError

if TYPE_CHECKING:
    import numpy as np

    from retable.bench.datasets.speech.speech import SpeechData, Utterance


@dataclass(frozen=True, kw_only=True)
class Speak:
    """Speaks every held-out utterance with the recording's durations, pitches and energies, so that frames can be compared.

    The fitted model has `speak(utterance)` and says by `PREDICTS` whether it predicts durations; one that does speaks by its own
    as well, where a metric asks for that. Operations are counted over `account_samples` utterances, evenly spread, without the
    vocoder; 0 counts nothing.
    """

    NAME: ClassVar[str] = "speak"

    account_samples: int = 4
    rules: tuple[RuleName, ...] = ("full", "literature")

    FITS: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.account_samples < 0:
            raise BenchError(f"`account_samples` must be at least 0, not {self.account_samples}")
        if self.account_samples and not self.rules:
            raise BenchError("`rules` must name at least one rule where `account_samples` is above 0")

    def evidence(self, model: Any, data: SpeechData, *, seed: int, device: str) -> SpeakEvidence:
        """What the fitted `model` says, and its account. Raises BenchError without held-out utterances."""
        if not len(data.held_out):
            raise BenchError(f"{data.name} has no held-out utterances")
        model.eval()
        pairs = [Pair.of(utterance, model.speak(utterance)) for utterance in data.held_out]
        reason = (
            "the task counts no operations (account_samples is 0)" if model.PREDICTS else "a recording computes nothing"
        )
        return SpeakEvidence(
            model=model, data=data, pairs=pairs, account=self._account(model, data), why_no_account=reason
        )

    def _account(self, model: Any, data: SpeechData) -> Any:
        import numpy as np
        import torch

        from retable.bench.accountant import Accountant

        if not (self.account_samples and model.PREDICTS):
            return None
        n = min(self.account_samples, len(data.held_out))
        chosen = np.linspace(0, len(data.held_out) - 1, n).astype(int)
        batches = [model.prepare([data.held_out[i]]) for i in chosen]
        with torch.no_grad(), Accountant(model, rules=self.rules) as accountant:
            for batch in batches:
                model(batch)
        return accountant.result(samples=n)


@dataclass(frozen=True, kw_only=True, eq=False)
class Pair:
    """A recording and what was said in its place: log-mel (M, K), sound (N), predicted frames of each phoneme (L) or None."""

    reference: Utterance
    mel: np.ndarray
    wave: np.ndarray
    durations: np.ndarray | None

    @classmethod
    def of(cls, reference: Utterance, spoken: Any) -> Pair:
        durations = None if spoken.durations is None else spoken.durations.numpy()
        return cls(reference=reference, mel=spoken.mel.numpy(), wave=spoken.wave.numpy(), durations=durations)


@dataclass(frozen=True, kw_only=True, eq=False)
class SpeakEvidence:
    """Pairs for all held-out utterances; the account where operations were counted."""

    model: Any
    data: SpeechData
    pairs: Sequence[Pair]
    account: Any = None
    why_no_account: str = ""

    @property
    def rate(self) -> int:
        return self.data.front_end.rate

    def frames_at(self, factor: float) -> list[int]:
        """Frames of each utterance where the model's own durations are multiplied by `factor`."""
        return [
            len(self.model.speak(pair.reference, forced=False, duration=factor, sound=False).mel) for pair in self.pairs
        ]

    @cached_property
    def f0(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """(the recording's, the spoken) F0 of each pair in Hz by frame, 0 without a voice, as long as the shorter one."""
        from retable.bench.datasets.speech.pitch import yin

        found = []
        for pair in self.pairs:
            spoken = yin(pair.wave, self.rate, self.data.front_end.hop)
            frames = min(len(spoken), len(pair.reference.f0))
            recorded = yin(pair.reference.wave, self.rate, self.data.front_end.hop)
            found.append((recorded[:frames], spoken[:frames]))
        return found

    @cached_property
    def dnsmos(self) -> list[dict[str, float]]:
        """Scores of what is said, an utterance; four metrics share them. Raises ImportError without the packages."""
        from retable.bench.metrics.listening import dnsmos

        return dnsmos([pair.wave for pair in self.pairs], self.rate)

    def artefacts(self) -> Mapping[str, bytes]:
        """The shortest utterance as `.wav` and its spectrogram, `.png`; `account.json` where operations were counted.

        The sound has 16 kHz: spectrograms hold nothing beyond 8 kHz, and pages stay small. All rows share the recording's colours.
        """
        from retable.bench.metrics.listening import HEARD, heard
        from retable.bench.tasks.sounds import spectrogram_png, wav

        pair = min(self.pairs, key=lambda pair: len(pair.reference.mel))
        true_MK = pair.reference.mel
        name = f"utterance-{pair.reference.name}"
        files = {
            f"{name}.png": spectrogram_png(pair.mel, float(true_MK.min()), float(true_MK.max())),
            f"{name}.wav": wav(heard(pair.wave, self.rate), HEARD),
        }
        if self.account is not None:
            files["account.json"] = json.dumps(self.account.as_dict()).encode()
        return files
