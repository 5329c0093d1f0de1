"""Spiking BERT as a suite declares it (arXiv 2406.03287). Imports torch only when used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from retable.models.spikelm.recipe import Recipe

if TYPE_CHECKING:
    from torch import nn

    from retable.models.spikelm.classifier import SentenceClassifier

Fit = tuple["nn.Module", dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class SpikingBert(Recipe):
    """BERT with a neuron before every linear layer of the encoder; `none` is BERT itself, at T = 1.

    `k` times the mean is an elastic amplitude, `threshold` is that of `lif`. `vocab` names BERT's `vocab.txt` below
    $BENCH_DATA; without one the `vocabulary` commonest words of the training sentences are the tokens. `weights` names
    pre-trained weights there, in the released layout or BERT's; fine-tuning starts from them. `protocol` official has elastic
    keys and values in the `sign` variant too, as the released code; corrected has signs there.
    """

    NAME: ClassVar[str] = "spiking-bert"

    neuron: Literal["elastic", "ternary", "sign", "lif", "psn", "none"] = "elastic"
    T: int = 4
    k: float = 2.0
    threshold: float = 1.0
    width: int = 768
    layers: int = 12
    heads: int = 12
    hidden: int = 3072
    vocabulary: int = 30522
    length: int = 128
    dropout: float = 0.1
    protocol: Literal["official", "corrected"] = "corrected"
    vocab: str | None = None
    weights: str | None = None

    NEEDS: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, least in (
            ("T", 1), ("width", 1), ("layers", 1), ("heads", 1), ("hidden", 1), ("vocabulary", 6), ("length", 4)
        ):  # fmt: skip
            if getattr(self, name) < least:
                raise ValueError(f"`{name}` must be at least {least}, not {getattr(self, name)}")
        if self.width % self.heads:
            raise ValueError(f"`width` must be a multiple of the {self.heads} `heads`, not {self.width}")
        if self.neuron == "none" and self.T != 1:
            raise ValueError(f"without neurons nothing changes over time: `T` must be 1, not {self.T}")
        for name in ("k", "threshold"):
            if not getattr(self, name) > 0:
                raise ValueError(f"`{name}` must be above 0, not {getattr(self, name)}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"`dropout` must be at least 0 and below 1, not {self.dropout}")
        if self.weights is not None and self.pretrain_steps:
            raise ValueError("`weights` are pre-trained already: `pretrain_steps` must be 0")

    def build(self, data: Any) -> SentenceClassifier:
        """Random weights from torch's own generator; without data two classes and no tokenizer.

        Raises ValueError for data that are no labelled sentences, MissingWeights.
        """
        from retable.models.spikelm.bert import Config
        from retable.models.spikelm.classifier import SentenceClassifier
        from retable.models.spikelm.neurons import Neurons
        from retable.models.spikelm.tokenizer import Tokenizer

        tokenizer = None
        if data is not None:
            if not hasattr(data, "unlabelled"):
                raise ValueError("spiking-bert needs labelled sentences (the data sets movie-snippets and glue)")
            if self.vocab is not None:
                tokenizer = Tokenizer.published(self.vocab, self.length)
            else:
                tokenizer = Tokenizer.of_words(data.unlabelled, self.vocabulary, self.length)
        config = Config(
            vocab_size=self.vocabulary if tokenizer is None else len(tokenizer),
            hidden_size=self.width,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            intermediate_size=self.hidden,
            max_position_embeddings=max(512, self.length),
            dropout=self.dropout,
        )
        neurons = Neurons(self.neuron, self.T, self.k, self.threshold, self.protocol == "official")
        return SentenceClassifier(config, neurons, 2 if data is None else data.num_classes, tokenizer)

    def fit(self, data: Any, needs: Mapping[str, Any], *, seed: int, device: str) -> Fit:
        """Pre-trained (or read from `weights`), then trained on `data.train`; with `keep: both` two models by epoch.

        Raises FloatingPointError when a loss is not finite, MissingWeights, CheckpointError.
        """
        import torch

        from retable.models.spikelm.training import fit_sentences

        with torch.random.fork_rng():
            torch.manual_seed(seed)  # initial weights, dropout
            model = self.build(data)
            if self.weights is not None:
                from retable.models.common.weights import weights_file
                from retable.models.spikelm.checkpoint import load_released

                load_released(weights_file(self.weights), model.network)
            return fit_sentences(model, data, self, seed=seed, device=device)

    def load(self, state: Mapping[str, Any], data: Any, needs: Mapping[str, Any], *, device: str) -> nn.Module:
        """The model, or the two of them, that `state` came from."""
        from retable.models.spikelm.classifier import epochs

        built = self.build(data)
        model = epochs(built) if self.keep == "both" else built
        model.load_state_dict(state)
        return model.to(device).eval()

    def weights_digest(self) -> str | None:
        """Digests of the pre-trained weights and the vocabulary, None without either. Raises MissingWeights."""
        from retable.models.common.weights import weights_digest

        digests = [weights_digest(name) for name in (self.weights, self.vocab) if name is not None]
        return ", ".join(digests) or None
