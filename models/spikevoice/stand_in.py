"""Random weights of the vocoder where a synthesiser looks for HiFi-GAN's: `generator` around the state dict."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from retable.models.common.stand_in import SEED, random_state


def vocoder(method: Any, root: Path, data: Any) -> None:
    if method.vocoder_weights is None:
        return
    from retable.models.vocoder.hifigan import HiFiGAN

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        state = random_state(HiFiGAN())
    path = root / method.vocoder_weights
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"generator": state}, path)


STAND_INS: Mapping[str, Callable[..., None]] = {"spikevoice": vocoder}
