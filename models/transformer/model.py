"""A decoder-only Transformer over image tokens, after LlamaGen (arXiv 2406.06525, section 2.2).

    x = [e_c, E_tok[q_1], E_tok[q_2], ...]                               e_c = E_cls[c], a prefix token
    layer:  x <- x + Attention(RMSNorm(x));   x <- x + W_2 (SiLU(W_1 n) * W_3 n),  n = RMSNorm(x)
    logits = RMSNorm(x) E_tok^T

Rotary positions are two-dimensional as in LlamaGen: half of a head's pairs turn with the token's row, half with its column;
the class token is not turned. The head is tied to the token table, as AiM's is (LlamaGen's own is not), so that the two
differ in their layers only. Same interface as `models.aim.stage2.AiM`.
Shapes: B batch, L positions (class, then S tokens), D width, H heads, K head width, V vocabulary, R cached positions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BASE = 10000.0
EPS = 1e-5


@dataclass(frozen=True, kw_only=True)
class TransformerConfig:
    """hidden: width of the SwiGLU layer, None for 8/3 d_model rounded up to a multiple of 8."""

    d_model: int
    n_layer: int
    n_head: int
    vocab_size: int
    num_classes: int
    num_tokens: int
    hidden: int | None = None
    positions: Literal["rope", "learned"] = "rope"

    def __post_init__(self) -> None:
        if min(self.d_model, self.n_layer, self.n_head, self.vocab_size, self.num_classes, self.num_tokens) < 1:
            raise ValueError("a Transformer needs sizes of at least 1")
        if self.d_model % self.n_head:
            raise ValueError(f"{self.n_head} heads do not divide a width of {self.d_model}")
        if self.positions == "rope" and (self.head_dim % 4 or math.isqrt(self.num_tokens) ** 2 != self.num_tokens):
            raise ValueError(
                f"rotary positions need a square of tokens and heads of a multiple of 4, "
                f"not {self.num_tokens} tokens and heads of {self.head_dim}"
            )

    @property
    def head_dim(self) -> int:
        return self.d_model // self.n_head

    @property
    def hidden_dim(self) -> int:
        return self.hidden or -(-8 * self.d_model // 3 // 8) * 8


class RMSNorm(nn.Module):
    def __init__(self, d: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(d))

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, x.shape[-1:], self.weight, EPS)


@dataclass
class LayerCache:
    """Keys and values (B, H, R, K), filled up to the decoder's position."""

    k_BHRK: Tensor
    v_BHRK: Tensor


