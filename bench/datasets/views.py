"""How held-out photographs of ImageNet are cut, by what the released evaluations of each network look at.

A view is the share of the resized shorter side that the crop keeps, and the resampling: `0.875-bilinear` is torchvision's
Resize(256), CenterCrop(224), which SEW-ResNet and MS-ResNet have; `0.875-bicubic` that of MAE's code (Meta-SpikeFormer,
QKFormer); `0.95-bicubic` and `1.0-bicubic` are timm's with these `crop_pct` (SDT-v1, Spikformer). `adm` is the one that ADM
prepared its reference batch with: shorter side at the size itself, Lanczos.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

View = Literal["adm", "0.875-bilinear", "0.875-bicubic", "0.95-bicubic", "1.0-bicubic"]


def seen(image: Image, size: int, view: View) -> np.ndarray:
    """uint8 (3, size, size) of an RGB image; sizes and corners are rounded as torchvision rounds them."""
    import math

    import numpy as np
    from PIL import Image as Pillow

    share, name = view.split("-")
    short = math.floor(size / float(share))
    width, height = (short * side // min(image.size) for side in image.size)
    resampling = {"bilinear": Pillow.Resampling.BILINEAR, "bicubic": Pillow.Resampling.BICUBIC}[name]
    resized = image if image.size == (width, height) else image.resize((width, height), resampling)
    left, top = (round((side - size) / 2) for side in (width, height))
    pixels = np.asarray(resized.crop((left, top, left + size, top + size)))
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))
