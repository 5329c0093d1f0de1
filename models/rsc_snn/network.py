"""The bodies that all codings share: the VGG layout of the rate-coded SNN (Mukhoty et al., ICLR 2024) and WideResNet-16.

The paper names no network (arXiv 2407.20099, abstract). Inputs are images (B, C, H, W), shown at each of T steps, or coded
frames (B, T, C, H, W); average pooling, batch statistics over time and batch, a neuron after each normalisation.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from retable.models.rsc_snn.neuron import TriangleNeuron
from retable.models.vision.layers import Neuron, check_positive, each_step
from retable.models.vision.over_time import as_steps

Layer = int | Literal["A"]
"""A 3x3 convolution to so many channels with norm and neuron, or average pooling by 2."""
VGG11: tuple[Layer, ...] = (64, "A", 128, 256, "A", 512, 512, 512, "A", 512, 512)
HIDDEN = (4096, 4096)


def triangle_neuron(threshold: float = 1.0) -> nn.Module:
    return TriangleNeuron()


class VGG(nn.Module):
    """`plan` of convolutions and poolings, then linear layers of `hidden` widths with neurons between; keys `body`, `classifier`."""

    def __init__(
        self,
        in_channels: int = 3,
        image_size: int = 32,
        num_classes: int = 10,
        T: int = 4,
        plan: Sequence[Layer] = VGG11,
        hidden: Sequence[int] = HIDDEN,
        neuron: Neuron = triangle_neuron,
    ) -> None:
        super().__init__()
        check_positive(T=T, in_channels=in_channels, num_classes=num_classes)
        self.T, self.in_channels = T, in_channels
        body: list[nn.Module] = []
        channels, side = in_channels, image_size
        for layer in plan:
            if layer == "A":
                body.append(nn.AvgPool2d(2))
                side //= 2
            else:
                body += [nn.Conv2d(channels, layer, 3, padding=1), nn.BatchNorm2d(layer), neuron()]
                channels = layer
        if side < 1:
            raise ValueError(
                f"image_size {image_size} is too small for the {list(plan).count('A')} poolings of the plan"
            )
        widths = [channels * side * side, *hidden]
        head: list[nn.Module] = [nn.Flatten()]
        for before, after in pairwise(widths):
            head += [nn.Linear(before, after), neuron()]
        head.append(nn.Linear(widths[-1], num_classes))
        self.body, self.classifier = nn.Sequential(*body), nn.Sequential(*head)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Mean logits over T, (B, K)."""
        return self.steps(x).mean(0)

    def steps(self, x: Tensor) -> Tensor:
        """Logits of each step, (T, B, K)."""
        z_TBx = as_steps(x, self.T, self.in_channels)
        for module in (*self.body, *self.classifier):
            z_TBx = module(z_TBx) if is_neuron(module) else each_step(z_TBx, module)
        return z_TBx


class WideBlock(nn.Module):
    """norm - neuron - conv, twice, beside the identity or, where the width or side changes, a 1x1 convolution of the first spikes."""

    def __init__(self, before: int, width: int, stride: int, neuron: Neuron) -> None:
        super().__init__()
        self.bn1, self.bn2 = nn.BatchNorm2d(before), nn.BatchNorm2d(width)
        self.sn1, self.sn2 = neuron(), neuron()
        self.conv1 = nn.Conv2d(before, width, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        changes = stride != 1 or before != width
        self.shortcut = nn.Conv2d(before, width, 1, stride, bias=False) if changes else None

    def forward(self, x_TBCHW: Tensor) -> Tensor:
        s = self.sn1(each_step(x_TBCHW, self.bn1))
        y = each_step(self.sn2(each_step(s, self.conv1, self.bn2)), self.conv2)
        return y + (x_TBCHW if self.shortcut is None else each_step(s, self.shortcut))


class WideResNet(nn.Module):
    """Three groups of `blocks` at 16, 32 and 64 times `widen` channels (arXiv 1605.07146); 16-4 has 2 blocks and widen 4."""

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 10,
        T: int = 4,
        blocks: int = 2,
        widen: int = 4,
        neuron: Neuron = triangle_neuron,
    ) -> None:
        super().__init__()
        check_positive(T=T, blocks=blocks, widen=widen)
        self.T, self.in_channels = T, in_channels
        self.conv = nn.Conv2d(in_channels, 16, 3, padding=1, bias=False)
        groups: list[nn.Module] = []
        before = 16
        for width, stride in ((16 * widen, 1), (32 * widen, 2), (64 * widen, 2)):
            for i in range(blocks):
                groups.append(WideBlock(before, width, 1 if i else stride, neuron))
                before = width
        self.groups = nn.Sequential(*groups)
        self.bn, self.sn, self.fc = nn.BatchNorm2d(before), neuron(), nn.Linear(before, num_classes)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Mean logits over T, (B, K)."""
        return self.steps(x).mean(0)

    def steps(self, x: Tensor) -> Tensor:
        """Logits of each step, (T, B, K)."""
        y_TBCHW = self.groups(each_step(as_steps(x, self.T, self.in_channels), self.conv))
        logits_TBK: Tensor = self.fc(self.sn(each_step(y_TBCHW, self.bn)).mean((3, 4)))
        return logits_TBK


def is_neuron(module: nn.Module) -> bool:
    """Whether a module fires (or, in an ANN twin, rectifies): it takes (T, B, ...) as a whole."""
    return isinstance(module, (TriangleNeuron, nn.ReLU))


def pre_synaptic(network: nn.Module, x: Tensor) -> tuple[Tensor, list[Tensor]]:
    """(logits (T, B, K), time-mean input current of every neuron layer in its order, each (B, ...))."""
    currents: list[Tensor] = []

    def note(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        currents.append(inputs[0].mean(0))

    hooks = [module.register_forward_pre_hook(note) for module in network.modules() if is_neuron(module)]
    try:
        return network.steps(x), currents  # type: ignore[operator]
    finally:
        for hook in hooks:
            hook.remove()


@torch.no_grad()
def initialise(network: nn.Module) -> None:
    """Convolutions Kaiming-normal by their outputs, linear biases 0."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)


def kl_divergence(teacher_BK: Tensor, student_BK: Tensor, temperature: float) -> Tensor:
    """temperature^2 KL(softmax(teacher / temperature) || softmax(student / temperature)), the mean over the batch."""
    log_p, log_q = (F.log_softmax(logits / temperature, dim=-1) for logits in (teacher_BK, student_BK))
    return temperature**2 * F.kl_div(log_q, log_p, reduction="batchmean", log_target=True)
