"""BERT with spikes (arXiv 2406.03287, released code). Shapes: T steps, B sentences, N tokens, C channels, H heads, V words.

Embeddings, softmax, layer norms, the residual stream and the heads are real; every matrix product of the encoder has an
operand of spikes. With `Neurons("none", 1)` it is BERT.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from retable.models.spikelm.neurons import Neurons

EPS = 1e-12
INIT_STD = 0.02


@dataclass(frozen=True)
class Config:
    """Sizes as BERT's configuration names them; `hidden_act` is that of the MLM head alone."""

    vocab_size: int = 30522
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    dropout: float = 0.1
    hidden_act: str = "relu"


class SpikingLinear(nn.Linear):
    """y_t = W s_t(x) + b: neurons over T on the input, then full-precision weights."""

    def __init__(self, inputs: int, outputs: int, neurons: Neurons) -> None:
        super().__init__(inputs, outputs)
        self.neuron = neurons.before_linear()

    def forward(self, x_TBNC: Tensor) -> Tensor:
        return F.linear(self.neuron(x_TBNC), self.weight, self.bias)


class Embeddings(nn.Module):
    """Words, positions and segments, real-valued, (B, N) -> (B, N, C)."""

    def __init__(self, c: Config) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(c.vocab_size, c.hidden_size, padding_idx=0)
        self.position_embeddings = nn.Embedding(c.max_position_embeddings, c.hidden_size)
        self.token_type_embeddings = nn.Embedding(c.type_vocab_size, c.hidden_size)
        self.LayerNorm = nn.LayerNorm(c.hidden_size, eps=EPS)
        self.dropout = nn.Dropout(c.dropout)

    def forward(self, ids_BN: Tensor, types_BN: Tensor) -> Tensor:
        N, most = ids_BN.shape[1], self.position_embeddings.num_embeddings
        if most < N:
            raise ValueError(f"ids has {N} tokens a sentence, the model's positions end at {most}")
        positions_N = torch.arange(N, device=ids_BN.device)
        x = self.word_embeddings(ids_BN) + self.token_type_embeddings(types_BN) + self.position_embeddings(positions_N)
        out: Tensor = self.dropout(self.LayerNorm(x))
        return out


