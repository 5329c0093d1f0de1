"""The classifier: masked convolutions and linear layers with rectified neurons, an integrating readout (arXiv 2407.18625).

NMNIST_CONV is conv(2->12) pool conv(12->64) pool linear(2304->10), NMNIST_MLP is 2312-250-250-10. Input are counts of
events x_BTCHW, or x_BTF without convolutions. Keys are those of the released checkpoint: `features.conv0.scores`, ...,
`classifier.linear0.weight`; W is in the state dict although it is never trained. No biases.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from retable.models.prime.config import CLASSIFICATION, CONV_NEURON, HIDDEN_NEURON, Array, Convolution
from retable.models.prime.neurons import Fire, Readout
from retable.models.prime.topology import Conv2d, Linear, Synapses
from retable.models.vision.layers import each_step

TET_MEAN, TET_LAMBDA = 0.5, 1e-3


class Network(nn.Module):
    """Logits of each step are the readout's potentials; `in_shape` is (C, H, W) of a frame, or (F,) without convolutions."""

    def __init__(
        self,
        in_shape: Sequence[int],
        num_classes: int,
        convolutions: Sequence[Convolution] = (),
        hidden: Sequence[int] = (),
        array: Array = CLASSIFICATION,
    ) -> None:
        super().__init__()
        self.in_shape = tuple(in_shape)
        self.features, self.classifier = nn.ModuleDict(), nn.ModuleDict()
        channels, *sides = self.in_shape
        for i, conv in enumerate(convolutions):
            self.features[f"conv{i}"] = Conv2d(
                array, channels, conv.out_channels, conv.kernel, conv.stride, conv.padding, bias=False
            )
            self.features[f"fire{i}"] = Fire(CONV_NEURON)
            channels = conv.out_channels
            sides = [(side + 2 * conv.padding - conv.kernel) // conv.stride + 1 for side in sides]
            if conv.pooled:
                self.features[f"avgpool{i}"] = nn.AvgPool2d(2)
                sides = [side // 2 for side in sides]
            if min(sides) < 1:
                raise ValueError(f"frames of {self.in_shape[1:]} pixels are too small for convolution {i}")
        widths = (math.prod((channels, *sides)), *hidden, num_classes)
        for i, (c_in, c_out) in enumerate(pairwise(widths)):
            self.classifier[f"linear{i}"] = Linear(array, c_in, c_out, bias=False)
            self.classifier[f"fire{i}"] = Fire(HIDDEN_NEURON) if i < len(hidden) else Readout()

    def forward(self, x: Tensor) -> Tensor:
        """Mean logits over T, (B, K), of x (B, T, ...)."""
        return self.steps(x).mean(0)

    def steps(self, x: Tensor) -> Tensor:
        """Logits of each step, (T, B, K); T is whatever x has."""
        return next(reversed(self.spikes(x).values()))

    def spikes(self, x: Tensor) -> dict[str, Tensor]:
        """What the neurons behind each layer emit, (T, B, ...), by the layer's key; the readout's potentials last."""
        if tuple(x.shape[2:]) != self.in_shape:
            raise ValueError(f"x must be event frames (B, T, ...) of the shape {self.in_shape}, not {tuple(x.shape)}")
        s, found = x.transpose(0, 1), {}
        for name, layer in self.features.items():
            s = layer(s) if isinstance(layer, Fire) else each_step(s, layer)
            if isinstance(layer, Fire):
                found[f"features.{name.replace('fire', 'conv')}"] = s
        s = s.flatten(2)
        for i in range(len(self.classifier) // 2):
            s = self.classifier[f"fire{i}"](each_step(s, self.classifier[f"linear{i}"]))
            found[f"classifier.linear{i}"] = s
        return found

    def masks(self) -> dict[str, Tensor]:
        """0 or 1 for every synapse, by the layer's key."""
        return {name: module.mask() for name, module in self.named_modules() if isinstance(module, Synapses)}


def cross_entropy(logits_TBK: Tensor, labels_B: Tensor) -> Tensor:
    """CE of the mean potentials."""
    return F.cross_entropy(logits_TBK.mean(0), labels_B)


def tet(logits_TBK: Tensor, labels_B: Tensor) -> Tensor:
    """(1 - lambda) mean_t CE(U_t, y) + lambda MSE(U, 1/2), offered by the released code and not used by it."""
    each = F.cross_entropy(logits_TBK.flatten(0, 1), labels_B.repeat(len(logits_TBK)))
    return (1 - TET_LAMBDA) * each + TET_LAMBDA * (logits_TBK - TET_MEAN).square().mean()
