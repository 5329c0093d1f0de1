"""Task `generate`: fit, then draw class-conditional images and score them against real ones (arXiv 2408.12245, section 4)."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from retable.bench.metrics.rows import Rows
from retable.progress import tell

if TYPE_CHECKING:
    import numpy as np

    from retable.bench.datasets.images import ImageData, Images
    from retable.bench.metrics.features import Features

SHEET_ROWS = 4
WARMUP_IMAGES = 4


@dataclass(frozen=True, kw_only=True)
class Generate:
    """Draws `samples` images of uniformly random classes in batches, after a small warm-up batch that is not counted.

    `guidance` 1 is plain conditional sampling; `decode_position_offset` 1 is what the official sampler does, 0 is
    consistent with training.
    """

    NAME: ClassVar[str] = "generate"

    samples: int = 500
    guidance: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    decode_position_offset: int = 0
    batch_size: int = 125

    FITS: ClassVar[bool] = True

    def evidence(self, model: Any, data: ImageData, *, seed: int, device: str) -> GenerateEvidence:
        """Samples and what the metrics need beside them; `model` is fitted, `data` holds uint8 images (N, C, H, W)."""
        import torch

        generator = torch.Generator(device=device).manual_seed(seed)
        labels = torch.randint(data.num_classes, (self.samples,), generator=generator, device=device)
        images: Rows | None = None
        seconds: list[float] = []

        def draw(labels: Any) -> Any:
            return model.sample(
                labels,
                guidance=self.guidance,
                top_k=self.top_k,
                top_p=self.top_p,
                position_offset=self.decode_position_offset,
                generator=generator,
            ).cpu()

        model.eval()
        with torch.inference_mode():
            draw(labels[:WARMUP_IMAGES])
            for batch in labels.split(self.batch_size):
                started = time.perf_counter()
                pixels = to_uint8(draw(batch))
                images = Rows(pixels.shape[1:], pixels.dtype) if images is None else images
                images.append(pixels)
                seconds.append((time.perf_counter() - started) / len(batch))
                tell(len(images), self.samples, what="images")
        assert images is not None, "even no labels make a batch"
        return GenerateEvidence(
            model=model,
            data=data,
            images=images.finished(),
            labels=labels.cpu().numpy(),
            seconds_per_image=seconds,
            images_per_batch=self.batch_size,
            device=device,
        )


def to_uint8(images: Any) -> np.ndarray:
    """Images in [-1, 1] as the ADM evaluator's uint8: clamp(127.5 x + 128, 0, 255), truncated."""
    import torch

    pixels: np.ndarray = (127.5 * images + 128).clamp(0, 255).to(torch.uint8).numpy()
    return pixels


@dataclass(frozen=True, kw_only=True, eq=False)
class GenerateEvidence:
    """Generated images with their requested classes, the real data, and the fitted model."""

    model: Any
    data: ImageData
    images: np.ndarray | Rows
    labels: np.ndarray
    seconds_per_image: list[float]
    images_per_batch: int
    device: str = "cpu"
    _features: dict[tuple[str, str], Features] = field(default_factory=dict)

    @cached_property
    def nll(self) -> np.ndarray:
        """Nats per token of each held-out image given its class, (N,)."""
        return self._nll(self.data.held_out.labels)

    @cached_property
    def nll_unconditional(self) -> np.ndarray:
        """Nats per token of each held-out image given the no-class id, (N,)."""
        import numpy as np

        return self._nll(np.full(len(self.data.held_out), self.data.num_classes))

    def _nll(self, labels: np.ndarray) -> np.ndarray:
        import numpy as np
        import torch

        losses = []
        with torch.inference_mode():
            for indices in np.array_split(np.arange(len(labels)), -(-len(labels) // self.images_per_batch)):
                pixels = torch.from_numpy(self.data.held_out.images(indices)).to(self.device)
                classes = torch.from_numpy(labels[indices]).to(self.device)
                losses.append(self.model.nll(pixels.float() / 127.5 - 1, classes).cpu().numpy())
        return np.concatenate(losses)

    def features(self, which: str, network: str) -> Features:
        """Features of the `generated`, `train`, `held_out` or `reference` images; computed once for all metrics."""
        from retable.bench.metrics.features import load_network

        if (which, network) not in self._features:
            self._features[which, network] = load_network(network, device=self.device).extract(self._pixels(which))
        return self._features[which, network]

    def _pixels(self, which: str) -> np.ndarray | Rows | Images:
        if which == "generated":
            return self.images
        published = self.data.reference.images if self.data.reference else None
        split = {"train": self.data.train, "held_out": self.data.held_out, "reference": published}[which]
        assert split is not None, f"{self.data.name} has no {which} images"
        return split

    def artefacts(self) -> Mapping[str, bytes]:
        """`samples.png`: a sheet with the first images of each class (at most ten classes), a column a class."""
        return {"samples.png": contact_sheet(self.images, self.labels)}


def contact_sheet(images: np.ndarray | Rows, labels: np.ndarray, classes: int = 10, scale: int = 2) -> bytes:
    """PNG bytes of a grid with a column a class and `SHEET_ROWS` rows; classes with too few images leave white cells."""
    import io

    import numpy as np
    from PIL import Image

    _, channels, height, width = images.shape
    sheet = np.full((SHEET_ROWS * height, classes * width, channels), 255, np.uint8)
    for column in range(classes):
        for row, index in enumerate(np.flatnonzero(labels == column)[:SHEET_ROWS]):
            cell = images[index].transpose(1, 2, 0)
            sheet[row * height : (row + 1) * height, column * width : (column + 1) * width] = cell
    size = (sheet.shape[1] * scale, sheet.shape[0] * scale)
    buffer = io.BytesIO()
    Image.fromarray(sheet).resize(size, Image.Resampling.NEAREST).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()
