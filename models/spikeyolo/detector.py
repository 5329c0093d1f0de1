"""What stands between uint8 samples and a network, and between its maps and boxes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from retable.models.spikeyolo.head import STRIDES
from retable.models.spikeyolo.network import Rows
from retable.models.spikeyolo.suppression import Detections, suppressed

GREY = 114 / 255
"""What images are padded with."""
POLARITIES = 2
"""Channels of frames that count events; frames with another number are drawn, as the released Gen1 data are."""


class Detector(nn.Module):
    """A network with the preparation of its input and the suppression of its output.

    Images are scaled to [0, 1] and padded to the right and below, to sides that are multiples of 32, with grey, event
    frames with 0. `image_size` (H, W) is where boxes are cut; None cuts at x's sides.
    """

    def __init__(self, network: Rows, T: int, image_size: tuple[int, int] | None = None) -> None:
        super().__init__()
        self.network, self.T, self.image_size = network, T, image_size
        self._built: list[Tensor] | None = None

    def forward(self, x: Tensor) -> list[Tensor]:
        """Raw maps (B, 64 + K, h, w) of a prepared input, for the strides 8, 16 and 32."""
        maps: list[Tensor] = self.network(x)
        return maps

    def prepare(self, pixels: Tensor) -> Tensor:
        """float32 (B, C, H', W') of images, (B, T, C, H', W') of event frames. ValueError for frames T cannot group."""
        *_, H, W = pixels.shape
        down, right = -H % STRIDES[-1], -W % STRIDES[-1]
        if pixels.dim() == 5:
            events = happened(pixels, self.T) if pixels.shape[2] == POLARITIES else drawn(pixels, self.T)
            return F.pad(events, (0, right, 0, down))
        return F.pad(pixels.float() / 255, (0, right, 0, down), value=GREY)

    @torch.no_grad()
    def detect(self, x: Tensor, threshold: float = 0.001, iou: float = 0.7, most: int = 300) -> list[Detections]:
        """What is in each sample of a prepared input. Raises ValueError naming an argument out of range."""
        H, W = self.image_size or x.shape[-2:]
        found = []
        for boxes, scores, classes in suppressed(self.network.head.decoded(self(x)), threshold, iou, most):
            cut = boxes.float().cpu()
            cut[:, 0::2], cut[:, 1::2] = cut[:, 0::2].clamp(0, W), cut[:, 1::2].clamp(0, H)
            found.append(Detections(cut.numpy(), scores.float().cpu().numpy(), classes.cpu().numpy()))
        return found

    def merge(self) -> None:
        """Fold norms and re-parameterised convolutions, as the paper does for inference, in place and for good."""
        self._built = [torch.empty_like(weight, device="meta") for weight in self.network.parameters()]
        self.network.merge()

    def parameters_counted(self) -> Any:
        """Those of the network as it was built and trained: what the paper counts."""
        return self._built if self._built is not None else list(self.network.parameters())


def happened(frames_BS2HW: Tensor, T: int) -> Tensor:
    """0 or 1 (B, T, 2, H, W): whether there was an event of a polarity; S / T frames in a row are one step."""
    grouped = frames_BS2HW.unflatten(1, (T, _frames_a_step(frames_BS2HW.shape[1], T))).amax(2)
    return grouped.clamp(max=1).float()


def drawn(frames_BSCHW: Tensor, T: int) -> Tensor:
    """Grey values in [0, 1]; there must be a frame for each step."""
    if _frames_a_step(frames_BSCHW.shape[1], T) != 1:
        raise ValueError(
            f"drawn event frames cannot be grouped: T must be their number {frames_BSCHW.shape[1]}, not {T}"
        )
    return frames_BSCHW.float() / 255


def _frames_a_step(S: int, T: int) -> int:
    if S % T:
        raise ValueError(f"{S} event frames cannot be grouped into T = {T} steps: T must divide the frames")
    return S // T
