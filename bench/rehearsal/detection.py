"""A miniature of COCO: pictures of several shapes, annotations with crowds, images without any, boxes beyond the border."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from retable.bench.rehearsal.pictures import SEED, picture

CATEGORIES = 80
HIGHEST = 90
"""COCO's numbers of its 80 categories go up to 90, with gaps."""
SHAPES = ((480, 640), (640, 427), (375, 500), (333, 500))
"""Height and width."""
ROUNDED = 2e-3
"""Sides of detections keep three decimals."""


def coco(dataset: Any, root: Path) -> None:
    """`{train2017,val2017}/*.jpg` and `annotations/instances_*.json`."""
    import numpy as np
    from PIL import Image

    rng, folder = np.random.default_rng(SEED), root / dataset.root
    numbers = [number for number in range(1, HIGHEST + 1) if number % 9 or number > HIGHEST - 1][:CATEGORIES]
    categories = [{"id": number, "name": f"thing {number}", "supercategory": "thing"} for number in numbers]
    (folder / "annotations").mkdir(parents=True, exist_ok=True)
    for part in (dataset.train, dataset.held_out):
        (folder / part).mkdir(exist_ok=True)
        images, annotations = [], []
        for i, (height, width) in enumerate(SHAPES, start=1):
            name = f"{i:012d}.jpg"
            Image.fromarray(picture(rng, height, width)).save(folder / part / name)
            images.append({"id": i, "file_name": name, "height": height, "width": width})
            for k in range(0 if i == len(SHAPES) else 3):
                box = [20.0 + 60 * k, 30.0, width - 120.0 * k - 20, height - 90.0]
                annotations.append(
                    {
                        "id": 100 * i + k,
                        "image_id": i,
                        "category_id": numbers[(i * 7 + k) % CATEGORIES],
                        "bbox": box,
                        "area": box[2] * box[3] * 0.6,
                        "iscrowd": int(k == 2),
                        "segmentation": [],
                    }
                )
        content = {"images": images, "annotations": annotations, "categories": categories}
        (folder / "annotations" / f"instances_{part}.json").write_text(json.dumps(content))


def inside(data: Any, files: Mapping[str, bytes]) -> str | None:
    """Whether a row's detections lie in the images, as the official evaluation cuts them; random weights point beyond."""
    sizes = {image["id"]: (image["width"], image["height"]) for image in data.held_out.ground_truth["images"]}
    for found in json.loads(files["detections.json"]):
        (x, y, w, h), (width, height) = found["bbox"], sizes[found["image_id"]]
        if min(x, y) < -ROUNDED or x + w > width + ROUNDED or y + h > height + ROUNDED:
            box = ", ".join(f"{side:g}" for side in found["bbox"])
            return f"a detection ({box}) leaves image {found['image_id']} of {width} x {height} pixels"
    return None


STAND_INS: Mapping[str, Callable[..., None]] = {"coco": coco}
CHECKS: Mapping[str, Callable[[Any, Mapping[str, bytes]], str | None]] = {"coco": inside}
