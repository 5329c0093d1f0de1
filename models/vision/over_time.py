"""Layers of images over x_TBCHW: applied to all T B images at once, so that batch statistics merge time and batch."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from retable.models.vision.layers import each_step

IMAGE_LAYERS = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d, nn.BatchNorm2d)


class Merged(nn.Sequential):
    """Layers one after the other on the merged (T B, ...).

    Its keys are `0.weight` and so on; those of SpikingJelly's container, `module.0.weight`, load as well.
    """

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__(*layers)
        self.register_load_state_dict_pre_hook(_drop_module)

    def forward(self, x_TB: Tensor) -> Tensor:
        return each_step(x_TB, super().forward)


def _drop_module(container: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    for key in [key for key in state if key.startswith(f"{prefix}module.")]:
        state[prefix + key.removeprefix(f"{prefix}module.")] = state.pop(key)


class OverTime(nn.Sequential):
    """Modules one after the other on x_TBCHW: layers of images see all T B at once, neurons and the rest see time."""

    def forward(self, x_TBCHW: Tensor) -> Tensor:
        for module in self:
            x_TBCHW = each_step(x_TBCHW, module) if isinstance(module, IMAGE_LAYERS) else module(x_TBCHW)
        return x_TBCHW


class BatchNorm(nn.Module):
    """Batch normalisation of every channel over T, B, H and W; gamma starts at `gain`. Its keys stand below `bn.`."""

    def __init__(self, channels: int, gain: float = 1.0) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(channels)
        nn.init.constant_(self.bn.weight, gain)

    def forward(self, x_TBCHW: Tensor) -> Tensor:
        return each_step(x_TBCHW, self.bn)


def check_input(x: Tensor, in_channels: int) -> None:
    """ValueError unless x holds images (B, C, H, W) or event frames (B, T, C, H, W) with these channels."""
    if x.dim() not in (4, 5):
        raise ValueError(f"x must be images (B, C, H, W) or event frames (B, T, C, H, W), not {tuple(x.shape)}")
    if x.shape[-3] != in_channels:
        raise ValueError(f"x must have the network's {in_channels} channels, not {x.shape[-3]}")


def as_steps(x: Tensor, T: int, in_channels: int) -> Tensor:
    """x_TBCHW of images (B, C, H, W), the same T times, or of event frames (B, T', C, H, W), whatever their T'."""
    check_input(x, in_channels)
    return x.transpose(0, 1) if x.dim() == 5 else x.expand(T, *x.shape)
