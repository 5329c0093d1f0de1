"""A plugin with two detectors for tests of `detect`: one that knows the answers, one that learns colours of blobs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from retable.bench.datasets.detection import ArrayDetections, DetectionData, gather
from retable.bench.registry import register

SIDE = 32
COLOURS = np.array([[250, 20, 20], [20, 20, 250]], np.uint8)


class Detections(NamedTuple):
    boxes_n4: Tensor
    scores_n: Tensor
    classes_n: Tensor


def detections(rows: Any) -> Detections:
    """From rows class, x0, y0, x1, y1, score."""
    table = torch.as_tensor(np.asarray(rows, np.float64).reshape(-1, 6))
    return Detections(table[:, 1:5], table[:, 5], table[:, 0].long())


class Scripted(nn.Module):
    """Gives prepared answers in the order of the images, and notes how it was asked."""

    def __init__(self, answers: list[Detections]) -> None:
        super().__init__()
        self.answers, self.asked, self.batches = answers, {}, []  # type: ignore[var-annotated]
        self.weight = nn.Parameter(torch.ones(1))

    def prepare(self, pixels: Tensor) -> Tensor:
        return pixels.float()

    def detect(self, x: Tensor, **how: float) -> list[Detections]:
        done = sum(self.batches)
        self.batches.append(len(x))
        self.asked = how
        return self.answers[done : done + len(x)]

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) * self.weight


def oracle(data: DetectionData, score: float = 1.0) -> Scripted:
    """Detects exactly what is annotated."""
    rows = data.held_out.boxes(np.arange(len(data.held_out)))
    return Scripted([detections(np.column_stack([found, np.full(len(found), score)])) for found in rows])


class Blobs(nn.Module):
    """Names the pixels near each learnt colour, and gives the box around them."""

    colours: Tensor

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.register_buffer("colours", torch.zeros(classes, 3))

    def prepare(self, pixels: Tensor) -> Tensor:
        return pixels.float() / 255

    def forward(self, x: Tensor) -> Tensor:
        """Distance (B, K, H, W) of each pixel from each colour."""
        distance: Tensor = (x[:, None] - self.colours[None, :, :, None, None]).abs().amax(2)
        return distance

    def detect(self, x: Tensor, *, threshold: float, iou: float, most: int) -> list[Detections]:
        found = []
        for near in self(x) < 0.1:
            rows = []
            for label, mask in enumerate(near):
                y, column = torch.nonzero(mask, as_tuple=True)
                if len(y) > 8:
                    corners = [int(v) for v in (column.min(), y.min(), column.max() + 1, y.max() + 1)]
                    rows.append([label, *corners, 0.9])
            found.append(detections(rows[:most]))
        return found


@register("method", "blobs")
@dataclass(frozen=True, kw_only=True)
class BlobDetector:
    """Its fit takes the median colour within the annotated boxes of each class."""

    NEEDS: ClassVar[tuple[str, ...]] = ()

    def build(self, data: Any) -> Blobs:
        return Blobs(data.num_classes)

    def fit(self, data: Any, needs: Mapping[str, Any], *, seed: int, device: str) -> tuple[Blobs, dict[str, Any]]:
        model, everything = self.build(data), np.arange(len(data.train))
        inside: list[list[Tensor]] = [[] for _ in range(data.num_classes)]
        images = model.prepare(torch.from_numpy(data.train.images(everything)))
        for image, rows in zip(images, data.train.boxes(everything), strict=True):
            for label, x0, y0, x1, y1 in rows.astype(int):
                inside[label].append(image[:, y0:y1, x0:x1].flatten(1))
        model.colours.copy_(torch.stack([torch.cat(parts, 1).median(1).values for parts in inside]))
        return model, {}

    def load(self, state: Mapping[str, Tensor], data: Any, needs: Mapping[str, Any], *, device: str) -> Blobs:
        model = self.build(data)
        model.load_state_dict(state)
        return model


@register("dataset", "blobs")
@dataclass(frozen=True, kw_only=True)
class BlobData:
    """A red and a blue rectangle on dark images, some of which hold neither."""

    count: int = 12

    def digest(self) -> str:
        return f"blobs-{self.count}"

    def load(self) -> DetectionData:
        return blob_data(self.count)


def blob_data(count: int = 12, crowd: bool = False) -> DetectionData:
    """Image i lacks both rectangles where i is a multiple of 5; with `crowd` every image also has a crowd."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(30, 60, (count, 3, SIDE, SIDE)).astype(np.uint8)
    rows: list[tuple[int, list[float], int, bool, float]] = []
    for number in range(count):
        for label in range(2 if number % 5 else 0):
            x, y = rng.integers(0, 5, 2) + np.array([0, 16 * label])
            width, height = rng.integers(5, 12, 2)
            pixels[number, :, y : y + height, x : x + width] = COLOURS[label][:, None, None]
            rows.append((number, [x, y, width, height], label, False, float(width * height)))
        if crowd:
            rows.append((number, [20, 2, 10, 28], 0, True, 280.0))
    split = ArrayDetections(pixels=pixels, objects=gather(rows, count), categories={7: "red", 3: "blue"})
    return DetectionData(
        name="blobs",
        train=split,
        held_out=split,
        num_classes=2,
        class_names=("red", "blue"),
        category_ids=(7, 3),
        image_shape=(3, SIDE, SIDE),
    )
