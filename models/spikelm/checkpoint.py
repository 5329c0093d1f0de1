"""The released layout of SpikeLM's weights: BERT's names, and an amplitude a site and step as a scalar of its own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from retable.models.common.checkpoint import load_strictly, read_tensors
from retable.models.common.errors import CheckpointError

_BEFORE_LINEAR = re.compile(r"(?:(?P<site>.*)\.)?act_clip_val\.(?P<t>\d+)")
_ON_OPERAND = re.compile(r"(?P<site>.*\.)?clip_(?P<operand>key|value)\.(?P<t>\d+)")
_UNUSED = re.compile(r"(?:.*\.)?weight_clip_val|(?:bert\.)?embeddings\.position_ids")
_DECODER = {
    "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
    "cls.predictions.decoder.bias": "cls.predictions.bias",
}
"""Second names of tied weights."""
_HEADS = ("cls.", "classifier.")


def from_released(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict under our names, of any part of the model. Raises ValueError for a decoder that is not tied.

    `act_clip_val.{t}` become `neuron.alpha_T`; `clip_key.{t}` become `key_neuron.{t}.alpha_T`; buffers that nothing
    reads are left out.
    """
    ours: dict[str, Tensor] = {}
    amplitudes: dict[str, dict[int, Tensor]] = {}
    for key, tensor in state.items():
        if tied := _DECODER.get(key):
            if tied in state and not torch.equal(tensor, state[tied]):
                raise ValueError(f"{key} differs from {tied}, which it has to be tied to")
        elif found := _BEFORE_LINEAR.fullmatch(key):
            site = f"{found['site']}.neuron" if found["site"] else "neuron"
            amplitudes.setdefault(site, {})[int(found["t"])] = tensor.reshape(())
        elif found := _ON_OPERAND.fullmatch(key):
            ours[f"{found['site'] or ''}{found['operand']}_neuron.{found['t']}.alpha_T"] = tensor.reshape(1)
        elif not _UNUSED.fullmatch(key):
            ours[key] = tensor
    for site, by_step in amplitudes.items():
        if sorted(by_step) != list(range(len(by_step))):
            raise ValueError(f"{site} has amplitudes of the steps {sorted(by_step)}, not of 0 to {max(by_step)}")
        ours[f"{site}.alpha_T"] = torch.stack([by_step[t] for t in range(len(by_step))])
    return ours


def load_released(path: Path, model: nn.Module) -> None:
    """Fill a model with released weights; heads of another task are left out, its own new head may be missing.

    BERT's own checkpoints load too: their amplitudes stay 1, which means not measured. Raises CheckpointError.
    """
    try:
        state = from_released(read_tensors(path))
    except ValueError as error:
        raise error if isinstance(error, CheckpointError) else CheckpointError(f"{path}: {error}") from error
    own = model.state_dict()
    state = {key: tensor for key, tensor in state.items() if key in own or not key.startswith(_HEADS)}
    optional = [key for key in own if key.startswith(_HEADS) or key.endswith("alpha_T")]
    load_strictly(path, model, state, optional)
