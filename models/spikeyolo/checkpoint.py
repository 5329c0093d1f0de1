"""The released checkpoints: a pickle of live module objects in half precision, or a plain state dict of the same keys."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from retable.models.common.checkpoint import load_strictly, read_tensors
from retable.models.common.weights import weights_file

COUNTERS = "num_batches_tracked"


def load_published(network: nn.Module, weights: str) -> None:
    """Fill a network with a released checkpoint, or with a plain state dict of the same keys, below $BENCH_DATA.

    Raises MissingWeights, or CheckpointError naming the first key that does not fit.
    """
    path = weights_file(weights)
    state = read_published(path)
    load_strictly(path, network, state, optional=[key for key in network.state_dict() if key.endswith(COUNTERS)])


def read_published(path: Path) -> dict[str, Tensor]:
    """The state dict, floating-point values as float32: of `ema` where there is one, else of `model`.

    Raises CheckpointError for a file that is neither of modules nor of tensors.
    """
    return {key: value.float() if value.is_floating_point() else value for key, value in read_tensors(path).items()}
