"""Peak host memory of FID, Inception Score, precision and recall over generated images: `python asv_bench/fid_memory.py [IMAGES]`.

The task, the metrics and their rows in files are the real ones. Images are random numbers of 256 x 256 and the network is a cheap
one of Inception's widths (2048 features, 1008 classes), so that the figures are those of the images and features alone; as in
ADM's protocol there are published moments and 10,000 reference images, here made up too. With `--inception` the network is
Inception-v3 itself with random weights, for what it adds (0.8 GB, 32 images at once): a few images tell. Most time goes into
matrices of 2048 features; with `--features 64` all images are read within two minutes. 200 KB a generated image are needed below
$TMPDIR.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
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
from retable.bench.rehearsal import inception
from retable.bench.tasks.generate import Generate

PIXELS, DIM, CLASSES = 256, 2048, 1008
REFERENCE = 10_000
COARSE = 8
BATCH = 16
"""Images drawn at once; larger arrays are given back to the system each time, which takes longer than filling them."""


class Made:
    """A split of `count` images that are drawn when they are asked for."""

    augments = False

    def __init__(self, count: int) -> None:
        self.labels = np.zeros(count, np.int64)

    def __len__(self) -> int:
        return len(self.labels)

    def images(self, indices: np.ndarray, rng: Any = None) -> np.ndarray:
        drawn = np.random.default_rng(int(indices[0]) if len(indices) else 0)
        content = bytearray(drawn.bytes(len(indices) * 3 * PIXELS * PIXELS))  # bytes would be read-only
        return np.frombuffer(content, np.uint8).reshape(len(indices), 3, PIXELS, PIXELS)


class Drawing(torch.nn.Module):
    """A model that has learned nothing: coarse squares of random colours, which cost less than the memory they fill."""

    def sample(self, labels: Tensor, *, generator: torch.Generator, **ignored: Any) -> Tensor:
        coarse = torch.rand(len(labels), 3, COARSE, COARSE, generator=generator) * 2 - 1
        return coarse.repeat_interleave(PIXELS // COARSE, 2).repeat_interleave(PIXELS // COARSE, 3)


def cheap(device: str, dim: int) -> features.FeatureNetwork:
    """A random matrix on a few pixels of each image; the first features are the logits."""
    drawn = torch.Generator().manual_seed(0)
    wide_ID = torch.randn(3 * COARSE**2, dim, generator=drawn) / COARSE

    def forward(x_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        few_BI = x_BCHW[..., :: PIXELS // COARSE, :: PIXELS // COARSE].float().flatten(1) / 128 - 1
        features_BD = torch.relu(few_BI @ wide_ID)
        return features_BD, features_BD[:, :CLASSES]

    classes = min(dim, CLASSES)
    info = features.NetworkInfo(name="cheap", digest="", dim=dim, classes=classes, resize="8", backend="torch")
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
    parser.add_argument("--features", type=int, default=DIM, help="of the cheap network")
    parser.add_argument("--inception", action="store_true", help="through Inception-v3 in place of the cheap network")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as weights:
        measure(given, inception_in(Path(weights)) if given.inception else "cheap")


def inception_in(folder: Path) -> str:
    """Inception-v3's name, once its weights, random ones, lie below `folder`."""
    os.environ["BENCH_DATA"] = str(folder)
    inception.write(folder)
    inception.accept()
    return "inception"


def measure(given: argparse.Namespace, network: str) -> None:
    features._LOADERS["cheap"] = partial(cheap, dim=given.features)
    dim = given.features if network == "cheap" else DIM
    moments = Reference(
        network=network, backend="made", mu=np.zeros(dim), sigma=np.eye(dim), images=Made(given.reference)
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
        task = Generate(samples=given.images, batch_size=BATCH)
        evidence = task.evidence(Drawing(), data, seed=0, device="cpu")
    metrics: dict[str, Any] = {
        "FID": FrechetDistance(network=network),
        "Inception Score": InceptionScore(network=network),
    }
    if not given.no_neighbours:
        metrics |= {"precision": Precision(network=network), "recall": Recall(network=network)}
    for name, metric in metrics.items():
        with phase(name):
            found = metric.measure(evidence)
        print(f"  {found.value if found.value is not None else found.reason}")
    print(f"ru_maxrss {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9:.2f} GB")


if __name__ == "__main__":
    main()
