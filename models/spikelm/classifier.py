"""What a task of sentences is given: the network with its tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy

from torch import Tensor, nn

from retable.models.spikelm.bert import BertForSequenceClassification, Config
from retable.models.spikelm.neurons import Neurons
from retable.models.spikelm.tokenizer import Tokenizer


class SentenceClassifier(nn.Module):
    """Logits (B, K) of sentences or pairs; K = 1 is a rating. Without a tokenizer it is only built, to be counted."""

    def __init__(self, config: Config, neurons: Neurons, classes: int, tokenizer: Tokenizer | None) -> None:
        super().__init__()
        self.config, self.neurons = config, neurons
        self.network = BertForSequenceClassification(config, neurons, classes)
        self._tokenizer = tokenizer

    @property
    def T(self) -> int:  # noqa: N802 - the paper's symbol
        return self.neurons.T

    @property
    def tokenizer(self) -> Tokenizer:
        if self._tokenizer is None:
            raise ValueError("a model that is built without data has no tokenizer")
        return self._tokenizer

    def prepare(self, first: Sequence[str], second: Sequence[str] | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """(ids, mask, types) of sentences or pairs, (B, N)."""
        return self.tokenizer(first, second)

    def forward(self, ids_BN: Tensor, mask_BN: Tensor, types_BN: Tensor) -> Tensor:
        logits_BK: Tensor = self.network(ids_BN, mask_BN, types_BN)
        return logits_BK


def epochs(model: SentenceClassifier) -> nn.ModuleDict:
    """What `keep: both` fits: `model` itself as `last`, a copy of it as `best`."""
    return nn.ModuleDict({"best": deepcopy(model), "last": model})
