"""Normalisations of spiking networks over x (T, B, C, ...), first axis time.

    MergedBN   plain batch normalisation whose statistics merge T, B and space
    TdBN       y = lambda alpha V_th x^ + beta, statistics merged (arXiv 2011.05280, eq. 8-10)
    TEBN       y_t = p_t (gamma x^ + beta), statistics merged, p learned per step (arXiv 2206.04760)
    BNTT       y_t = gamma_t x^_t, statistics and gamma of every step its own, no beta (arXiv 2010.01729)
    MPBN       a LIF whose charged potential is normalised for the decision to fire (arXiv 2308.08359)

x^ = (x - mean) / sqrt(var + eps) per channel, running statistics in eval mode. MergedBN and TdBN take any T; TEBN and BNTT hold
parameters per step and raise ValueError for another T.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from retable.models.spiking.operators import integrate_and_fire
from retable.models.spiking.surrogates import RECT, Surrogate


def over_channels(bn: nn.Module, x: Tensor) -> Tensor:
    """A BatchNorm1d on x (N, C, ...), whatever follows."""
    return bn(x.reshape(*x.shape[:2], -1)).view_as(x)


class MergedBN(nn.Module):
    """Batch normalisation over T, B and space at once. Its keys stand below `bn.`."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm1d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return over_channels(self.bn, x.flatten(0, 1)).view_as(x)


class TdBN(nn.Module):
    """Threshold-dependent: normalised to the deviation alpha V_th before lambda and beta.

    alpha is 1, or 1 / sqrt(2) for each of two branches that are added (arXiv 2011.05280, section 4).
    """

    def __init__(self, channels: int, threshold: float, alpha: float = 1.0) -> None:
        super().__init__()
        self.gain = alpha * threshold
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.bn = nn.BatchNorm1d(channels, affine=False)

    def forward(self, x: Tensor) -> Tensor:
        normal = over_channels(self.bn, x.flatten(0, 1)).view_as(x)
        per_channel = (-1, *(1,) * (x.dim() - 3))
        return normal * (self.gain * self.weight).view(per_channel) + self.bias.view(per_channel)

    def extra_repr(self) -> str:
        return f"gain={self.gain:.4g}"


class TEBN(nn.Module):
    """Temporal effective: one normalisation, rescaled by a learned p_t at every step, which starts at 1."""

    def __init__(self, channels: int, T: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm1d(channels)
        self.p = nn.Parameter(torch.ones(T))

    def forward(self, x: Tensor) -> Tensor:
        _check_steps(x, len(self.p))
        y = over_channels(self.bn, x.flatten(0, 1)).view_as(x)
        return y * self.p.view(-1, *(1,) * (x.dim() - 1))


class BNTT(nn.Module):
    """Batch normalisation through time: every step has its own statistics and gamma."""

    def __init__(self, channels: int, T: int) -> None:
        super().__init__()
        self.steps = nn.ModuleList(nn.BatchNorm1d(channels, eps=1e-4) for _ in range(T))
        for bn in self.steps:
            bn.register_parameter("bias", None)

    def forward(self, x: Tensor) -> Tensor:
        _check_steps(x, len(self.steps))
        return torch.stack([over_channels(bn, x_t) for bn, x_t in zip(self.steps, x, strict=True)])


class MPBN(nn.Module):
    """h = decay v + x;  s = [BN(h) > threshold];  v = h (1 - s): spikes (T, B, C, ...) from rest.

    Only the decision sees the normalised potential; the one that is kept and reset is not normalised (released code, whose
    surrogate, a window of tanh, is not among ours). Running statistics move at every step.
    """

    def __init__(self, channels: int, threshold: float = 0.5, decay: float = 0.25, surrogate: Surrogate = RECT) -> None:
        super().__init__()
        if not 0 <= decay <= 1:
            raise ValueError(f"decay must lie in [0, 1], not {decay}")
        self.bn = nn.BatchNorm1d(channels)
        self.threshold, self.decay, self.surrogate = threshold, decay, surrogate

    def forward(self, x: Tensor) -> Tensor:
        v, spikes = torch.zeros_like(x[0]), []
        for x_t in x:
            h = self.decay * v + x_t
            s = self._fire(over_channels(self.bn, h))
            v = h * (1 - s)
            spikes.append(s)
        return torch.stack(spikes)

    def _fire(self, h: Tensor) -> Tensor:
        """One step of a memoryless IF, so that its surrogate and its place in the counts are those of any neuron."""
        return integrate_and_fire(
            h[None], k=0.0, threshold=self.threshold, decay_input=False, strict=True, surrogate=self.surrogate
        )[0][0]

    def folded_threshold(self) -> Tensor:
        """The threshold per channel, (C), that replaces the normalisation in eval mode: (V_th - beta) sigma / gamma + mean.

        Raises ValueError where a gamma is not positive: that channel fires below its threshold, not above.
        """
        bn = self.bn
        if bool((bn.weight <= 0).any()):
            raise ValueError("gamma must be above 0 in every channel for a threshold to replace the normalisation")
        assert bn.running_mean is not None
        assert bn.running_var is not None
        sigma = (bn.running_var + bn.eps).sqrt()
        return (self.threshold - bn.bias) * sigma / bn.weight + bn.running_mean


def _check_steps(x: Tensor, T: int) -> None:
    if len(x) != T:
        raise ValueError(f"x must have the {T} steps that this normalisation has parameters for, not {len(x)}")
