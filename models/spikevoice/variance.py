"""How long, how high, how loud: predictors and the length regulator (arXiv 2408.00788, released code).

Shapes: T steps, B utterances, L phonemes, M frames, D channels. Pitches and energies are standardised over the corpus.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log

import torch
from torch import Tensor, nn

from retable.models.spikevoice.attention import lif
from retable.models.spikevoice.block import convolved
from retable.models.spikevoice.sizes import Config, Spacing


@dataclass(frozen=True, kw_only=True, eq=False)
class Targets:
    """Durations (B, L) in frames, pitches and energies (B, L) or (B, M) by their level."""

    durations: Tensor
    pitch: Tensor
    energy: Tensor


@dataclass(frozen=True, kw_only=True)
class Control:
    """Factors on what is predicted; a `duration` of 2 speaks half as fast."""

    duration: float = 1.0
    pitch: float = 1.0
    energy: float = 1.0


NEUTRAL = Control()


@dataclass(frozen=True, kw_only=True, eq=False)
class Varied:
    """The stream of frames x (T, B, M, D) with its padding, and what was predicted as means over T.

    `durations` (B, L) are the targets, or whole numbers times the control's factor, still to be cut to frames.
    """

    x: Tensor
    pad_BM: Tensor
    log_durations: Tensor
    durations: Tensor
    pitch: Tensor
    energy: Tensor


class Conv(nn.Module):
    """A Conv1d that keeps the length; it stands below `.conv` in the released layout."""

    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(inputs, outputs, kernel, padding=kernel // 2)

    def forward(self, x_BDL: Tensor) -> Tensor:
        out: Tensor = self.conv(x_BDL)
        return out


class PredictorLayers(nn.Module):
    """What both twins' predictors hold; the spiking one leaves its two layer norms unused."""

    def __init__(self, c: Config) -> None:
        super().__init__()
        self.conv1d_1 = Conv(c.d, c.predictor, c.predictor_kernel)
        self.layer_norm_1 = nn.LayerNorm(c.predictor)
        self.conv1d_2 = Conv(c.predictor, c.predictor, c.predictor_kernel)
        self.layer_norm_2 = nn.LayerNorm(c.predictor)
        self.linear_layer = nn.Linear(c.predictor, 1)


class SpikingPredictor(PredictorLayers):
    """One real number a position and step: three LIFs before two convolutions and a linear layer."""

    def __init__(self, c: Config) -> None:
        super().__init__(c)
        self.lif_0, self.lif_1, self.lif_2 = lif(), lif(), lif()

    def forward(self, x_TBLD: Tensor, pad_BL: Tensor) -> Tensor:
        s_TBDL = self.lif_1(convolved(self.conv1d_1, self.lif_0(x_TBLD).transpose(-1, -2)))
        s_TBDL = self.lif_2(convolved(self.conv1d_2, s_TBDL))
        return self.linear_layer(s_TBDL.transpose(-1, -2))[..., 0].masked_fill(pad_BL, 0)


