"""Random weights of a spiking BERT in the released layout, and a small `vocab.txt`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from retable.models.common.stand_in import SEED, random_state, write
from retable.models.spikelm.tokenizer import SPECIAL

LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789.,'-#"
_OPERAND = re.compile(r"(.*\.)?(key|value)_neuron\.(\d+)\.alpha_T")
_SITE = re.compile(r"(?:(.*)\.)?neuron\.alpha_T")


def bert(method: Any, root: Path, data: Any) -> None:
    """`method.vocab`: WordPiece over letters and the words of the data; `method.weights`: a state dict with amplitudes."""
    if method.vocab is not None:
        words = sorted({word for text in data.unlabelled for word in text.lower().split() if word.isalpha()})
        pieces = [*SPECIAL, *LETTERS, *(f"##{letter}" for letter in LETTERS), *(w for w in words if len(w) > 1)]
        path = root / method.vocab
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():  # all tasks share one vocabulary
            path.write_text("\n".join(pieces) + "\n", encoding="utf-8")
    if method.weights is None or (root / method.weights).exists():
        return
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        state = released(random_state(method.build(data).network))
    write(root / method.weights, {f"module.{key}": tensor for key, tensor in state.items()})


def released(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our names as released: an amplitude a site and step as a scalar of its own, and no head of a task."""
    found: dict[str, Tensor] = {}
    for key, tensor in state.items():
        if key.startswith("classifier."):
            continue
        if at := _OPERAND.fullmatch(key):
            found[f"{at[1] or ''}clip_{at[2]}.{at[3]}"] = tensor.reshape(1)
        elif at := _SITE.fullmatch(key):
            site = f"{at[1]}." if at[1] else ""
            found |= {f"{site}act_clip_val.{t}": value.reshape(1) for t, value in enumerate(tensor)}
        else:
            found[key] = tensor
    return found


STAND_INS: Mapping[str, Callable[..., None]] = {"spiking-bert": bert}
