"""Weights in the released layout: its keys are ours, so that a state dict is loaded as it stands."""

from __future__ import annotations

from pathlib import Path

from retable.models.common.checkpoint import load_strictly, read_tensors
from retable.models.spikevoice.network import SpikeVoice


def load_released(path: Path, model: SpikeVoice) -> None:
    """Fill the STSA arm, the corpus's bins included. Raises CheckpointError that names what does not fit."""
    load_strictly(path, model, read_tensors(path))
