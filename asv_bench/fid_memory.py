"""Peak host memory of FID, Inception Score, precision and recall over generated images: `python asv_bench/fid_memory.py [IMAGES]`.

The task, the metrics and their rows in files are the real ones. Images are random numbers of 256 x 256 and the network is a cheap
one of Inception's widths (2048 features, 1008 classes), so that the figures are those of the images and features alone; as in
ADM's protocol there are published moments and 10,000 reference images, here made up too. Inception's own weights add 0.1 GB.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from retable.bench.datasets.images import ImageData, Reference
from retable.bench.metrics import features
from retable.bench.metrics.frechet import FrechetDistance
from retable.bench.metrics.inception_score import InceptionScore
from retable.bench.metrics.precision_recall import Precision, Recall
from retable.bench.tasks.generate import Generate

PIXELS, DIM, CLASSES = 256, 2048, 1008
REFERENCE = 10_000
NETWORK = "cheap"


class Made:
    """A split of `count` images that are drawn when they are asked for."""

    augments = False

    def __init__(self, count: int) -> None:
        self.labels = np.zeros(count, np.int64)

    def __len__(self) -> int:
        return len(self.labels)

    def images(self, indices: np.ndarray, rng: Any = None) -> np.ndarray:
        drawn = np.random.default_rng(int(indices[0]) if len(indices) else 0)
        return drawn.integers(0, 256, (len(indices), 3, PIXELS, PIXELS), np.uint8)


class Drawing(torch.nn.Module):
    """A model that has learned nothing."""

    def sample(self, labels: Tensor, *, generator: torch.Generator, **ignored: Any) -> Tensor:
        return torch.rand(len(labels), 3, PIXELS, PIXELS, generator=generator) * 2 - 1


def cheap(device: str) -> features.FeatureNetwork:
    """A random matrix on images of 16 x 16."""
    drawn = torch.Generator().manual_seed(0)
    wide, last = torch.randn(768, DIM, generator=drawn) / 28, torch.randn(DIM, CLASSES, generator=drawn) / 45

    def forward(x_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        small_BI = torch.nn.functional.avg_pool2d(x_BCHW.float() / 128 - 1, PIXELS // 16).flatten(1)
        features_BD = torch.relu(small_BI @ wide)
        return features_BD, features_BD @ last

    info = features.NetworkInfo(name=NETWORK, digest="", dim=DIM, classes=CLASSES, resize="16", backend="torch")
    return features.FeatureNetwork(info=info, forward=forward, device=device, batch_size=32)


def resident(peak: bool) -> float:
    """GB of this process, now or at most so far."""
    name = "VmHWM:" if peak else "VmRSS:"
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024 / 1e9


@contextmanager
def phase(name: str) -> Iterator[None]:
    """Prints how long it took, what is resident after it, and the peak of all so far."""
    started = time.perf_counter()
    yield
    seconds = time.perf_counter() - started
    print(
        f"{name:28} {seconds:7.1f} s   {resident(False):5.2f} GB after it, {resident(True):5.2f} GB at most", flush=True
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", nargs="?", type=int, default=50_000)
    parser.add_argument("--reference", type=int, default=REFERENCE)
    parser.add_argument(
        "--no-neighbours", action="store_true", help="without precision and recall, which take most time"
    )
    given = parser.parse_args()
    features._LOADERS[NETWORK] = cheap
    moments = Reference(
        network=NETWORK, backend="made", mu=np.zeros(DIM), sigma=np.eye(DIM), images=Made(given.reference)
    )
    data = ImageData(
        name="made",
        train=Made(2),
        held_out=Made(given.images),
        num_classes=1000,
        image_shape=(3, PIXELS, PIXELS),
        reference=moments,
    )
    print(
        f"{given.images:,} generated, {given.images:,} held-out and {given.reference:,} reference images of {PIXELS} x {PIXELS}"
    )
    print(f"files below {tempfile.gettempdir()}; {resident(True):.2f} GB before anything")
    with phase("draw"):
        task = Generate(samples=given.images, batch_size=64)
        evidence = task.evidence(Drawing(), data, seed=0, device="cpu")
    metrics: dict[str, Any] = {
        "FID": FrechetDistance(network=NETWORK),
        "Inception Score": InceptionScore(network=NETWORK),
    }
    if not given.no_neighbours:
        metrics |= {"precision": Precision(network=NETWORK), "recall": Recall(network=NETWORK)}
    for name, metric in metrics.items():
        with phase(name):
            found = metric.measure(evidence)
        print(f"  {found.value if found.value is not None else found.reason}")


if __name__ == "__main__":
    main()