class SelfAttention(nn.Module):
    """softmax(q k^T / sqrt(d) + mask) v with spiking k and v; q and the probabilities stay real."""

    def __init__(self, c: Config, neurons: Neurons) -> None:
        super().__init__()
        self.heads = c.num_attention_heads
        self.query, self.key, self.value = (SpikingLinear(c.hidden_size, c.hidden_size, neurons) for _ in range(3))
        self.key_neuron, self.value_neuron = neurons.on_operand(), neurons.on_operand()
        self.dropout = nn.Dropout(c.dropout)

    def forward(self, x_TBNC: Tensor, mask_B11N: Tensor | None = None) -> Tensor:
        return self.attend(x_TBNC, mask_B11N)[0]

    def attend(self, x_TBNC: Tensor, mask_B11N: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Context (T, B, N, C) and probabilities (T, B, H, N, N)."""
        q = self._by_head(self.query(x_TBNC))
        k = self._by_head(self.key_neuron(self.key(x_TBNC)))
        v = self._by_head(self.value_neuron(self.value(x_TBNC)))
        scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
        if mask_B11N is not None:
            scores = scores + mask_B11N
        probabilities = scores.softmax(-1)
        context = self.dropout(probabilities) @ v
        return context.transpose(2, 3).flatten(3), probabilities

    def _by_head(self, x_TBNC: Tensor) -> Tensor:
        return x_TBNC.unflatten(-1, (self.heads, -1)).transpose(2, 3)


class Output(nn.Module):
    """A spiking projection back to the residual stream: LayerNorm(W s(x) + b + residual)."""

    def __init__(self, inputs: int, c: Config, neurons: Neurons) -> None:
        super().__init__()
        self.dense = SpikingLinear(inputs, c.hidden_size, neurons)
        self.LayerNorm = nn.LayerNorm(c.hidden_size, eps=EPS)
        self.dropout = nn.Dropout(c.dropout)

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        out: Tensor = self.LayerNorm(self.dropout(self.dense(x)) + residual)
        return out


class Attention(nn.Module):
    def __init__(self, c: Config, neurons: Neurons) -> None:
        super().__init__()
        self.self = SelfAttention(c, neurons)
        self.output = Output(c.hidden_size, c, neurons)


class Intermediate(nn.Module):
    def __init__(self, c: Config, neurons: Neurons) -> None:
        super().__init__()
        self.dense = SpikingLinear(c.hidden_size, c.intermediate_size, neurons)


class Layer(nn.Module):
    """Attention and feed-forward net, each with post-norm; the feed-forward activation is GELU, whatever the head has."""

    def __init__(self, c: Config, neurons: Neurons) -> None:
        super().__init__()
        self.attention = Attention(c, neurons)
        self.intermediate = Intermediate(c, neurons)
        self.output = Output(c.intermediate_size, c, neurons)

    def forward(self, x_TBNC: Tensor, mask_B11N: Tensor | None = None) -> Tensor:
        a = self.attention.output(self.attention.self(x_TBNC, mask_B11N), x_TBNC)
        out: Tensor = self.output(F.gelu(self.intermediate.dense(a)), a)
        return out


class Encoder(nn.Module):
    def __init__(self, c: Config, neurons: Neurons) -> None:
        super().__init__()
        self.layer = nn.ModuleList(Layer(c, neurons) for _ in range(c.num_hidden_layers))


class Pooler(nn.Module):
    def __init__(self, c: Config) -> None:
        super().__init__()
        self.dense = nn.Linear(c.hidden_size, c.hidden_size)


class Bert(nn.Module):
    """The encoder between real embeddings and the mean over time."""

    def __init__(self, c: Config, neurons: Neurons) -> None:
        super().__init__()
        self.T = neurons.T
        self.embeddings, self.encoder, self.pooler = Embeddings(c), Encoder(c, neurons), Pooler(c)

    def forward(self, ids_BN: Tensor, mask_BN: Tensor, types_BN: Tensor) -> Tensor:
        """Hidden states (B, N, C), the mean over T; `mask_BN` is 1 for tokens and 0 for padding."""
        return self.states(ids_BN, mask_BN, types_BN)[-1]

    def states(self, ids_BN: Tensor, mask_BN: Tensor, types_BN: Tensor) -> list[Tensor]:
        """Before the first layer and behind each (T, B, N, C), but the last as the mean over T."""
        x_BNC = self.embeddings(ids_BN, types_BN)
        mask_B11N = (1 - mask_BN.to(x_BNC.dtype))[:, None, None] * torch.finfo(x_BNC.dtype).min
        x_TBNC = x_BNC.expand(self.T, *x_BNC.shape)  # the same input at every step
        states = [x_TBNC]
        for layer in self.encoder.layer:
            states.append(layer(states[-1], mask_B11N))
        return [*states[:-1], states[-1].mean(0)]

    def pooled(self, hidden_BNC: Tensor) -> Tensor:
        """(B, C) of the first token."""
        return self.pooler.dense(hidden_BNC[:, 0]).tanh()


class Transform(nn.Module):
    def __init__(self, c: Config) -> None:
        super().__init__()
        self.dense = nn.Linear(c.hidden_size, c.hidden_size)
        self.LayerNorm = nn.LayerNorm(c.hidden_size, eps=EPS)


class Predictions(nn.Module):
    """Logits of words, (..., C) -> (..., V); the word embeddings are the last weights."""

    def __init__(self, c: Config) -> None:
        super().__init__()
        self.transform = Transform(c)
        self.bias = nn.Parameter(torch.zeros(c.vocab_size))
        self.activation = getattr(F, c.hidden_act)

    def forward(self, hidden: Tensor, words_VC: Tensor) -> Tensor:
        x = self.transform.LayerNorm(self.activation(self.transform.dense(hidden)))
        return F.linear(x, words_VC, self.bias)


class PretrainingHeads(nn.Module):
    def __init__(self, c: Config) -> None:
        super().__init__()
        self.predictions = Predictions(c)
        self.seq_relationship = nn.Linear(c.hidden_size, 2)


class BertForPreTraining(nn.Module):
    """Masked words and, of a pair, whether the second follows the first."""

    def __init__(self, c: Config, neurons: Neurons) -> None:
        super().__init__()
        self.bert, self.cls = Bert(c, neurons), PretrainingHeads(c)
        initialise(self)

    def words(self, hidden: Tensor) -> Tensor:
        """Logits (..., V) of hidden states (..., C)."""
        logits: Tensor = self.cls.predictions(hidden, self.bert.embeddings.word_embeddings.weight)
        return logits

    def follows(self, hidden_BNC: Tensor) -> Tensor:
        """Logits (B, 2): class 0 where the second sentence follows."""
        logits: Tensor = self.cls.seq_relationship(self.bert.pooled(hidden_BNC))
        return logits


class BertForSequenceClassification(nn.Module):
    """Logits (B, K) of sentences or pairs; K = 1 is a regression."""

    def __init__(self, c: Config, neurons: Neurons, classes: int) -> None:
        super().__init__()
        self.bert = Bert(c, neurons)
        self.dropout = nn.Dropout(c.dropout)
        self.classifier = nn.Linear(c.hidden_size, classes)
        initialise(self)

    def forward(self, ids_BN: Tensor, mask_BN: Tensor, types_BN: Tensor) -> Tensor:
        pooled = self.bert.pooled(self.bert(ids_BN, mask_BN, types_BN))
        logits: Tensor = self.classifier(self.dropout(pooled))
        return logits


def initialise(model: nn.Module) -> None:
    """BERT's: weights N(0, 0.02), biases 0, the padding's embedding 0."""
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=INIT_STD)
        if isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)
        if isinstance(module, nn.Embedding) and module.padding_idx is not None:
            nn.init.zeros_(module.weight[module.padding_idx])


def task_loss(logits_BK: Tensor, labels_B: Tensor) -> Tensor:
    """Cross-entropy, or the mean squared error where there is one output."""
    if logits_BK.shape[1] == 1:
        return F.mse_loss(logits_BK[:, 0], labels_B.to(logits_BK.dtype))
    return F.cross_entropy(logits_BK, labels_B)
