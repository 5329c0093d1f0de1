"""Phonemes to log-mel spectrograms (arXiv 2408.00788). State dicts have the released layout.

Shapes: T steps, B utterances, L phonemes, M frames, D channels, K mel bands. Spikes integrate over T from rest in every
forward pass; the mean over T is the decoder's output.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise, zip_longest

import torch
from torch import Tensor, nn

from retable.models.spikevoice import fastspeech2
from retable.models.spikevoice.attention import lif
from retable.models.spikevoice.block import spiking_block
from retable.models.spikevoice.sizes import Config
from retable.models.spikevoice.variance import (
    NEUTRAL,
    Control,
    Conv,
    SpikingPredictor,
    Targets,
    VarianceAdaptor,
    padding,
)

POSTNET_KERNEL, POSTNET_LAYERS = 5, 5


@dataclass(frozen=True, kw_only=True, eq=False)
class Output:
    """Mel spectrograms (B, M, K) before and after the post-net, what was predicted, and where padding is (True).

    `lengths` (B) are the frames of each utterance.
    """

    mel: Tensor
    mel_post: Tensor
    pitch: Tensor
    energy: Tensor
    log_durations: Tensor
    durations: Tensor
    pad_BL: Tensor
    pad_BM: Tensor
    lengths: Tensor


class Stack(nn.Module):
    """Positions and steps are told apart, then blocks; what encoder and decoder share.

    A sequence longer than `longest` gets positions beyond the stored table.
    """

    position_enc: Tensor

    def __init__(self, c: Config, blocks: int, heads: int) -> None:
        super().__init__()
        block = fastspeech2.Block if c.arm == "ann" else spiking_block
        self.register_buffer("position_enc", sinusoids(c.longest + 1, c.d)[None])
        self.time_embed = nn.Parameter(torch.zeros(1, c.T, c.d))
        self.layer_stack = nn.ModuleList(block(c, heads) for _ in range(blocks))

    @property
    def longest(self) -> int:
        return self.position_enc.shape[1] - 1

    def forward(self, x_TBLD: Tensor, pad_BL: Tensor) -> Tensor:
        L, D = x_TBLD.shape[2:]
        table_LD = self.position_enc[0, :L] if self.longest >= L else sinusoids(L, D).to(x_TBLD)
        x = x_TBLD + table_LD + self.time_embed[0, :, None, None]
        for block in self.layer_stack:
            x = block(x, pad_BL)
        return x


class Encoder(Stack):
    """Phonemes (B, L), 0 is padding, as the same embedding at every step."""

    def __init__(self, c: Config) -> None:
        super().__init__(c, c.encoder_blocks, c.heads)
        self.src_word_emb = nn.Embedding(c.symbols + 1, c.d, padding_idx=0)

    def encode(self, texts_BL: Tensor, pad_BL: Tensor) -> Tensor:
        x_BLD = self.src_word_emb(texts_BL)
        x_TBLD: Tensor = self(x_BLD.expand(self.time_embed.shape[1], *x_BLD.shape), pad_BL)
        return x_TBLD


class PostNet(nn.Module):
    """What is added to a mel spectrogram: LIF, four times (convolution, norm, LIF), convolution, norm."""

    def __init__(self, c: Config, neuron: Callable[[], nn.Module], before: nn.Module) -> None:
        super().__init__()
        widths = [c.mels, *(c.postnet,) * (POSTNET_LAYERS - 1), c.mels]
        self.convolutions = nn.ModuleList(
            nn.Sequential(Conv(inputs, outputs, POSTNET_KERNEL), nn.BatchNorm1d(outputs))
            for inputs, outputs in pairwise(widths)
        )
        self.lif0 = before
        self.lifs = nn.ModuleList(neuron() for _ in range(POSTNET_LAYERS - 1))

    def forward(self, mel_TBMK: Tensor) -> Tensor:
        x_TBKM = self.lif0(mel_TBMK).transpose(-1, -2)
        for convolution, neuron in zip_longest(self.convolutions, self.lifs):
            steps = x_TBKM.shape[:2]
            x_TBKM = convolution(x_TBKM.flatten(0, 1)).unflatten(0, steps)
            x_TBKM = x_TBKM if neuron is None else neuron(x_TBKM)
        return x_TBKM.transpose(-1, -2)


class SpikeVoice(nn.Module):
    """The arm that the configuration names. Bounds: the least and greatest standardised pitch and energy of the corpus."""

    def __init__(
        self, c: Config, pitch: tuple[float, float] = (-1.0, 1.0), energy: tuple[float, float] = (-1.0, 1.0)
    ) -> None:
        super().__init__()
        self.config = c
        plain = c.arm == "ann"
        self.encoder = Encoder(c)
        self.variance_adaptor = VarianceAdaptor(c, fastspeech2.Predictor if plain else SpikingPredictor, pitch, energy)
        self.decoder = Stack(c, c.decoder_blocks, c.decoder_heads or c.heads)
        self.lif_m = nn.Identity() if plain else lif()
        self.mel_linear = nn.Linear(c.d, c.mels)
        self.postnet = PostNet(c, nn.Tanh, nn.Identity()) if plain else PostNet(c, lif, lif())
        if c.speakers:
            self.speaker_emb = nn.Embedding(c.speakers, c.d)

    def forward(
        self,
        texts_BL: Tensor,
        lengths_B: Tensor,
        targets: Targets | None = None,
        *,
        speakers_B: Tensor | None = None,
        frames: int | None = None,
        control: Control = NEUTRAL,
    ) -> Output:
        """Phonemes (B, L) int64 of which `lengths_B` count; with `targets` teacher-forced and padded to `frames`."""
        pad_BL = padding(lengths_B, texts_BL.shape[1])
        x_TBLD = self.encoder.encode(texts_BL, pad_BL)
        if self.config.speakers:
            if speakers_B is None:
                raise ValueError(f"speakers_B must name one of the {self.config.speakers} speakers for each utterance")
            x_TBLD = x_TBLD + self.speaker_emb(speakers_B)[:, None]
        varied = self.variance_adaptor(x_TBLD, pad_BL, targets, frames, control)
        M = self.decoder.longest if self.training else varied.x.shape[2]  # only training cuts what is too long
        x_TBMD, pad_BM = varied.x[:, :, :M], varied.pad_BM[:, :M]
        mel_TBMK = self.mel_linear(self.lif_m(self.decoder(x_TBMD, pad_BM)))
        post_TBMK = mel_TBMK + self.postnet(mel_TBMK)
        return Output(
            mel=mel_TBMK.mean(0),
            mel_post=post_TBMK.mean(0),
            pitch=varied.pitch,
            energy=varied.energy,
            log_durations=varied.log_durations,
            durations=varied.durations,
            pad_BL=pad_BL,
            pad_BM=pad_BM,
            lengths=(~pad_BM).sum(1),
        )


def sinusoids(L: int, D: int) -> Tensor:
    """(L, D): angles position / 10000^(2 floor(i / 2) / D), sine at even i, cosine at odd i."""
    i_D = torch.arange(D, dtype=torch.float64)
    angles = torch.arange(L, dtype=torch.float64)[:, None] / 10000 ** (2 * (i_D // 2) / D)
    return torch.where(i_D % 2 == 0, angles.sin(), angles.cos()).float()
