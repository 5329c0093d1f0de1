"""Spiking linear layers and spiking attention in place of a LLaMA decoder layer's own.

Shapes: x_BNC tokens, q_BHND heads; masks are True on ordinary channels. `quantising` False runs at full precision; an
`observer` then sees what enters (calibration).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from retable.models.spikellm import gif
from retable.models.spikellm.quantizer import IDENTITY_BITS, Quantizer, check_bits

Observer = Callable[[nn.Module, Tensor, Tensor], None]
KeyRange = Literal["sequence", "token"]
Execution = Literal["merged", "spikes"]

LINEARS = tuple(f"self_attn.{name}_proj" for name in "qkvo") + tuple(
    f"mlp.{name}_proj" for name in ("gate", "up", "down")
)
MATMULS = ("self_attn.qkt_matmul", "self_attn.pv_matmul")


@dataclass(frozen=True, kw_only=True)
class Neurons:
    """The neurons before every product: `bits` for ordinary channels, 2^addbit such steps for salient ones.

    `key_range` is the axis that a key channel's range is taken over: `sequence` is the released code's (and makes a
    token depend on those after it), `token` is causal. `execution` `merged` computes the sum of the steps at once;
    `spikes` runs the steps, whose sum is at most T (L - 1).
    """

    bits: int
    addbit: int = 1
    key_range: KeyRange = "sequence"
    execution: Execution = "merged"

    def __post_init__(self) -> None:
        check_bits(self.bits)
        if self.bits < IDENTITY_BITS:
            check_bits(self.bits + self.addbit)

    @property
    def quantising(self) -> bool:
        return self.bits < IDENTITY_BITS

    def merged(self, x: Tensor, ordinary: Tensor, addbit: int | None = None) -> Tensor:
        """Q_n(x) on ordinary channels and Q_{n + addbit}(x) on salient ones, both with the range of all channels."""
        low = Quantizer(bits=self.bits)(x)
        if bool(ordinary.all()):
            return low
        high = Quantizer(bits=self.bits + (self.addbit if addbit is None else addbit))(x)
        return low * ordinary + high * ~ordinary


class SpikingLinear(nn.Module):
    """y = (Q_n(x) M + Q_{n+addbit}(x) (1 - M)) W^T + b (released code, its default mode)."""

    mask_low_mse: Tensor

    def __init__(self, linear: nn.Linear, neurons: Neurons) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight, self.bias = linear.weight, linear.bias
        mask = torch.ones(1, 1, self.in_features, dtype=torch.bool, device=linear.weight.device)
        self.register_buffer("mask_low_mse", mask)
        self.neurons, self.quantising = neurons, False
        self.observer: Observer | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.observer is not None:
            self.observer(self, x, self.weight)
        if not (self.quantising and self.neurons.quantising):
            return F.linear(x, self.weight, self.bias)
        if self.neurons.execution == "spikes":
            y = self._in_steps(x)
            return y if self.bias is None else y + self.bias
        return F.linear(self.neurons.merged(x, self.mask_low_mse), self.weight, self.bias)

    def _in_steps(self, x: Tensor) -> Tensor:
        """The spikes of each step through the weights, and the zero point times the weights' sum, for both kinds of channel.

        The released code subtracts the zero point over all columns for the salient ones alone; each kind has its own here.
        """
        total: Any = 0.0
        ordinary = self.mask_low_mse.flatten()
        for mask, addbit in ((ordinary, 0), (~ordinary, self.neurons.addbit)):
            if not bool(mask.any()):
                continue
            quantizer = Quantizer(bits=self.neurons.bits + addbit)
            rows = quantizer.rows(x)
            span = quantizer.range(rows)
            weight, q = self.weight[:, mask].to(rows.dtype), span.integers(rows)[..., mask]
            assert span.zero is not None
            fired = gif.spikes(q, self.neurons.bits, gif.steps_of(addbit))
            y = F.linear(fired, weight).sum(0)
            total = total + (y - span.zero * weight.sum(1)) * span.scale
        return total.to(x.dtype)


class SpikingMatmul(nn.Module):
    """x1 x2 of attention, where x2 is K^T (B, H, D, N) or V (B, H, N, D); its salient channels have one more bit.

    `channels` is V's and K's channel axis. `addbit` is 1 whatever the neurons' is (released code).
    """

    mask_low_mse: Tensor
    ADDBIT = 1

    def __init__(self, heads: int, dim: int, kind: Literal["qk", "pv"], neurons: Neurons, device: Any = None) -> None:
        super().__init__()
        shape = (1, heads, dim, 1) if kind == "qk" else (1, heads, 1, dim)
        self.register_buffer("mask_low_mse", torch.ones(shape, dtype=torch.bool, device=device))
        self.kind, self.neurons, self.quantising = kind, neurons, False
        self.observer: Observer | None = None

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        """Q is quantised a token; the softmax's output is not."""
        if self.observer is not None:
            self.observer(self, x1, x2)
        if self.quantising and self.neurons.quantising:
            if self.kind == "qk":
                x1 = Quantizer(bits=self.neurons.bits)(x1)
                if self.neurons.key_range == "token":
                    return x1 @ self.neurons.merged(x2.mT, self.mask_low_mse.mT, self.ADDBIT).mT
            x2 = self.neurons.merged(x2, self.mask_low_mse, self.ADDBIT)
        return x1 @ x2


