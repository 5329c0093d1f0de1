"""Guided sampling of image tokens with a cache, for any token model with `start` and `step` (arXiv 2408.12245, eq. 11).

What the official sampler does is kept where it changes numbers: guidance acts on logits (the paper prints probabilities),
top-k comes before top-p, and a temperature has no effect, so there is none here.
Shapes: B images, T tokens each, V vocabulary.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor


class TokenModel(Protocol):
    """What sampling asks of a model: AiM and the Transformer both are one."""

    @property
    def num_classes(self) -> int: ...

    @property
    def num_tokens(self) -> int: ...

    def start(self, labels_B: Tensor, max_length: int) -> tuple[Tensor, Any]: ...

    def step(self, tokens_B: Tensor, position: int, cache: Any) -> Tensor: ...


class GuidedDecoder:
    """Cached decoding under classifier-free guidance: l = l_u + w (l_c - l_u).

    Runs both halves (class, no class) side by side, or only the one that counts where w is 1 or 0. `logits_BV` are those
    of the next token. `position_offset` is the position of the first image token: 0 as in training, 1 as the official
    sampler has it.
    """

    def __init__(
        self,
        model: TokenModel,
        labels_B: Tensor,
        *,
        guidance: float = 1.0,
        position_offset: int = 0,
        both_halves: bool = False,
    ) -> None:
        self.model, self.guidance = model, guidance
        no_class_B = torch.full_like(labels_B, model.num_classes)
        self.halves = 2 if both_halves or guidance not in (0, 1) else 1
        if self.halves == 2:
            labels = torch.cat([labels_B, no_class_B])
        else:
            labels = labels_B if guidance == 1 else no_class_B
        self.position = position_offset
        logits, self.cache = model.start(labels, model.num_tokens)
        self.logits_BV = self._guided(logits)

    def feed(self, tokens_B: Tensor) -> Tensor:
        """Append the same token to both halves; the logits after it."""
        logits = self.model.step(tokens_B.repeat(self.halves), self.position, self.cache)
        self.position += 1
        self.logits_BV = self._guided(logits)
        return self.logits_BV

    def _guided(self, logits: Tensor) -> Tensor:
        if self.halves == 1:
            return logits
        class_BV, no_class_BV = logits.chunk(2)
        return no_class_BV + self.guidance * (class_BV - no_class_BV)


def filter_logits(logits_BV: Tensor, top_k: int = 0, top_p: float = 1.0) -> Tensor:
    """Logits with -inf where a token may not be drawn; 0 and 1.0 leave everything.

    top_k keeps what is at least the k-th largest (ties stay); then top_p drops the least probable tokens as long as their
    sum is at most 1 - top_p, but never the most probable one.
    """
    if not 0 <= top_p <= 1 or top_k < 0:
        raise ValueError(f"top_k must be at least 0 and top_p between 0 and 1, not {top_k} and {top_p}")
    if 0 < top_k < logits_BV.shape[-1]:
        smallest_B1 = logits_BV.topk(top_k).values[..., -1:]
        logits_BV = logits_BV.masked_fill(logits_BV < smallest_B1, -torch.inf)
    if top_p < 1:
        ascending_BV, order_BV = logits_BV.sort()
        dropped_BV = ascending_BV.softmax(-1).cumsum(-1) <= 1 - top_p
        dropped_BV[..., -1] = False
        logits_BV = logits_BV.masked_fill(dropped_BV.scatter(-1, order_BV, dropped_BV), -torch.inf)
    return logits_BV


@torch.inference_mode()
def sample_tokens(
    model: TokenModel,
    labels_B: Tensor,
    *,
    guidance: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    position_offset: int = 0,
    generator: torch.Generator | None = None,
    official_rng: bool = False,
) -> Tensor:
    """Tokens (B, T), int64, drawn one by one; the same generator state gives the same tokens.

    `official_rng` spends random numbers as the official sampler does, which draws for both halves and throws the second
    away: with the same seed it draws the same tokens.
    """
    decoder = GuidedDecoder(
        model, labels_B, guidance=guidance, position_offset=position_offset, both_halves=official_rng
    )
    drawn: list[Tensor] = []
    while True:
        probabilities_BV = F.softmax(filter_logits(decoder.logits_BV, top_k, top_p), dim=-1)
        rows = probabilities_BV.repeat(2, 1) if official_rng else probabilities_BV
        drawn.append(torch.multinomial(rows, 1, generator=generator)[: len(labels_B), 0])
        if len(drawn) == model.num_tokens:
            return torch.stack(drawn, dim=1)
        decoder.feed(drawn[-1])
