"""A causal language model with its tokenizer, as tasks use it, and what is stored of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from typing import Any

import torch
from torch import Tensor, nn

from retable.models.spikellm import palette
from retable.models.spikellm.layers import LINEARS, MATMULS, make_spiking, set_execution, set_quantising
from retable.models.spikellm.pipeline import neurons_of
from retable.models.spikellm.recipe import Recipe

NORMS = ("input_layernorm.weight", "post_attention_layernorm.weight")
PUBLISHED = "published"
FULL_BITS = 16


class LanguageModel(nn.Module):
    """`lm` is any causal LM of transformers, `tokenizer` its own.

    `state_dict` holds what is needed beside the origin: nothing of published weights (`published`), the quantised layers
    of a quantised model, all tensors else.
    """

    def __init__(self, lm: Any, tokenizer: Any, *, published: bool = False) -> None:
        super().__init__()
        self.lm, self.tokenizer, self.published = lm, tokenizer, published
        self.recipe: Recipe | None = None

    def forward(self, tokens_BN: Tensor) -> Tensor:
        """Logits (B, N, vocabulary)."""
        logits: Tensor = self.lm(tokens_BN, use_cache=False).logits
        return logits

    @property
    def quantised_layers(self) -> list[Any]:
        """The decoder layers that the recipe quantised."""
        return list(self.lm.model.layers)[: self.recipe.layers] if self.recipe else []

    def tokenizer_digest(self) -> str:
        """SHA-256 of the tokenizer's own serialisation."""
        return sha256(self.tokenizer.backend_tokenizer.to_str().encode()).hexdigest()

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:  # type: ignore[override]
        if self.recipe is not None:
            return self._quantised_state()
        if self.published:
            return {PUBLISHED: torch.ones(1)}
        shared = {"lm_head.weight"} if self.lm.config.tie_word_embeddings else set()
        return {name: tensor for name, tensor in self.lm.state_dict().items() if name not in shared}

    def _quantised_state(self) -> dict[str, Tensor]:
        state = {}
        for i, layer in enumerate(self.quantised_layers):
            for name in LINEARS:
                linear = layer.get_submodule(name)
                for part, tensor in palette.pack(linear.weight.detach()).items():
                    state[f"{i}.{name}.weight.{part}"] = tensor
                state[f"{i}.{name}.mask_low_mse"] = linear.mask_low_mse
                if linear.bias is not None:
                    state[f"{i}.{name}.bias"] = linear.bias.detach()
            state |= {f"{i}.{name}.mask_low_mse": layer.get_submodule(name).mask_low_mse for name in MATMULS}
            state |= {f"{i}.{name}": layer.get_parameter(name).detach() for name in NORMS}
        return state

    @torch.no_grad()
    def load_quantised(self, state: Mapping[str, Tensor], recipe: Recipe) -> None:
        """Make this (unquantised) model the quantised one that `state` came from, in place."""
        self.recipe = recipe
        for i, layer in enumerate(self.quantised_layers):
            make_spiking(layer, neurons_of(recipe))
            for name in LINEARS:
                linear, prefix = layer.get_submodule(name), f"{i}.{name}.weight."
                parts = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
                linear.weight.copy_(palette.unpack(parts, linear.in_features))
                if linear.bias is not None:
                    linear.bias.copy_(state[f"{i}.{name}.bias"])
            for name in (*LINEARS, *MATMULS):
                layer.get_submodule(name).mask_low_mse.copy_(state[f"{i}.{name}.mask_low_mse"])
            for name in NORMS:
                layer.get_parameter(name).copy_(state[f"{i}.{name}"])
            set_quantising(layer, True)

    @contextmanager
    def in_steps(self) -> Iterator[None]:
        """Inside, the neurons before linear layers run step by step, and their spikes can be counted."""
        set_execution(self.lm, "spikes")
        try:
            yield
        finally:
            set_execution(self.lm, "merged")

    def arithmetic_effort(self) -> float:
        """ACE of the quantised layers' linear products as a share of W16A16: MACs x bits of weights x bits of activations.

        A channel with T activation steps costs T times, a weight with T merged steps too; 1 where nothing is quantised.
        """
        linears = [layer.get_submodule(name) for layer in self.quantised_layers for name in LINEARS]
        full = sum(linear.in_features * linear.out_features * FULL_BITS**2 for linear in linears)
        return sum(map(self._effort, linears)) / full if full else 1.0

    def _effort(self, linear: Any) -> float:
        assert self.recipe is not None
        r = self.recipe
        salient = float((~linear.mask_low_mse).float().mean())
        activations = r.abits * ((1 - salient) + salient * r.steps)
        ordinary_bits = {"uniform": r.wbits, "ternary": TERNARY_BITS, "binary": 1.0}[r.weights]
        salient_bits = r.salient_bits if r.salient_bits is not None else ordinary_bits * r.weight_steps
        weights = ordinary_bits * (1 - r.weight_salient) + salient_bits * r.weight_salient
        return float(linear.in_features * linear.out_features * activations * weights)


TERNARY_BITS = 1.584962500721156
"""log2 3."""
