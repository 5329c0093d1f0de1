"""Held-out photographs are cut to the pixel as the released evaluations cut them: torchvision's transforms are the oracle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from retable.bench.datasets.views import seen
from retable.bench.declare.reader import load_suite

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


FAMILIES = {
    "sew-resnet": "0.875-bilinear",
    "ms-resnet": "0.875-bilinear",
    "meta-spikeformer": "0.875-bicubic",
    "qkformer": "0.875-bicubic",
    "sdt": "0.95-bicubic",
    "spikformer": "1.0-bicubic",
}
"""What each family's released evaluation looks at."""


def test_rows_with_published_weights_see_photographs_as_their_family_does() -> None:
    suite = load_suite(Path(__file__).parents[3] / "suites" / "table_survey.yaml", "paper")
    seen_by = {
        (entry.method.use, entry.dataset.params.get("view") or "0.875-bilinear")
        for entry in suite.entries
        if entry.method and entry.dataset and entry.dataset.use == "imagenet" and entry.method.params.get("weights")
    }
    assert seen_by == set(FAMILIES.items())
