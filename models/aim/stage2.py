"""AiM's second stage: a causal Mamba stack over image tokens, modulated by the class (arXiv 2408.12245, section 3).

    x = [e_c, E_tok[q_1] + E_pos[0], E_tok[q_2] + E_pos[1], ...]      e_c = E_cls[c], also the source of all modulation
    layer i:   r <- r + h;   h <- gate * Mixer(RMSNorm(r) (1 + scale) + shift)
    final:     logits = (RMSNorm(RMSNorm(r + h)) (1 + scale) + shift) E_tok^T

Position j of the logits predicts token q_j. Parameter names are those of the official checkpoints below their prefix
`mamba.`; the head is the token table itself, so there is no parameter `lm_head.weight` (a state that holds one loads if it
equals the table). Everything is float32.
Shapes: B batch, L = S + 1 positions (class, then S tokens), D width, V vocabulary, G adaLN groups.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from retable.models.aim.config import AiMConfig
from retable.models.ssm.linear import few_row_linear
from retable.models.ssm.mamba1 import Mamba1
from retable.models.ssm.mamba2 import Mamba2
from retable.models.ssm.norm import RMSNorm

MIXERS: dict[str, Callable[..., nn.Module]] = {"Mamba1": Mamba1, "Mamba2": Mamba2}
HEAD, TOKEN_TABLE = "lm_head.weight", "backbone.embeddings.word_embeddings.weight"


@dataclass(frozen=True)
class Modulation:
    """What the class does to one layer; each broadcasts against that layer's input."""

    shift: Tensor
    scale1: Tensor
    """1 + scale."""
    gate: Tensor

    def rows(self) -> Modulation:
        """The same for inputs (B, L, D): every tensor (B, 1, D)."""
        return Modulation(self.shift[:, None], self.scale1[:, None], self.gate[:, None])