class VarianceAdaptor(nn.Module):
    """Adds embeddings of pitch and energy to the phonemes, or after the regulator to the frames.

    `bounds` are the corpus's least and greatest standardised pitch and energy, between which the bins lie.
    """

    pitch_bins: Tensor
    energy_bins: Tensor

    def __init__(self, c: Config, predictor: type[nn.Module], pitch: tuple[float, float], energy: tuple[float, float]):
        super().__init__()
        self.config = c
        self.duration_predictor, self.pitch_predictor, self.energy_predictor = (predictor(c) for _ in range(3))
        self.register_buffer("pitch_bins", bins(pitch, c.bins, c.pitch_spacing))
        self.register_buffer("energy_bins", bins(energy, c.bins, c.energy_spacing))
        self.pitch_embedding, self.energy_embedding = (nn.Embedding(c.bins, c.d) for _ in range(2))

    def forward(
        self, x_TBLD: Tensor, pad_BL: Tensor, targets: Targets | None, frames: int | None, control: Control
    ) -> Varied:
        """Teacher-forced where there are `targets`; `frames` is the length that streams are padded to, or the longest's."""
        c = self.config
        log_d_TBL = self.duration_predictor(x_TBLD, pad_BL)
        predictions: dict[str, Tensor] = {}
        x, pad = x_TBLD, pad_BL
        for name, level in (("pitch", c.pitch_level), ("energy", c.energy_level)):
            if level == "phoneme":
                x, predictions[name] = self._added(name, x, pad, targets, control)
        if targets is None:
            durations = ((log_d_TBL.mean(0).exp() - 1).round() * control.duration).clamp(min=0)
        else:
            durations = targets.durations
        x, lengths = regulate(x, durations, frames)
        pad = padding(lengths, x.shape[2])
        for name, level in (("pitch", c.pitch_level), ("energy", c.energy_level)):
            if level == "frame":
                x, predictions[name] = self._added(name, x, pad, targets, control)
        means = {name: values.mean(0) for name, values in predictions.items()}
        return Varied(x=x, pad_BM=pad, log_durations=log_d_TBL.mean(0), durations=durations, **means)

    def _added(
        self, name: str, x_TBLD: Tensor, pad_BL: Tensor, targets: Targets | None, control: Control
    ) -> tuple[Tensor, Tensor]:
        """x with the embedding added, and the predictions (T, B, L); without targets every step takes its own."""
        predicted_TBL = getattr(self, f"{name}_predictor")(x_TBLD, pad_BL)
        if targets is None:
            factor = control.pitch if name == "pitch" or self.config.energy_by_pitch else control.energy
            predicted_TBL = predicted_TBL * factor
            values = predicted_TBL
        else:
            values = getattr(targets, name)[None]
        rows = torch.bucketize(values.detach().contiguous(), getattr(self, f"{name}_bins"))
        return x_TBLD + getattr(self, f"{name}_embedding")(rows), predicted_TBL


def bins(bounds: tuple[float, float], count: int, spacing: Spacing) -> Tensor:
    """The count - 1 borders between `count` classes, from the least to the greatest value, both included.

    Raises ValueError for bounds that cannot be spaced so.
    """
    low, high = bounds
    if spacing == "linear":
        return torch.linspace(low, high, count - 1)
    if low <= 0:
        raise ValueError(f"logarithmic bins need values above 0, and the least is {low}")
    return torch.linspace(log(low), log(high), count - 1).exp()


def regulate(x_TBLD: Tensor, durations_BL: Tensor, frames: int | None = None) -> tuple[Tensor, Tensor]:
    """Every phoneme's vector as often as its duration, cut to whole frames, says: (T, B, M, D), 0 behind the end.

    The same for every step. Returns also the lengths (B) before they are padded or cut to `frames`.
    Raises ValueError where there is not one frame.
    """
    ends_BL = durations_BL.to(torch.int64).clamp(min=0).cumsum(1)
    lengths_B = ends_BL[:, -1]
    M = int(lengths_B.max()) if frames is None else frames
    if M < 1:
        raise ValueError("no phoneme lasts a frame: there is nothing to be spoken")
    frame_BM = torch.arange(M, device=x_TBLD.device).expand(len(ends_BL), M).contiguous()
    phoneme_BM = torch.searchsorted(ends_BL, frame_BM, right=True).clamp(max=ends_BL.shape[1] - 1)
    rows_B1 = torch.arange(len(ends_BL), device=x_TBLD.device)[:, None]
    return x_TBLD[:, rows_B1, phoneme_BM].masked_fill(padding(lengths_B, M)[None, ..., None], 0), lengths_B


def padding(lengths_B: Tensor, L: int) -> Tensor:
    """(B, L), True behind the end of each."""
    return torch.arange(L, device=lengths_B.device) >= lengths_B[:, None]
