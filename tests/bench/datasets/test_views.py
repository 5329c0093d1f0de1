"""Held-out photographs are cut to the pixel as the released evaluations cut them: torchvision's transforms are the oracle."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from retable.bench.datasets.views import seen

transforms: Any = pytest.importorskip("torchvision.transforms")
RELEASED = {
    "0.875-bilinear": (256, "BILINEAR"),
    "0.875-bicubic": (256, "BICUBIC"),
    "0.95-bicubic": (235, "BICUBIC"),
    "1.0-bicubic": (224, "BICUBIC"),
}


@pytest.mark.parametrize("sides", [(500, 375), (301, 517), (224, 224)])
@pytest.mark.parametrize("view", RELEASED)
def test_a_view_is_that_of_the_released_evaluation(view: Any, sides: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*sides[::-1], 3), np.uint8)
    image = Image.fromarray(pixels)
    short, name = RELEASED[view]
    resize = transforms.Resize(short, getattr(transforms.InterpolationMode, name))
    wanted = np.asarray(transforms.Compose([resize, transforms.CenterCrop(224)])(image))
    assert np.array_equal(seen(image, 224, view).transpose(1, 2, 0), wanted)
