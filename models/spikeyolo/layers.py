"""What SpikeYOLO is made of (arXiv 2407.20708): neuron, convolution, batch norm, and the meta blocks.

Names of parameters are those of the released code. Every convolution is driven by a neuron, but for the stem's, and followed
by a norm, but for the head's last.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from retable.models.spikeyolo.merge import dense, folded, scale_and_shift
from retable.models.spikeyolo.virtual import VirtualSteps
from retable.models.spiking.neurons import ILIF, LIF
from retable.models.spiking.surrogates import RECT
from retable.models.vision.layers import each_step

NeuronKind = Literal["ilif", "ilif-gen1", "lif"]
MakeNeuron = Callable[[], nn.Module]
"""Makes a layer of neurons, (T, ...) -> (T, ...)."""
NORM = {"eps": 1e-3, "momentum": 0.03}


def neuron_of(kind: NeuronKind, D: int) -> MakeNeuron:
    """`ilif`: u_t = (u_{t-1} - s_{t-1}) / 4 + x_t, s = round(clip(u, 0, D)). `ilif-gen1`: u_t = (v_{t-1} + x_t) / 2.

    `lif` is the binary neuron of the field, decay 1/4 and threshold 1 (I-LIF's first level is reached at 1/2); D is 1.
    """
    if kind == "ilif":
        return lambda: ILIF(tau=4 / 3, levels=D)
    if kind == "ilif-gen1":
        return lambda: ILIF(tau=2.0, levels=D, decay_input=True)
    return lambda: LIF(tau=4 / 3, v_reset=None, decay_input=False, detach_reset=True, surrogate=RECT)


def norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, **NORM)  # type: ignore[arg-type]


class BNAndPad(nn.Module):
    """Batch norm, then a frame of what the norm makes of zero, so that the merged convolution can pad with zeros."""

    def __init__(self, channels: int, pad: int = 1) -> None:
        super().__init__()
        self.bn, self.pad = norm(channels), pad

    def forward(self, x: Tensor) -> Tensor:
        y, p = self.bn(x), self.pad
        N, C, H, W = y.shape
        framed = self.of_zero().view(1, C, 1, 1).repeat(N, 1, H + 2 * p, W + 2 * p)
        framed[:, :, p : p + H, p : p + W] = y
        return framed

    @torch.no_grad()
    def of_zero(self) -> Tensor:
        """(C,) by the running statistics, in training those that this batch has moved; without gradient."""
        return scale_and_shift(self.bn)[1]


class RepConv(nn.Module):
    """1x1, norm, depthwise 3x3, 1x1, norm: in inference one 3x3 convolution."""

    def __init__(self, cin: int, cout: int) -> None:
        super().__init__()
        last = nn.Sequential(
            nn.Conv2d(cin, cin, 3, groups=cin, bias=False), nn.Conv2d(cin, cout, 1, bias=False), norm(cout)
        )
        self.body = nn.Sequential(nn.Conv2d(cin, cin, 1, bias=False), BNAndPad(cin), last)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.body(x)
        return y

    def merged(self) -> nn.Conv2d:
        first, framed, (depthwise, pointwise, bn) = _parts(self.body)
        return folded(dense(first.weight, framed.bn, depthwise.weight, pointwise.weight), bn)


class SepRepConv(nn.Module):
    """Norm, 1x1, depthwise 3x3: in inference one 3x3 convolution, with the norm that follows."""

    def __init__(self, cin: int, cout: int) -> None:
        super().__init__()
        last = nn.Sequential(nn.Conv2d(cin, cout, 1, bias=False), nn.Conv2d(cout, cout, 3, groups=cout, bias=False))
        self.body = nn.Sequential(BNAndPad(cin), last)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.body(x)
        return y

    def merged(self) -> nn.Conv2d:
        framed, (pointwise, depthwise) = _parts(self.body)
        return dense(None, framed.bn, depthwise.weight, pointwise.weight, depthwise_last=True)


def _parts(body: nn.Sequential) -> list[Any]:
    """Its modules, nested ones as lists."""
    return [_parts(part) if isinstance(part, nn.Sequential) else part for part in body]


class Driven(nn.Module):
    """Triples of neuron, synapses and norm, by name; a neuron or a norm may be missing."""

    DRIVES: ClassVar[tuple[tuple[str | None, str, str | None], ...]]

    def drive(self, i: int, x_TBCHW: Tensor) -> Tensor:
        """The norm of what the synapses make of the neuron's spikes."""
        names = self.DRIVES[i]
        neuron, bn = (getattr(self, name) if name else None for name in (names[0], names[2]))
        synapses = getattr(self, names[1])
        if isinstance(neuron, VirtualSteps):
            return neuron.through(synapses, x_TBCHW)
        spikes_TBCHW = neuron(x_TBCHW) if neuron else x_TBCHW
        return each_step(spikes_TBCHW, synapses, *((bn,) if bn else ()))

    @torch.no_grad()
    def merge(self) -> None:
        """Fold re-parameterised convolutions and norms into one convolution with bias, in place; outputs stay the same."""
        for _, name, bn in self.DRIVES:
            synapses = getattr(self, name)
            synapses = synapses.merged() if isinstance(synapses, RepConv | SepRepConv) else synapses
            if bn is not None and getattr(self, bn) is not None:
                synapses = folded(synapses, getattr(self, bn))
                setattr(self, bn, None)
            setattr(self, name, synapses)


class Unit(Driven):
    """One triple: neuron, convolution, norm; the stem, which sees the image, has no neuron, the head's last no norm."""

    def __init__(self, neuron: nn.Module | None, conv: nn.Conv2d, bn: nn.BatchNorm2d | None) -> None:
        super().__init__()
        for name, module in zip(self.DRIVES[0], (neuron, conv, bn), strict=True):
            if name is not None:
                setattr(self, name, module)

    def forward(self, x_TBCHW: Tensor) -> Tensor:
        return self.drive(0, x_TBCHW)


class SpikeConv(Unit):
    """With the size of its input."""

    DRIVES = (("lif", "conv", "bn"),)

    def __init__(self, cin: int, cout: int, k: int, neuron: MakeNeuron, stride: int = 1) -> None:
        super().__init__(neuron(), nn.Conv2d(cin, cout, k, stride, k // 2, bias=False), norm(cout))


class SpikeConvWithoutBN(Unit):
    """1x1 with bias: the last of the head."""

    DRIVES = (("lif", "conv", None),)

    def __init__(self, cin: int, cout: int, neuron: MakeNeuron) -> None:
        super().__init__(neuron(), nn.Conv2d(cin, cout, 1), None)


class DownSampling(Unit):
    """Strided, with bias."""

    DRIVES = (("encode_lif", "encode_conv", "encode_bn"),)

    def __init__(
        self, cin: int, cout: int, k: int, stride: int, padding: int, neuron: MakeNeuron, first: bool = False
    ) -> None:
        super().__init__(None if first else neuron(), nn.Conv2d(cin, cout, k, stride, padding), norm(cout))


class SepConv(Driven):
    """The token mixer: 1x1 to twice the channels, depthwise k x k, SepRepConv back."""

    DRIVES = (("lif1", "pwconv1", "bn1"), ("lif2", "dwconv2", "bn2"), ("lif3", "pwconv3", "bn3"))

    def __init__(self, C: int, k: int, neuron: MakeNeuron) -> None:
        super().__init__()
        M = 2 * C
        self.lif1, self.lif2, self.lif3 = neuron(), neuron(), neuron()
        self.pwconv1, self.bn1 = nn.Conv2d(C, M, 1, bias=False), norm(M)
        self.dwconv2, self.bn2 = nn.Conv2d(M, M, k, padding=k // 2, groups=M, bias=False), norm(M)
        self.pwconv3, self.bn3 = SepRepConv(M, C), norm(C)

    def forward(self, x_TBCHW: Tensor) -> Tensor:
        return self.drive(2, self.drive(1, self.drive(0, x_TBCHW)))


class SNNBlock1(nn.Module):
    """Membrane shortcuts around the token mixer and two dense 3x3 convolutions, expansion r: the early stages."""

    def __init__(self, C: int, r: int, neuron: MakeNeuron, k: int = 7) -> None:
        super().__init__()
        self.Conv = SepConv(C, k, neuron)
        self.conv1 = SpikeConv(C, r * C, 3, neuron)
        self.conv2 = SpikeConv(r * C, C, 3, neuron)

    def forward(self, x_TBCHW: Tensor) -> Tensor:
        x_TBCHW = x_TBCHW + self.Conv(x_TBCHW)
        y: Tensor = x_TBCHW + self.conv2(self.conv1(x_TBCHW))
        return y


class SNNBlock2(Driven):
    """The same with re-parameterised convolutions as channel mixer: the late stages."""

    DRIVES = (("lif1", "conv1", "bn1"), ("lif2", "conv2", "bn2"))

    def __init__(self, C: int, r: int, neuron: MakeNeuron, k: int = 7) -> None:
        super().__init__()
        self.Conv = SepConv(C, k, neuron)
        self.lif1, self.lif2 = neuron(), neuron()
        self.conv1, self.bn1 = RepConv(C, r * C), norm(r * C)
        self.conv2, self.bn2 = RepConv(r * C, C), norm(C)

    def forward(self, x_TBCHW: Tensor) -> Tensor:
        x_TBCHW = x_TBCHW + self.Conv(x_TBCHW)
        return x_TBCHW + self.drive(1, self.drive(0, x_TBCHW))


class SPPF(nn.Module):
    """Three chained 5x5 poolings of membrane values beside their input."""

    def __init__(self, cin: int, cout: int, neuron: MakeNeuron, k: int = 5) -> None:
        super().__init__()
        self.cv1 = SpikeConv(cin, cin // 2, 1, neuron)
        self.cv2 = SpikeConv(cin // 2 * 4, cout, 1, neuron)
        self.m = nn.MaxPool2d(k, 1, k // 2)

    def forward(self, x_TBCHW: Tensor) -> Tensor:
        scales = [self.cv1(x_TBCHW)]
        for _ in range(3):
            scales.append(each_step(scales[-1], self.m))
        y: Tensor = self.cv2(torch.cat(scales, 2))
        return y


class Upsample(nn.Module):
    """Each pixel four times."""

    def forward(self, x_TBCHW: Tensor) -> Tensor:
        return each_step(x_TBCHW, lambda x: nn.functional.interpolate(x, scale_factor=2.0, mode="nearest"))


class Concat(nn.Module):
    """Of channels."""

    def forward(self, x_TBCHW: Tensor, other_TBCHW: Tensor) -> Tensor:
        return torch.cat((x_TBCHW, other_TBCHW), 2)
