"""SpikeVoice between utterances and sound: batches, the standardised spectrogram, the vocoder.

Shapes: B utterances, L phonemes, M frames, K mel bands, N samples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from retable.models.spikevoice.network import Output, SpikeVoice
from retable.models.spikevoice.variance import NEUTRAL, Control, Targets
from retable.models.vocoder.spoken import Spoken


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """Utterances padded with 0 to the longest; `mel` (B, M, K) is in natural logarithms."""

    texts: Tensor
    lengths: Tensor
    speakers: Tensor
    mel: Tensor
    targets: Targets


class Synthesizer(nn.Module):
    """The network with what it needs to speak. `level` is that of the pitches and energies of its data."""

    PREDICTS = True
    mel_mean_K: Tensor
    mel_deviation_K: Tensor

    def __init__(self, network: SpikeVoice, vocoder: Callable[[Tensor], Tensor] | None) -> None:
        super().__init__()
        self.network = network
        self._vocoder = vocoder
        K = network.config.mels
        self.register_buffer("mel_mean_K", torch.zeros(K))
        self.register_buffer("mel_deviation_K", torch.ones(K))

    @property
    def T(self) -> int:  # noqa: N802 - the paper's symbol
        return self.network.config.T

    def standardise_by(self, utterances: Sequence[Any]) -> None:
        """Take each mel band's mean and deviation over these, and start the duration predictor at their mean log(d + 1)."""
        frames = torch.cat([torch.from_numpy(utterance.mel) for utterance in utterances])
        self.mel_mean_K.copy_(frames.mean(0))
        self.mel_deviation_K.copy_(frames.std(0).clamp(min=1e-3))
        durations = torch.cat([torch.from_numpy(utterance.durations) for utterance in utterances])
        bias = self.network.get_parameter("variance_adaptor.duration_predictor.linear_layer.bias")
        nn.init.constant_(bias, float((durations + 1).float().log().mean()))

    def standardised(self, mel_BMK: Tensor) -> Tensor:
        return (mel_BMK - self.mel_mean_K) / self.mel_deviation_K

    def forward(self, batch: Batch, *, forced: bool = True, control: Control = NEUTRAL) -> Output:
        """Spectrograms as the network has them, standardised; `forced` takes durations, pitches and energies from the batch."""
        targets, frames = (batch.targets, batch.mel.shape[1]) if forced else (None, None)
        speakers = batch.speakers if self.network.config.speakers else None
        out: Output = self.network(
            batch.texts, batch.lengths, targets, speakers_B=speakers, frames=frames, control=control
        )
        return out

    @torch.no_grad()
    def speak(
        self, utterance: Any, *, forced: bool = True, duration: float = 1.0, pitch: float = 1.0, sound: bool = True
    ) -> Spoken:
        """One utterance by itself, so that no other one's padding is heard; `duration` and `pitch` are factors."""
        batch = self.prepare([utterance])
        out = self(batch, forced=forced, control=Control(duration=duration, pitch=pitch))
        mel_MK = (out.mel_post[0] * self.mel_deviation_K + self.mel_mean_K).cpu()
        if sound and self._vocoder is None:
            raise ValueError("a model that is built without data has no vocoder")
        wave = self._vocoder(mel_MK) if sound and self._vocoder is not None else None
        return Spoken(mel=mel_MK, wave=wave, durations=(out.log_durations[0].exp() - 1).clamp(min=0).cpu())

    def prepare(self, utterances: Sequence[Any]) -> Batch:
        """On the device of the weights."""
        device = self.mel_mean_K.device

        def padded(name: str, dtype: torch.dtype) -> Tensor:
            parts = [torch.from_numpy(getattr(utterance, name)).to(dtype) for utterance in utterances]
            return nn.utils.rnn.pad_sequence(parts, batch_first=True).to(device)

        return Batch(
            texts=padded("phonemes", torch.int64),
            lengths=torch.tensor([len(utterance.phonemes) for utterance in utterances], device=device),
            speakers=torch.tensor([utterance.speaker for utterance in utterances], device=device),
            mel=padded("mel", torch.float32),
            targets=Targets(
                durations=padded("durations", torch.int64),
                pitch=padded("pitch", torch.float32),
                energy=padded("energy", torch.float32),
            ),
        )
