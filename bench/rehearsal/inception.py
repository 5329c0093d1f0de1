"""Inception-v3 of random weights where FID's is looked for, and the pin that lets a rehearsal's workers read it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path

from retable.bench.metrics import features

READERS = ("fid", "kid", "inception_score", "precision", "recall", "class_accuracy")


def write(root: Path) -> None:
    """A plain pickled state dict in pytorch-fid's layout."""
    import torch

    from retable.bench.metrics.inception import fid_inception

    path = root / features.INCEPTION_FILE
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(20240711)
        torch.save(fid_inception().state_dict(), path)


def accept() -> None:
    """In this process the stand-in's digest is the pinned one. Called where a rehearsal's workers load this module."""
    path = Path(os.environ.get("BENCH_DATA", "data")) / features.INCEPTION_FILE
    if path.is_file():
        features.INCEPTION_SHA256 = sha256(path.read_bytes()).hexdigest()


FOR_METRICS: Mapping[str, Callable[[Path], None]] = dict.fromkeys(READERS, write)