class Block(nn.Module):
    """One layer: residual sum, norm, modulation, mixer, gate."""

    def __init__(self, config: AiMConfig) -> None:
        super().__init__()
        d = config.d_model
        self.norm = RMSNorm(d, eps=config.norm_eps)
        ssm_cfg = dict(config.ssm_cfg)
        self.mixer = MIXERS[ssm_cfg.pop("layer", "Mamba1")](d, **ssm_cfg)
        if config.adaln == "group":
            self.scale_shift_table = nn.Parameter(torch.randn(1, 3, d) / math.sqrt(d))
        elif config.adaln == "plain":
            self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(d, 3 * d))
        self.adaln = config.adaln

    def shift_scale_gate(self, cond: Tensor) -> Tensor:
        """(B, 3, D) in this order, from the layer's group (B, 3, D), or for plain adaLN from the class embedding (B, D)."""
        if self.adaln == "group":
            return self.scale_shift_table + cond
        return self.adaLN_modulation(cond).unflatten(1, (3, -1))

    def modulation(self, cond: Tensor) -> Modulation | None:
        """Tensors (B, D); None where the layer has no adaLN."""
        if self.adaln == "none":
            return None
        shift_BD, scale_BD, gate_BD = self.shift_scale_gate(cond).unbind(1)
        return Modulation(shift_BD, 1 + scale_BD, gate_BD)

    def forward(
        self, h: Tensor, r: Tensor | None, m: Modulation | None, mixer: Callable[[Tensor], Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """(h, r) of the next layer; r is None before the first. Works on (B, L, D), and on (B, D) with a mixer's step."""
        mixer = mixer or self.mixer
        r = h if r is None else r + h
        n = self.norm(r)
        if m is None:
            return mixer(n), r
        return m.gate * mixer(torch.addcmul(m.shift, n, m.scale1)), r


class FinalLayer(nn.Module):
    """The second of the two norms before the head, with shift and scale of its own (in this order)."""

    def __init__(self, d: int, eps: float) -> None:
        super().__init__()
        self.norm_final = RMSNorm(d, eps=eps)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(d, 2 * d))

    def modulation(self, e_BD: Tensor) -> tuple[Tensor, Tensor]:
        """shift and 1 + scale, (B, D) each."""
        shift_BD, scale_BD = self.adaLN_modulation(e_BD).chunk(2, dim=1)
        return shift_BD, 1 + scale_BD

    def forward(self, f: Tensor, shift: Tensor, scale1: Tensor) -> Tensor:
        return torch.addcmul(shift, self.norm_final(f), scale1)


class Embeddings(nn.Module):
    """Tokens and their positions; T + 1 rows of positions, of which training uses the first T - 1."""

    def __init__(self, config: AiMConfig) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(config.vocab_size, config.d_model)
        self.position_embeddings = (
            nn.Embedding(config.num_tokens + 1, config.d_model) if config.position_table else None
        )

    def forward(self, tokens: Tensor, first_position: int) -> Tensor:
        """Tokens (B, S) at positions first_position ..., or (B,) all at first_position."""
        x = self.word_embeddings(tokens)
        if self.position_embeddings is None:
            return x
        count = tokens.shape[1] if tokens.dim() == 2 else 1
        rows = self.position_embeddings.weight[first_position : first_position + count]
        if first_position < 0 or len(rows) < count:
            raise IndexError(f"the position table has no rows {first_position} to {first_position + count - 1}")
        return x + rows


class ClassEmbedding(nn.Module):
    """One row a class, and the last row for "no class"."""

    def __init__(self, num_classes: int, d: int) -> None:
        super().__init__()
        self.embedding_table = nn.Embedding(num_classes + 1, d)

    def forward(self, labels_B: Tensor) -> Tensor:
        return self.embedding_table(labels_B)


class Backbone(nn.Module):
    """Everything below the head."""

    def __init__(self, config: AiMConfig) -> None:
        super().__init__()
        d = config.d_model
        self.config = config
        self.layers: Any
        self.embeddings = Embeddings(config)
        self.cls_embed = ClassEmbedding(config.num_classes, d)
        if config.adaln == "group":
            self.adaln_group = nn.Sequential(nn.SiLU(), nn.Linear(d, 3 * config.num_groups * d))
        self.layers = nn.ModuleList(Block(config) for _ in range(config.n_layer))
        self.norm_f = RMSNorm(d, eps=config.norm_eps)
        self.final_layer = FinalLayer(d, config.norm_eps)

    def modulations(self, e_BD: Tensor) -> list[Modulation | None]:
        """One a layer, from the class embedding. Layer i belongs to group i mod G, so groups are interleaved."""
        layers: list[Any] = list(self.layers)
        if self.config.adaln != "group":
            return [layer.modulation(e_BD) for layer in layers]
        groups = self.adaln_group(e_BD).view(len(e_BD), self.config.num_groups, 3, e_BD.shape[1]).unbind(1)
        return [layer.modulation(groups[i % len(groups)]) for i, layer in enumerate(layers)]

    def forward(self, labels_B: Tensor, tokens_BS: Tensor, position_offset: int = 0) -> Tensor:
        """What the head sees, (B, S + 1, D)."""
        e_BD = self.cls_embed(labels_B)
        h_BLD = torch.cat([e_BD[:, None], self.embeddings(tokens_BS, position_offset)], dim=1)
        r_BLD: Any = None
        for layer, m in zip(self.layers, self.modulations(e_BD), strict=True):
            h_BLD, r_BLD = layer(h_BLD, r_BLD, m and m.rows())
        shift_BD, scale1_BD = self.final_layer.modulation(e_BD)
        return self.final_layer(self.norm_f(r_BLD + h_BLD), shift_BD[:, None], scale1_BD[:, None])


@dataclass
class Cache:
    """State of a cached decoding: the mixers' states, and the modulations, which depend on the class alone."""

    mixers: list[Any]
    modulations: list[Modulation | None]
    final: tuple[Tensor, Tensor]
    head: Callable[[Tensor], Tensor]

    def states(self, length: int) -> list[Tensor]:
        """What it remembers of `length` tokens: as much as of one."""
        return [state for mixer in self.mixers for state in (mixer.conv_state, mixer.ssm_state)]


class AiM(nn.Module):
    """p(q_t | class, q_<t) over image tokens; see the module's docstring."""

    def __init__(self, config: AiMConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = Backbone(config)
        self.register_load_state_dict_pre_hook(_drop_tied_head)
        _init_weights(self)

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
        """Token (also the head), position and class table: what Table 3 leaves out of its counts."""
        tables = (self.backbone.embeddings.word_embeddings, self.backbone.embeddings.position_embeddings)
        known: list[Any] = [table for table in (*tables, self.backbone.cls_embed.embedding_table) if table is not None]
        return [table.weight for table in known]

    def forward(self, labels_B: Tensor, tokens_BS: Tensor, position_offset: int = 0) -> Tensor:
        """Logits (B, S + 1, V) of the tokens after the class and after each of the S given ones.

        To score all T tokens of an image give its first T - 1. The first token has position `position_offset`: 0 in
        training; the official sampler decodes with 1.
        """
        return self.head(self.backbone(labels_B, tokens_BS, position_offset))

    def head(self, x: Tensor) -> Tensor:
        return F.linear(x, self.backbone.embeddings.word_embeddings.weight)

    def start(self, labels_B: Tensor, max_length: int) -> tuple[Tensor, Cache]:
        """Logits (B, V) of the first token, and the cache; its size does not depend on `max_length`."""
        e_BD = self.backbone.cls_embed(labels_B)
        cache = self.cache(e_BD)
        return self._step(e_BD, cache), cache

    def step(self, tokens_B: Tensor, position: int, cache: Cache) -> Tensor:
        """Logits (B, V) of the token after `tokens_B`, which has row `position` of the table; `cache` moves on in place."""
        return self._step(self.backbone.embeddings(tokens_B, position), cache)

    def cache(self, e_BD: Tensor) -> Cache:
        """What decoding starts from, for the classes' embeddings."""
        layers: list[Any] = list(self.backbone.layers)
        mixers = [layer.mixer.empty_cache(len(e_BD), dtype=e_BD.dtype, device=e_BD.device) for layer in layers]
        head = few_row_linear(self.backbone.embeddings.word_embeddings.weight, None, len(e_BD))
        return Cache(mixers, self.backbone.modulations(e_BD), self.backbone.final_layer.modulation(e_BD), head)

    def _step(self, h_BD: Tensor, cache: Cache) -> Tensor:
        r_BD = None
        for layer, m, state in zip(self.backbone.layers, cache.modulations, cache.mixers, strict=True):
            h_BD, r_BD = layer(h_BD, r_BD, m, partial(layer.mixer.step, cache=state))
        assert r_BD is not None
        return cache.head(self.backbone.final_layer(self.backbone.norm_f(r_BD + h_BD), *cache.final))


def _drop_tied_head(model: nn.Module, state: dict[str, Tensor], prefix: str, *_: Any) -> None:
    head, table = state.get(prefix + HEAD), state.get(prefix + TOKEN_TABLE)
    if head is not None and table is not None and torch.equal(head, table):
        del state[prefix + HEAD]


def _init_weights(model: AiM) -> None:
    """The official initialisation. Mixers keep their own, except that out_proj shrinks with depth."""
    for module in model.modules():
        if isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)
    if model.config.adaln == "group":
        group: Any = model.backbone.adaln_group[1]
        nn.init.zeros_(group.bias)
    for layer in model.backbone.layers:
        weight: Any = layer.mixer.out_proj.weight
        nn.init.kaiming_uniform_(weight, a=math.sqrt(5))
        with torch.no_grad():
            weight /= math.sqrt(model.config.n_layer)
    for name, parameter in model.named_parameters():
        if "adaLN_modulation" in name:
            nn.init.zeros_(parameter)
