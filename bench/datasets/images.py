"""What a loaded image data set is. Pixels are uint8 in [0, 255], images (N, C, H, W), labels int64 from 0.

Recordings of event cameras travel the same way, as T frames of event counts an image: uint8 (N, T, 2, H, W).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

if TYPE_CHECKING:
    import numpy as np


class Images(Protocol):
    """Images that are read when they are asked for."""

    def __len__(self) -> int: ...

    def images(self, indices: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
        """uint8 (N, C, H, W) of the images with these indices; `rng` asks for training augmentation if it has any."""
        ...


class Split(Images, Protocol):
    """Labelled images: int64 (N,), and whether `images` augments when it is given an `rng`."""

    @property
    def labels(self) -> np.ndarray: ...

    @property
    def augments(self) -> bool: ...


@dataclass(frozen=True, kw_only=True, eq=False)
class ArraySplit:
    """A split in memory: pixels uint8 (N, C, H, W) or (N, T, 2, H, W), labels int64 (N,). Raises ValueError else."""

    pixels: np.ndarray
    labels: np.ndarray

    augments: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.pixels.dtype != "uint8" or self.pixels.ndim not in (4, 5) or self.labels.dtype != "int64":
            raise ValueError(f"not images with labels: {self.pixels.dtype} {self.pixels.shape}, {self.labels.dtype}")
        if self.labels.shape != (len(self.pixels),):
            raise ValueError(f"{len(self.pixels)} images have labels of shape {self.labels.shape}")

    def __len__(self) -> int:
        return len(self.pixels)

    def images(self, indices: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
        chosen: np.ndarray = self.pixels[indices]
        return chosen


@dataclass(frozen=True, kw_only=True, eq=False)
class Reference:
    """Published statistics of real images: mean (D,) and covariance (D, D) of the features of `network`, float64.

    `backend` is whose implementation of that network they were made with. `images` are those that precision and recall
    compare with.
    """

    network: str
    backend: str
    mu: np.ndarray | None
    sigma: np.ndarray | None
    images: Images | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageData:
    """A loaded data set; `image_shape` is (C, H, W), or (T, 2, H, W) of event frames."""

    name: str
    train: Split
    held_out: Split
    num_classes: int
    image_shape: tuple[int, ...]
    reference: Reference | None = None
