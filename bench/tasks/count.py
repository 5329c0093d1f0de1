"""Task `count`: build a model at its published size without memory or training, to count parameters and operations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from retable.bench.accountant.names import RuleName
from retable.bench.errors import BenchError


@dataclass(frozen=True, kw_only=True)
class CountEvidence:
    """A model whose tensors have shapes and no storage (torch's meta device), and its account where a sample ran."""

    model: Any
    account: Any = None
    why_no_account: str = "the task runs no sample (it has no `sample`)"


@dataclass(frozen=True, kw_only=True)
class Count:
    """Builds on the meta device; needs no data, so it can be checked on any machine.

    With `sample`, the shape of one input (C, H, W), one runs through the model, by its shapes alone: operations are counted
    under `rules`, spikes are not.
    """

    NAME: ClassVar[str] = "count"

    FITS: ClassVar[bool] = False

    sample: tuple[int, ...] = ()
    rules: tuple[RuleName, ...] = ()

    def __post_init__(self) -> None:
        if bool(self.sample) != bool(self.rules):
            raise BenchError("`sample` and `rules` belong together: a sample is run to be counted under rules")

    def evidence(self, method: Any, needs: Mapping[str, Any], *, seed: int, device: str) -> CountEvidence:
        import torch

        with torch.device("meta"):
            model = method.build(None).eval()
            if not self.sample:
                return CountEvidence(model=model)
            from retable.bench.accountant import Accountant

            with torch.no_grad(), Accountant(model, rules=self.rules) as accountant:
                model(torch.empty(1, *self.sample))
        return CountEvidence(model=model, account=accountant.result(samples=1), why_no_account="")
