"""A method whose weight no seed decides, and a task that works in batches and can be timed; loaded with `--plugin`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, ClassVar

from retable.bench.record import Measurement
from retable.bench.registry import register
from tests.bench.tiny import Tiny, Weight


@register("method", "shaky")
@dataclass(frozen=True, kw_only=True)
class Shaky(Tiny):
    """The operating system's randomness in the last digits of its weight."""

    def fit(self, data: Any, needs: dict[str, Any], *, seed: int, device: str) -> tuple[Any, dict[str, Any]]:
        import torch

        model, log = super().fit(data, needs, seed=seed, device=device)
        with torch.no_grad():
            model.weight += 1e-3 * int.from_bytes(os.urandom(4), "big") / 2**32
        return model, log


@register("task", "batched")
@dataclass(frozen=True, kw_only=True)
class Batched:
    """Its number depends on the size of its batches a little, and on the threads even less."""

    batch_size: int = 8
    FITS: ClassVar[bool] = True

    def evidence(self, model: Any, data: Any, *, seed: int, device: str) -> Weight:
        import torch

        return Weight(value=model.weight.item() * (1 + 1e-6 * self.batch_size + 1e-8 * torch.get_num_threads()))


@register("metric", "stopwatch")
@dataclass(frozen=True, kw_only=True)
class Stopwatch:
    UNIT: ClassVar[str] = "s"
    DIRECTION: ClassVar[Any] = "lower"
    VERSION: ClassVar[str] = "1"
    EXACT: ClassVar[bool] = False
    TIMED: ClassVar[bool] = True

    def measure(self, evidence: Any) -> Measurement:
        return Measurement(value=1 + int.from_bytes(os.urandom(2), "big"), unit="s", direction="lower")
