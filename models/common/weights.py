"""Where published weights lie, without torch: what keys and checks need to know of them."""

from __future__ import annotations

import os
from pathlib import Path

from retable.contents import file_digest
from retable.models.common.errors import MissingWeights

CONFIG, WEIGHTS = "config.json", "model.safetensors"


def locate(weights: str | os.PathLike[str]) -> Path:
    """An absolute path as it is, a relative one below $BENCH_DATA (default `data/`)."""
    return Path(os.environ.get("BENCH_DATA", "data")) / weights


def weights_file(weights: str | os.PathLike[str]) -> Path:
    """The file of tensors that `weights` names, itself or inside its folder.

    Raises MissingWeights with the sentence that says what to put where.
    """
    path = locate(weights)
    path = path / WEIGHTS if path.is_dir() or not path.suffix else path
    if not path.is_file():
        raise MissingWeights(f"no weights at {path}: {_what_to_do(weights)}")
    return path


def weights_digest(weights: str | os.PathLike[str]) -> str:
    """SHA-256 of that file."""
    return file_digest(weights_file(weights))


def _what_to_do(weights: str | os.PathLike[str]) -> str:
    name = Path(weights).name
    if Path(weights).suffix:
        return f"put the state dict {name} there, or set BENCH_DATA to the folder that holds {weights}"
    return (
        f"put {CONFIG} and {WEIGHTS} of the Hugging Face repository {weights} into that folder, "
        f"or set BENCH_DATA to the folder that holds {weights}"
    )
