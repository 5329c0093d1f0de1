"""A backbone under a tuning with a head, and what tuning left of it: the few numbers that were trained."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from retable.models.ept.checkpoint import digest
from retable.models.ept.tuning import Tuning
from retable.models.ept.vit import VisionTransformer

IMAGENET_MEAN, IMAGENET_STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
"""Of RGB in [0, 255], as the published configurations have them."""
HEAD_STD = 0.01
BACKBONE, TUNING, HEAD = "backbone.", "tuning.", "head."


class Prepared(nn.Module):
    """A backbone with the standardisation of its images, (pixels - mean_C) / std_C of uint8 (B, C, H, W)."""

    mean_C: Tensor
    std_C: Tensor

    def __init__(self, network: VisionTransformer) -> None:
        super().__init__()
        self.network = network
        channels = network.size.in_channels
        rgb = channels == len(IMAGENET_MEAN)
        self.register_buffer("mean_C", torch.tensor(IMAGENET_MEAN) if rgb else torch.full((channels,), 127.5))
        self.register_buffer("std_C", torch.tensor(IMAGENET_STD) if rgb else torch.full((channels,), 127.5))

    def prepare(self, pixels_BCHW: Tensor) -> Tensor:
        return (pixels_BCHW.float() - self.mean_C[:, None, None]) / self.std_C[:, None, None]


class Head(nn.Module):
    """`layers` linear layers on the CLS token, ReLU between them; weights N(0, 0.01), biases 0. One layer is the paper's head.

    The hidden width of more layers is D, as in VPT's comparison (arXiv 2203.12119); the paper does not state it.
    """

    def __init__(self, width: int, num_classes: int, layers: int = 1) -> None:
        super().__init__()
        hidden: list[nn.Module] = []
        for _ in range(layers - 1):
            hidden += [nn.Linear(width, width), nn.ReLU()]
        last = nn.Linear(width, num_classes)
        self.fc = nn.Sequential(*hidden, last) if hidden else last
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=HEAD_STD)
                nn.init.zeros_(module.bias)

    def forward(self, x_BD: Tensor) -> Tensor:
        logits_BK: Tensor = self.fc(x_BD)
        return logits_BK


class TunedClassifier(nn.Module):
    """Images to logits (B, K). The backbone is a copy: what it was made from stays as it is.

    Only what a tuning trains is this model's own: `parameters_counted`, `trained` and `state_dict` concern it alone.
    """

    def __init__(self, prepared: Prepared, tuning: Tuning, head: Head) -> None:
        super().__init__()
        self.prepared = copy.deepcopy(prepared)
        self.backbone, self.tuning, self.head = self.prepared.network, tuning, head
        for name, parameter in self.backbone.named_parameters():
            parameter.requires_grad_(tuning.trains(name))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.head(self.features(x_BCHW))

    def features(self, x_BCHW: Tensor) -> Tensor:
        """What the head sees, (B, D)."""
        return self.backbone(x_BCHW, self.tuning)

    def prepare(self, pixels_BCHW: Tensor) -> Tensor:
        return self.prepared.prepare(pixels_BCHW)

    def trained(self) -> dict[str, nn.Parameter]:
        """By name, `backbone.`, `tuning.` or `head.` first."""
        parts = ((BACKBONE, self.backbone), (TUNING, self.tuning), (HEAD, self.head))
        return {
            prefix + name: parameter
            for prefix, part in parts
            for name, parameter in part.named_parameters()
            if parameter.requires_grad
        }

    def parameters_counted(self) -> Iterable[nn.Parameter]:
        """What is trained, the head included."""
        return self.trained().values()

    def snapshot(self) -> dict[str, Tensor]:
        """A copy of what is trained, and of prompts that stay as they were drawn."""
        own = {TUNING + name: tensor for name, tensor in self.tuning.state_dict().items()}
        own |= {name: parameter.data for name, parameter in self.trained().items()}
        return {name: tensor.detach().clone() for name, tensor in own.items()}

    @torch.no_grad()
    def restore(self, snapshot: Mapping[str, Tensor]) -> None:
        """Take back what `snapshot` gave. Raises KeyError, RuntimeError for that of another tuning."""
        places = self.trained() | {TUNING + name: tensor for name, tensor in self.tuning.state_dict().items()}
        if set(places) != set(snapshot):
            raise KeyError(f"weights of another tuning: {sorted(set(places) ^ set(snapshot))[0]}")
        for name, tensor in snapshot.items():
            places[name].copy_(tensor)

    def backbone_digest(self) -> str:
        """Over the bits of the whole backbone as it is now."""
        return digest(self.backbone.state_dict())


def changed(before: VisionTransformer, after: VisionTransformer) -> int:
    """How many tensors of a backbone differ in any bit."""
    states: tuple[dict[str, Any], dict[str, Any]] = before.state_dict(), after.state_dict()
    return sum(not torch.equal(states[0][name].cpu(), states[1][name].cpu()) for name in states[0])
