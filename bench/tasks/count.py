"""Task `count`: build a model at its published size without memory or training, to count its parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True, kw_only=True)
class CountEvidence:
    """A model whose tensors have shapes and no storage (torch's meta device)."""

    model: Any


@dataclass(frozen=True, kw_only=True)
class Count:
    """Builds on the meta device; needs no data, so it can be checked on any machine."""

    NAME: ClassVar[str] = "count"

    FITS: ClassVar[bool] = False

    def evidence(self, method: Any, needs: Mapping[str, Any], *, seed: int, device: str) -> CountEvidence:
        import torch

        with torch.device("meta"):
            return CountEvidence(model=method.build(None))
