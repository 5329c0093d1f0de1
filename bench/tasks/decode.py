"""Task `decode`: what one more token costs after a given number of tokens, for a method and its rival side by side.

Both have random weights: the cost of a step does not depend on their values. The cache is filled as it would be after
`length` tokens, so a long context is measured without generating it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True, kw_only=True)
class DecodeEvidence:
    """Milliseconds of single steps, by model (`method`, `rival`) and context length; rounds are paired."""

    lengths: tuple[int, ...]
    milliseconds: Mapping[str, Mapping[int, list[float]]]
    batch_size: int


@dataclass(frozen=True, kw_only=True)
class Decode:
    """Times single decoding steps of the method and of the need `rival`, `rounds` times after `warmup` rounds.

    Each round steps both models at every length, one after the other, so that a machine that slows down does so for all.
    """

    NAME: ClassVar[str] = "decode"

    lengths: tuple[int, ...] = (64, 256, 1024, 4096)
    batch_size: int = 16
    rounds: int = 25
    warmup: int = 3

    FITS: ClassVar[bool] = False
    NEEDS: ClassVar[tuple[str, ...]] = ("rival",)

    def evidence(self, method: Any, needs: Mapping[str, Any], *, seed: int, device: str) -> DecodeEvidence:
        import torch

        with torch.device(device):
            models = {"method": method.build(None).eval(), "rival": needs["rival"].build(None).eval()}
        places = [(name, length) for length in self.lengths for name in models]
        times: dict[str, dict[int, list[float]]] = {name: {length: [] for length in self.lengths} for name in models}
        with torch.inference_mode(), torch.device(device):
            tokens = torch.zeros(self.batch_size, dtype=torch.long)
            caches = {(name, length): self._filled(models[name], length) for name, length in places}
            for round_ in range(self.warmup + self.rounds):
                for name, length in places:
                    took = _one_step(models[name], tokens, length, caches[name, length], device)
                    if round_ >= self.warmup:
                        times[name][length].append(took)
        return DecodeEvidence(lengths=self.lengths, milliseconds=times, batch_size=self.batch_size)

    def _filled(self, model: Any, length: int) -> Any:
        """A cache as after `length` tokens, with random contents and room for the steps that are timed."""
        import torch

        labels_B = torch.zeros(self.batch_size, dtype=torch.long)
        _, cache = model.start(labels_B, length + self.warmup + self.rounds)
        for state in cache.states(length):
            state.normal_()
        return cache


def _one_step(model: Any, tokens: Any, position: int, cache: Any, device: str) -> float:
    """Milliseconds of one token for the whole batch."""
    import torch

    started = time.perf_counter()
    model.step(tokens, position, cache)
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return (time.perf_counter() - started) * 1e3
