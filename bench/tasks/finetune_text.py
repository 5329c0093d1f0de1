"""Task `finetune-text`: fit on labelled sentences, then label the held-out ones, as GLUE does (arXiv 1804.07461)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from retable.bench.accountant.names import RuleName
from retable.bench.errors import BenchError
from retable.bench.tasks.classify import UNUSABLE

if TYPE_CHECKING:
    import numpy as np

    from retable.bench.datasets.texts.labelled import LabelledTextData

Epoch = Literal["best", "last"]


@dataclass(frozen=True, kw_only=True)
class FinetuneText:
    """Labels all held-out sentences in batches; counts operations over `account_samples` of them, evenly spread.

    The fitted model turns sentences, or pairs, into its input with `prepare(first, second)`, and that into logits (B, K)
    when called; K = 1 is a rating. `rules` are those of the accountant; `account_samples` 0 counts nothing.

    `part` names further held-out sentences of the data, which are labelled in place of the first (`mm` of GLUE's `mnli`).
    `epoch` picks the weights where the fit kept several epochs' (a ModuleDict of models by epoch).
    """

    NAME: ClassVar[str] = "finetune-text"

    batch_size: int = 64
    account_samples: int = 8
    rules: tuple[RuleName, ...] = ("full", "literature")
    part: str | None = None
    epoch: Epoch | None = None

    FITS: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise BenchError(f"`batch_size` must be at least 1, not {self.batch_size}")
        if self.account_samples < 0:
            raise BenchError(f"`account_samples` must be at least 0, not {self.account_samples}")
        if self.account_samples and not self.rules:
            raise BenchError("`rules` must name at least one rule where `account_samples` is above 0")

    def evidence(self, model: Any, data: LabelledTextData, *, seed: int, device: str) -> FinetuneTextEvidence:
        """Outputs of the fitted `model` for what is held out, and its account.

        Raises BenchError without sentences, for a part that the data lack, and for an epoch that the fit did not keep.
        """
        import numpy as np
        import torch

        model = _of_epoch(model, self.epoch)
        data = data if self.part is None else data.held_out_by(self.part)
        if not len(data.held_out):
            raise BenchError(f"{data.name} has no held-out sentences")
        model.eval()
        outputs = []
        with torch.inference_mode():
            for start in range(0, len(data.held_out), self.batch_size):
                chosen = range(start, min(start + self.batch_size, len(data.held_out)))
                outputs.append(model(*_prepared(model, data, chosen, device)).double().cpu().numpy())
        return FinetuneTextEvidence(
            model=model, data=data, outputs_NK=np.concatenate(outputs), account=self._account(model, data, device)
        )

    def _account(self, model: Any, data: LabelledTextData, device: str) -> Any:
        import numpy as np
        import torch

        from retable.bench.accountant import Accountant

        if not self.account_samples:
            return None
        n = min(self.account_samples, len(data.held_out))
        batch = _prepared(model, data, np.linspace(0, len(data.held_out) - 1, n).astype(int), device)
        with torch.no_grad(), Accountant(model, rules=self.rules) as accountant:
            model(*batch)
        return accountant.result(samples=n)


def _of_epoch(model: Any, epoch: Epoch | None) -> Any:
    from torch import nn

    several = type(model) is nn.ModuleDict
    if epoch is None and not several:
        return model
    if not several:
        raise BenchError(
            f"the fit kept one epoch's weights, and `epoch: {epoch}` of the task needs one that kept several "
            "(`keep: both` of spiking-bert)"
        )
    if epoch not in model:
        asked = "no `epoch`" if epoch is None else f"`epoch: {epoch}`"
        raise BenchError(f"the fit kept the epochs {', '.join(model)}, and the task names {asked}")
    return model[epoch]


def _prepared(model: Any, data: LabelledTextData, chosen: Any, device: str) -> list[Any]:
    first, second = data.held_out.first, data.held_out.second
    pairs = None if second is None else [second[i] for i in chosen]
    return [part.to(device) for part in model.prepare([first[i] for i in chosen], pairs)]


@dataclass(frozen=True, kw_only=True, eq=False)
class FinetuneTextEvidence:
    """Outputs (N, K) for the held-out sentences, K = 1 of ratings; the account where operations were counted."""

    model: Any
    data: LabelledTextData
    outputs_NK: np.ndarray
    account: Any = None
    why_no_account: str = "the task counts no operations (account_samples is 0)"

    @property
    def steps(self) -> int:
        """Time steps whose outputs can be told apart: sentences are labelled once, by the mean over time."""
        return 1

    @property
    def labels(self) -> np.ndarray:
        return self.data.held_out.labels

    @cached_property
    def predictions(self) -> np.ndarray:
        """Classes (N,), UNUSABLE where an output is not finite; of ratings the outputs themselves."""
        import numpy as np

        if self.data.num_classes == 1:
            return self.outputs_NK[:, 0]
        finite = np.isfinite(self.outputs_NK).all(axis=1)
        return np.where(finite, np.where(finite[:, None], self.outputs_NK, 0).argmax(axis=1), UNUSABLE)

    @property
    def correct_by_step(self) -> np.ndarray:
        """Whether each sentence's class is right, bool (1, N)."""
        right: np.ndarray = (self.predictions == self.labels)[None]
        return right

    @property
    def unusable_by_step(self) -> list[int]:
        return [int((self.predictions == UNUSABLE).sum())]

    def artefacts(self) -> Mapping[str, bytes]:
        """`sentences.json`: the tokenizer's digest, predictions in the order of the data; `account.json` where counted."""
        content = {"tokenizer": self.model.tokenizer.digest(), "predictions": self.predictions.tolist()}
        files = {"sentences.json": content}
        if self.account is not None:
            files["account.json"] = self.account.as_dict()
        return {name: json.dumps(part).encode() for name, part in files.items()}
