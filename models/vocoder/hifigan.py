"""HiFi-GAN's generator (arXiv 2010.05646, section 2.2 and appendix A), in the layout of its released checkpoints.

Shapes: B spectrograms, K mel bands, M frames, C channels, N = 256 M samples. Convolutions are weight-normalised: w = g v / |v|.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from retable.models.common.checkpoint import load_strictly, read_tensors

SLOPE = 0.1
"""Of the leaky ReLUs; the last has torch's own 0.01, as in the released code."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """`rates` and `kernels` of the transposed convolutions; `widths` and `dilations` of the residual blocks behind each."""

    channels: int = 512
    rates: tuple[int, ...] = (8, 8, 2, 2)
    kernels: tuple[int, ...] = (16, 16, 4, 4)
    widths: tuple[int, ...] = (3, 7, 11)
    dilations: tuple[int, ...] = (1, 3, 5)
    bands: int = 80


V1 = Size()


class NormalisedConv(nn.Module):
    """A convolution, or with `rate` above 0 a transposed one, with w = g v / |v|; g is one number for the weights' first axis."""

    def __init__(self, inputs: int, outputs: int, kernel: int, dilation: int = 1, rate: int = 0) -> None:
        super().__init__()
        self.kernel, self.dilation, self.rate = kernel, dilation, rate
        shape = (inputs, outputs, kernel) if rate else (outputs, inputs, kernel)
        self.weight_v = nn.Parameter(0.01 * torch.randn(shape))
        self.weight_g = nn.Parameter(self.weight_v.detach().norm(dim=(1, 2), keepdim=True))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x_BCM: Tensor) -> Tensor:
        weight = self.weight_g * self.weight_v / self.weight_v.norm(dim=(1, 2), keepdim=True)
        if self.rate:
            cut = (self.kernel - self.rate) // 2
            return F.conv_transpose1d(x_BCM, weight, self.bias, stride=self.rate, padding=cut)
        reach = self.dilation * (self.kernel - 1) // 2
        return F.conv1d(x_BCM, weight, self.bias, padding=reach, dilation=self.dilation)


class ResBlock(nn.Module):
    """x + conv(lrelu(dilated conv(lrelu(x)))), for each dilation in turn."""

    def __init__(self, channels: int, kernel: int, dilations: tuple[int, ...]) -> None:
        super().__init__()
        self.convs1 = nn.ModuleList(NormalisedConv(channels, channels, kernel, d) for d in dilations)
        self.convs2 = nn.ModuleList(NormalisedConv(channels, channels, kernel) for _ in dilations)

    def forward(self, x_BCM: Tensor) -> Tensor:
        for dilated, plain in zip(self.convs1, self.convs2, strict=True):
            x_BCM = x_BCM + plain(F.leaky_relu(dilated(F.leaky_relu(x_BCM, SLOPE)), SLOPE))
        return x_BCM


class HiFiGAN(nn.Module):
    """The generator; `SIZE` is V1 unless said."""

    def __init__(self, size: Size = V1) -> None:
        super().__init__()
        self.size = size
        channels = [size.channels >> i for i in range(len(size.rates) + 1)]
        self.conv_pre = NormalisedConv(size.bands, channels[0], 7)
        self.ups = nn.ModuleList(
            NormalisedConv(channels[i], channels[i + 1], kernel, rate=rate)
            for i, (kernel, rate) in enumerate(zip(size.kernels, size.rates, strict=True))
        )
        self.resblocks = nn.ModuleList(
            ResBlock(width, kernel, size.dilations) for width in channels[1:] for kernel in size.widths
        )
        self.conv_post = NormalisedConv(channels[-1], 1, 7)

    def forward(self, log_mel_BKM: Tensor) -> Tensor:
        """(B, N) in [-1, 1]: after each transposed convolution the mean over the residual blocks."""
        x, n = self.conv_pre(log_mel_BKM), len(self.size.widths)
        for i, up in enumerate(self.ups):
            x = up(F.leaky_relu(x, SLOPE))
            x = torch.stack([block(x) for block in self.resblocks[n * i : n * (i + 1)]]).mean(0)
        return self.conv_post(F.leaky_relu(x)).tanh()[:, 0]


class PublishedHiFiGAN:
    """V1 with the weights of a released checkpoint, as a vocoder. Raises CheckpointError for another one."""

    def __init__(self, path: Path) -> None:
        self.model = HiFiGAN().eval()
        load_strictly(path, self.model, read_tensors(path))

    @torch.no_grad()
    def __call__(self, log_mel_MK: Tensor) -> Tensor:
        """(N) with N = 256 M, on the CPU."""
        sound: Tensor = self.model(log_mel_MK.detach().cpu().float().T[None])[0]
        return sound