class Attention(nn.Module):
    """Causal multi-head attention."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.n_head = config.n_head
        self.wqkv = nn.Linear(config.d_model, 3 * config.d_model, bias=False)
        self.wo = nn.Linear(config.d_model, config.d_model, bias=False)

    def qkv(self, x_BLD: Tensor, turn: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Queries and keys, turned to their positions, and values: (B, H, L, K) each."""
        q, k, v = self.wqkv(x_BLD).unflatten(2, (3, self.n_head, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        return (q, k, v) if turn is None else (rotate(q, turn), rotate(k, turn), v)

    def forward(self, x_BLD: Tensor, turn: Tensor | None) -> Tensor:
        y_BHLK = F.scaled_dot_product_attention(*self.qkv(x_BLD, turn), is_causal=True)
        return self.wo(y_BHLK.transpose(1, 2).flatten(2))

    def step(self, x_B1D: Tensor, turn: Tensor | None, cache: LayerCache, length: int) -> Tensor:
        """The same for the position after `length` cached ones, which it adds to the cache."""
        q_BH1K, k_BH1K, v_BH1K = self.qkv(x_B1D, turn)
        cache.k_BHRK[:, :, length] = k_BH1K[:, :, 0]
        cache.v_BHRK[:, :, length] = v_BH1K[:, :, 0]
        seen = slice(length + 1)
        y_BH1K = F.scaled_dot_product_attention(q_BH1K, cache.k_BHRK[:, :, seen], cache.v_BHRK[:, :, seen])
        return self.wo(y_BH1K.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """SwiGLU."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.w13 = nn.Linear(config.d_model, 2 * config.hidden_dim, bias=False)
        self.w2 = nn.Linear(config.hidden_dim, config.d_model, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate, value = self.w13(x).chunk(2, dim=-1)
        return self.w2(F.silu(gate) * value)


class Block(nn.Module):
    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.attention_norm, self.attention = RMSNorm(config.d_model), Attention(config)
        self.ffn_norm, self.feed_forward = RMSNorm(config.d_model), FeedForward(config)

    def forward(self, x_BLD: Tensor, turn: Tensor | None) -> Tensor:
        x_BLD = x_BLD + self.attention(self.attention_norm(x_BLD), turn)
        return x_BLD + self.feed_forward(self.ffn_norm(x_BLD))

    def step(self, x_B1D: Tensor, turn: Tensor | None, cache: LayerCache, length: int) -> Tensor:
        x_B1D = x_B1D + self.attention.step(self.attention_norm(x_B1D), turn, cache, length)
        return x_B1D + self.feed_forward(self.ffn_norm(x_B1D))


@dataclass
class Cache:
    """Keys and values of every layer, allocated once; `length` positions are filled."""

    layers: list[LayerCache]
    length: int

    def states(self, length: int) -> list[Tensor]:
        """What it remembers of the class and `length` tokens, which it counts as filled."""
        self.length = length + 1
        return [part for layer in self.layers for part in (layer.k_BHRK, layer.v_BHRK)]

    @property
    def capacity(self) -> int:
        return self.layers[0].k_BHRK.shape[2]


class Transformer(nn.Module):
    """p(q_t | class, q_<t) over image tokens; see the module's docstring."""

    turns: Tensor | None

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        self.tok_embeddings = nn.Embedding(config.vocab_size, config.d_model)
        self.cls_embedding = nn.Embedding(config.num_classes + 1, config.d_model)
        learned = config.positions == "learned"
        self.pos_embeddings = nn.Embedding(config.num_tokens + 1, config.d_model) if learned else None
        self.register_buffer("turns", None if learned else rotations(config), persistent=False)
        self.layers: Any = nn.ModuleList(Block(config) for _ in range(config.n_layer))
        self.norm = RMSNorm(config.d_model)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)

    @property
    def num_classes(self) -> int:
        return self.config.num_classes

    @property
    def num_tokens(self) -> int:
        return self.config.num_tokens

    @property
    def vocab_size(self) -> int:
        return self.config.vocab_size

    def embedding_tables(self) -> list[nn.Parameter]:
        """Token (also the head), class and, where positions are learned, position table."""
        tables: list[Any] = [self.tok_embeddings, self.cls_embedding, self.pos_embeddings]
        return [table.weight for table in tables if table is not None]

    def forward(self, labels_B: Tensor, tokens_BS: Tensor, position_offset: int = 0) -> Tensor:
        """Logits (B, S + 1, V) after the class and after each token; the first token has position `position_offset`."""
        e_B1D = self.cls_embedding(labels_B)[:, None]
        x_BSD, turn_SK = self._at(self.tok_embeddings(tokens_BS), position_offset)
        x_BLD = torch.cat([e_B1D, x_BSD], dim=1)
        turn_LK = None if turn_SK is None else torch.cat([turn_SK.new_ones(1, turn_SK.shape[1]), turn_SK])
        for layer in self.layers:
            x_BLD = layer(x_BLD, turn_LK)
        return self.head(x_BLD)

    def head(self, x: Tensor) -> Tensor:
        return F.linear(self.norm(x), self.tok_embeddings.weight)

    def start(self, labels_B: Tensor, max_length: int) -> tuple[Tensor, Cache]:
        """Logits (B, V) of the first token, and a cache with room for the class and `max_length` tokens."""
        cache = self._cache(len(labels_B), max_length + 1)
        return self._step(self.cls_embedding(labels_B)[:, None], None, cache), cache

    def step(self, tokens_B: Tensor, position: int, cache: Cache) -> Tensor:
        """Logits (B, V) of the token after `tokens_B`, which stands at `position` of the raster; `cache` grows by one.

        Raises IndexError when the cache is full.
        """
        x_B1D, turn_1K = self._at(self.tok_embeddings(tokens_B)[:, None], position)
        return self._step(x_B1D, turn_1K, cache)

    def _cache(self, batch: int, room: int) -> Cache:
        shape = (batch, self.config.n_head, room, self.config.head_dim)
        weight = self.tok_embeddings.weight

        def empty() -> Tensor:
            return torch.empty(shape, dtype=weight.dtype, device=weight.device)

        return Cache([LayerCache(empty(), empty()) for _ in self.layers], 0)

    def _step(self, x_B1D: Tensor, turn: Tensor | None, cache: Cache) -> Tensor:
        if cache.length == cache.capacity:
            raise IndexError(f"the cache is full: it has room for {cache.capacity} positions")
        for layer, state in zip(self.layers, cache.layers, strict=True):
            x_B1D = layer.step(x_B1D, turn, state, cache.length)
        cache.length += 1
        return self.head(x_B1D)[:, 0]

    def _at(self, x_BSD: Tensor, position: int) -> tuple[Tensor, Tensor | None]:
        """Tokens with their learned positions added, or as they are with the rotations of their positions."""
        count = x_BSD.shape[1]
        rows = self.pos_embeddings.weight if self.pos_embeddings is not None else self.turns
        assert rows is not None
        if position < 0 or position + count > len(rows):
            raise IndexError(f"there are {len(rows)} positions, and none from {position} to {position + count - 1}")
        rows = rows[position : position + count]
        return (x_BSD, rows) if self.pos_embeddings is None else (x_BSD + rows, None)


def rotations(config: TransformerConfig) -> Tensor:
    """Complex unit numbers (T, K/2): the angle of pair i of a head at each token, first half by row, second by column."""
    side, pairs = math.isqrt(config.num_tokens), config.head_dim // 4
    frequency_P = BASE ** (-torch.arange(pairs, dtype=torch.float32) / pairs)
    row_T, column_T = torch.arange(side).repeat_interleave(side), torch.arange(side).repeat(side)
    angle_TK = torch.cat([row_T[:, None] * frequency_P, column_T[:, None] * frequency_P], dim=1)
    return torch.polar(torch.ones_like(angle_TK), angle_TK)


def rotate(x_BHLK: Tensor, turn_LK: Tensor) -> Tensor:
    """Neighbouring channels as one complex number, turned by the angle of its position."""
    x = torch.view_as_complex(x_BHLK.unflatten(-1, (-1, 2)).contiguous())
    return torch.view_as_real(x * turn_LK).flatten(-2)
