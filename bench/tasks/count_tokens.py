"""count-tokens: a language model built without memory and run on one sentence by its shapes alone, to be counted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from retable.bench.accountant.names import RuleName
from retable.bench.errors import BenchError
from retable.bench.tasks.count import CountEvidence


@dataclass(frozen=True, kw_only=True)
class CountTokens:
    """As `count`, of a model that takes ids, mask and segments (B, N): one sentence of `tokens` tokens, none of them padding.

    Operations are counted under `rules`; spikes are not, since nothing has values.
    """

    NAME: ClassVar[str] = "count-tokens"

    tokens: int = 128
    rules: tuple[RuleName, ...] = ("literature",)

    FITS: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.tokens < 1:
            raise BenchError(f"`tokens` must be at least 1, not {self.tokens}")

    def evidence(self, method: Any, needs: Mapping[str, Any], *, seed: int, device: str) -> CountEvidence:
        import torch

        from retable.bench.accountant import Accountant

        with torch.device("meta"):
            model = method.build(None).eval()
            ids_BN = torch.zeros(1, self.tokens, dtype=torch.int64)
            with torch.no_grad(), Accountant(model, rules=self.rules) as accountant:
                model(ids_BN, torch.ones_like(ids_BN), torch.zeros_like(ids_BN))
        return CountEvidence(model=model, account=accountant.result(samples=1), why_no_account="")
