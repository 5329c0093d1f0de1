"""Conversion of a trained ANN to integrate-and-fire neurons, after QCFS (arXiv 2303.04347).

    a = lambda clip(floor(z L / lambda + 1/2) / L, 0, 1)          the ANN's activation; lambda is learned per layer (eq. 15)
    v(0) = lambda / 2;  h(t) = v(t-1) + z(t);  s(t) = [h(t) >= lambda];  v(t) = h(t) - lambda s(t);  out lambda s(t)

Under a constant input both give the same after T = L steps (theorem 2); deeper layers deviate, since their spikes arrive unevenly.
The networks have average pools, since a maximum of spikes is no spike of a maximum. Weights and normalisation stay as they are;
the analog image is presented at every step, and the logits' running mean is the answer.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from retable.models.spiking.neurons import IF
from retable.models.vision.layers import check_stages

Activation = Callable[[], nn.Module]
VGG_SIZES: Mapping[str, Mapping[str, Any]] = {
    "vgg16": {"widths": ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512)), "dropout": 0.0},
}
"""Published networks, as keywords of `VGG`."""
RESNET_SIZES: Mapping[str, Mapping[str, Any]] = {
    "resnet18": {"widths": (64, 128, 256, 512), "layers": (2, 2, 2, 2)},
    "resnet20": {"widths": (16, 32, 64), "layers": (3, 3, 3)},
    "resnet34": {"widths": (64, 128, 256, 512), "layers": (3, 4, 6, 3)},
}
"""Published networks for CIFAR, as keywords of `ResNet`."""


class _Floor(torch.autograd.Function):
    """floor, whose derivative is taken to be 1."""

    @staticmethod
    def forward(ctx: Any, z: Tensor) -> Tensor:
        return z.floor()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad


class QCFS(nn.Module):
    """Quantised clip-floor-shift: L levels up to a learned lambda, `up` in the released weights."""

    def __init__(self, up: float = 8.0, L: int = 16) -> None:
        super().__init__()
        if not up > 0:
            raise ValueError(f"up must be above 0, not {up}")
        if L < 1:
            raise ValueError(f"L must be at least 1, not {L}")
        self.up = nn.Parameter(torch.tensor([float(up)]))
        self.L = L

    def forward(self, z: Tensor) -> Tensor:
        levels: Tensor = _Floor.apply(z / self.up * self.L + 0.5)
        # not `clamp`, whose gradient at its bounds, where many levels lie, differs between releases of torch
        return F.hardtanh(levels / self.L, 0.0, 1.0) * self.up

    def extra_repr(self) -> str:
        return f"L={self.L}"


class TCL(nn.Module):
    """Trainable clipping layer (arXiv 2008.04509): clip(z, 0, lambda)."""

    def __init__(self, up: float = 4.0) -> None:
        super().__init__()
        if not up > 0:
            raise ValueError(f"up must be above 0, not {up}")
        self.up = nn.Parameter(torch.tensor([float(up)]))

    def forward(self, z: Tensor) -> Tensor:
        return self.up - (self.up - z.relu()).relu()


class VGG(nn.Module):
    """x (B, C, H, W) -> logits (B, num_classes): stages of conv3x3 - BN - activation, an average pool after each, linear layers.

    `widths` holds the convolutions' widths stage by stage, `hidden` those of the linear layers. With a number for `dropout` the
    modules, and so the keys, are those of the released VGG; None leaves dropout out.
    """

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 10,
        widths: Sequence[Sequence[int]] = ((16,), (32,), (64,)),
        hidden: Sequence[int] = (4096, 4096),
        image_size: int = 32,
        dropout: float | None = None,
        activation: Activation = QCFS,
    ) -> None:
        super().__init__()
        if not widths or not all(widths) or image_size < 2 ** len(widths):
            raise ValueError(
                f"widths must be stages of convolutions, each of which halves the {image_size} pixels, not {widths}"
            )
        self.num_stages = len(widths)
        drop = [] if dropout is None else [nn.Dropout(dropout)]
        before, side = in_channels, image_size
        for i, stage in enumerate(widths):
            modules: list[nn.Module] = []
            for width in stage:
                modules += [nn.Conv2d(before, width, 3, padding=1), nn.BatchNorm2d(width), activation(), *drop]
                before = width
            self.add_module(f"layer{i + 1}", nn.Sequential(*modules, nn.AvgPool2d(2)))
            side //= 2
        modules, before = [nn.Flatten()], before * side**2
        for width in hidden:
            modules += [nn.Linear(before, width), activation(), *drop]
            before = width
        self.classifier = nn.Sequential(*modules, nn.Linear(before, num_classes))
        init_weights(self)

    def forward(self, x: Tensor) -> Tensor:
        for i in range(self.num_stages):
            x = self.get_submodule(f"layer{i + 1}")(x)
        return self.classifier(x)

    def steps(self, x: Tensor) -> Tensor:
        """logits (1, B, num_classes): an ANN is a network of one step."""
        return self(x)[None]


class Block(nn.Module):
    """a(BN(conv(a(BN(conv(x))))) + shortcut(x)), a the activation."""

    def __init__(self, in_width: int, width: int, stride: int, activation: Activation) -> None:
        super().__init__()
        self.residual_function = nn.Sequential(
            nn.Conv2d(in_width, width, 3, stride, 1, bias=False),
            nn.BatchNorm2d(width),
            activation(),
            nn.Conv2d(width, width, 3, 1, 1, bias=False),
            nn.BatchNorm2d(width),
        )
        self.shortcut = nn.Sequential()
        if stride != 1 or in_width != width:
            self.shortcut.append(nn.Conv2d(in_width, width, 1, stride, bias=False))
            self.shortcut.append(nn.BatchNorm2d(width))
        self.relu = activation()  # the released weights' name

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.residual_function(x) + self.shortcut(x))


class ResNet(nn.Module):
    """x (B, C, H, W) -> logits (B, num_classes): the released ResNets for CIFAR, whose first stage keeps the image's size."""

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 10,
        widths: Sequence[int] = (16, 32, 64),
        layers: Sequence[int] = (1, 1, 1),
        activation: Activation = QCFS,
    ) -> None:
        super().__init__()
        check_stages(tuple(layers), widths=tuple(widths))
        self.num_stages = len(layers)
        stem = nn.Conv2d(in_channels, widths[0], 3, padding=1, bias=False)
        self.conv1 = nn.Sequential(stem, nn.BatchNorm2d(widths[0]), activation())
        before = widths[0]
        for i, (width, count) in enumerate(zip(widths, layers, strict=True)):
            blocks = []
            for j in range(count):
                blocks.append(Block(before, width, 2 if i and not j else 1, activation))
                before = width
            self.add_module(f"conv{i + 2}_x", nn.Sequential(*blocks))
        self.fc = nn.Linear(before, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        for i in range(self.num_stages):
            x = self.get_submodule(f"conv{i + 2}_x")(x)
        return self.fc(x.mean((2, 3)))

    def steps(self, x: Tensor) -> Tensor:
        """logits (1, B, num_classes): an ANN is a network of one step."""
        return self(x)[None]


def init_weights(network: nn.Module) -> None:
    """The released VGG's: normal convolutions scaled by their fan out, zero biases of linear layers."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)


class ConvertedIF(nn.Module):
    """IF in place of an activation, inside an ANN that runs T images a sample: (T B, ...) -> lambda s, (T B, ...)."""

    threshold: Tensor

    def __init__(self, threshold: Tensor, T: int) -> None:
        super().__init__()
        self.register_buffer("threshold", threshold.clone())
        self.T = T
        self.neuron = IF(threshold=1.0, v_reset=None)

    def forward(self, z: Tensor) -> Tensor:
        z_TB = (z / self.threshold).unflatten(0, (self.T, -1))  # in units of lambda, as released
        half = torch.full_like(z_TB[0], 0.5)
        s_TB, _ = self.neuron.run(z_TB, v=half, potentials="none")
        return (s_TB * self.threshold).flatten(0, 1)

    def extra_repr(self) -> str:
        return f"T={self.T}"


class Converted(nn.Module):
    """An ANN whose activations are IF neurons: x (B, C, H, W) -> logits (B, K), the mean over T steps. It stays in eval mode."""

    def __init__(self, ann: nn.Module, T: int) -> None:
        super().__init__()
        self.ann, self.T = ann, T
        self.eval()

    def train(self, mode: bool = True) -> Converted:
        """A converted network is not trained: its normalisation keeps the statistics of the ANN."""
        return super().train(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.steps(x).mean(0)

    def steps(self, x: Tensor) -> Tensor:
        """Logits of every step, (T, B, K). Step t depends on the steps before only: see `running_mean`."""
        if x.dim() != 4:
            raise ValueError(f"x must be images (B, C, H, W), not {tuple(x.shape)}")
        x_TBCHW = x.expand(self.T, *x.shape)
        return self.ann(x_TBCHW.flatten(0, 1)).unflatten(0, (self.T, -1))


def running_mean(steps_TBK: Tensor) -> Tensor:
    """The answer after 1, 2, ... T steps, (T, B, K)."""
    count = torch.arange(1, len(steps_TBK) + 1, device=steps_TBK.device, dtype=steps_TBK.dtype)
    return steps_TBK.cumsum(0) / count[:, None, None]


def activations(ann: nn.Module) -> dict[str, nn.Module]:
    """The modules that a conversion replaces, by name, in the order of the network's definition."""
    return {name: module for name, module in ann.named_modules() if isinstance(module, QCFS | TCL | nn.ReLU)}


def convert(ann: nn.Module, T: int, thresholds: Mapping[str, float] | None = None) -> Converted:
    """A copy of the ANN with IF neurons, to run T steps.

    A neuron's threshold is its activation's learned lambda, or the one in `thresholds` under the activation's name, which ReLU
    needs: see `balanced_thresholds`. Raises ValueError for an activation without a positive threshold.
    """
    if T < 1:
        raise ValueError(f"T must be at least 1, not {T}")
    found, given = activations(ann), dict(thresholds or {})
    if not found:
        raise ValueError("ann has no QCFS, TCL or ReLU to convert")
    unknown = sorted(given.keys() - found.keys())
    if unknown:
        raise ValueError(f"thresholds name {unknown[0]}, which is no activation of ann; it has {', '.join(found)}")
    spiking = copy.deepcopy(ann)
    for name, module in found.items():
        own = module.up.detach().reshape(()) if isinstance(module, QCFS | TCL) else torch.tensor(torch.nan)
        threshold = torch.tensor(given[name]) if name in given else own
        if not threshold.is_meta and not threshold > 0:
            raise ValueError(f"thresholds must give a positive one for {name}, whose own is {float(threshold)}")
        spiking.set_submodule(name, ConvertedIF(threshold, T))
    return Converted(spiking, T)


@torch.no_grad()
def balanced_thresholds(ann: nn.Module, x: Tensor, quantile: float = 1.0) -> dict[str, float]:
    """The `quantile` of every activation's positive outputs on the images x (B, C, H, W): threshold balancing of a ReLU network.

    1 takes the maximum (Diehl et al., IJCNN 2015), 0.999 is robust to outliers (Rueckauer et al., Front. Neurosci. 2017).
    """
    if not 0 < quantile <= 1:
        raise ValueError(f"quantile must be above 0 and at most 1, not {quantile}")
    found: dict[str, float] = {}

    def note(name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        def hook(module: nn.Module, args: Any, output: Tensor) -> None:
            positive = output[output > 0].double().sort().values
            if len(positive) == 0:
                raise ValueError(f"x leaves the activation {name} at 0 everywhere, so that it has no threshold")
            found[name] = float(positive[min(len(positive) - 1, int(quantile * len(positive)))])

        return hook

    handles = [module.register_forward_hook(note(name)) for name, module in activations(ann).items()]
    was_training = ann.training
    try:
        ann.eval()(x)
    finally:
        ann.train(was_training)
        for handle in handles:
            handle.remove()
    return found