class SpikingAttention(nn.Module):
    """A LLaMA attention module's projections with spiking products; the softmax is float32.

    Takes what `LlamaAttention.forward` takes. Without a mask it is causal.
    """

    o_proj: SpikingLinear

    def __init__(self, attention: Any, neurons: Neurons) -> None:
        super().__init__()
        config = attention.config
        self.head_dim, self.groups = attention.head_dim, config.num_attention_heads // config.num_key_value_heads
        self.scaling, self.layer_idx = attention.scaling, attention.layer_idx
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            self.add_module(name, SpikingLinear(getattr(attention, name), neurons))
        device = attention.q_proj.weight.device
        heads = config.num_attention_heads
        self.qkt_matmul = SpikingMatmul(heads, self.head_dim, "qk", neurons, device)
        self.pv_matmul = SpikingMatmul(heads, self.head_dim, "pv", neurons, device)

    def forward(
        self,
        hidden_states: Tensor,
        position_embeddings: tuple[Tensor, Tensor],
        attention_mask: Tensor | None = None,
        past_key_values: Any = None,
        **_: Any,
    ) -> tuple[Tensor, Tensor]:
        B, N, _C = hidden_states.shape
        q, k, v = (
            getattr(self, name)(hidden_states).view(B, N, -1, self.head_dim).transpose(1, 2)
            for name in ("q_proj", "k_proj", "v_proj")
        )
        q, k = rotated(q, *position_embeddings), rotated(k, *position_embeddings)
        if past_key_values is not None:
            k, v = past_key_values.update(k, v, self.layer_idx)
        k, v = k.repeat_interleave(self.groups, 1), v.repeat_interleave(self.groups, 1)
        scores = self.qkt_matmul(q, k.mT) * self.scaling
        p = (scores + additive(attention_mask, scores)).softmax(-1, dtype=torch.float32).to(q.dtype)
        y = self.pv_matmul(p, v).transpose(1, 2).reshape(B, N, -1)
        return self.o_proj(y), p


def rotated(x_BHND: Tensor, cos_BND: Tensor, sin_BND: Tensor) -> Tensor:
    """Rotary positions; the pairs are (i, i + D/2)."""
    a, b = x_BHND.chunk(2, -1)
    return x_BHND * cos_BND[:, None] + torch.cat([-b, a], -1) * sin_BND[:, None]


def additive(mask: Tensor | None, scores_BHQK: Tensor) -> Tensor:
    """What is added to the scores: 0 where a token may look, the dtype's lowest value elsewhere."""
    lowest = torch.finfo(scores_BHQK.dtype).min
    if mask is None:
        Q, K = scores_BHQK.shape[-2:]
        mask = torch.ones(Q, K, dtype=torch.bool, device=scores_BHQK.device).tril(K - Q)
    if mask.dtype == torch.bool:
        return torch.zeros_like(mask, dtype=scores_BHQK.dtype).masked_fill(~mask, lowest)
    return mask[..., : scores_BHQK.shape[-1]]


class NotLlamaError(ValueError):
    """A model whose decoder layers are not LLaMA's; the message names what is missing."""


def check_llama(model: Any) -> None:
    """Raises NotLlamaError unless `model` has what the pipelines change: model.layers with LLaMA's projections and norms."""
    wanted = ("model.embed_tokens", "model.layers", "model.rotary_emb", "model.norm", "lm_head")
    missing = [name for name in wanted if not _has(model, name)]
    if not missing and len(model.model.layers):
        parts = (*LINEARS, "input_layernorm", "post_attention_layernorm")
        missing = [f"model.layers.0.{name}" for name in parts if not _has(model.model.layers[0], name)]
    if missing:
        raise NotLlamaError(
            f"{type(model).__name__} has no {missing[0]}: give a causal LM of LLaMA's shape (q/k/v/o_proj, gate/up/down_proj "
            "and two RMS norms a layer, as transformers' LlamaForCausalLM has)"
        )


def _has(module: Any, path: str) -> bool:
    for name in path.split("."):
        module = getattr(module, name, None)
        if module is None:
            return False
    return True


def make_spiking(layer: Any, neurons: Neurons) -> None:
    """Give a decoder layer spiking products in place, still at full precision."""
    if isinstance(layer.self_attn, SpikingAttention):
        raise ValueError("this decoder layer is spiking already: quantise a fresh copy of the model")
    layer.self_attn = SpikingAttention(layer.self_attn, neurons)
    for name in ("gate_proj", "up_proj", "down_proj"):
        setattr(layer.mlp, name, SpikingLinear(getattr(layer.mlp, name), neurons))


def set_quantising(layer: nn.Module, on: bool) -> None:
    for module in layer.modules():
        if isinstance(module, SpikingLinear | SpikingMatmul):
            module.quantising = on


def set_execution(model: nn.Module, execution: Execution) -> None:
    """Choose how every neuron of a quantised model runs."""
    from dataclasses import replace

    for module in model.modules():
        if isinstance(module, SpikingLinear | SpikingMatmul):
            module.neurons = replace(module.neurons, execution=execution)
