"""Sizes of AiM's second stage (arXiv 2408.12245, Table 1), with the field names of the published `config.json`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

AdaLN = Literal["group", "plain", "none"]


@dataclass(frozen=True, kw_only=True)
class AiMConfig:
    """Everything that fixes the shapes of stage 2.

    adaln: "group" shares one modulation between layers i mod G (adaLN-single is `num_groups=1`), "plain" gives every
    layer its own, "none" leaves the layers unmodulated (the final layer still sees the class).
    position_table: False adds no positions at all. Both ablations are Table 4's and are not in published configurations.
    ssm_cfg: "layer" is Mamba2 or Mamba1, the rest goes to the mixer. Raises ValueError for sizes that make no model.
    """

    d_model: int = 768
    n_layer: int = 24
    vocab_size: int = 16384
    num_classes: int = 1000
    num_tokens: int = 256
    ssm_cfg: Mapping[str, Any] = field(default_factory=lambda: {"layer": "Mamba2"})
    adaln: AdaLN = "plain"
    num_groups: int = 4
    position_table: bool = True
    norm_eps: float = 1e-5

    def __post_init__(self) -> None:
        sizes = ("d_model", "n_layer", "vocab_size", "num_classes", "num_tokens", "num_groups")
        for name in sizes:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.adaln not in ("group", "plain", "none"):
            raise ValueError(f"adaln is group, plain or none, not {self.adaln!r}")
        if self.ssm_cfg.get("layer", "Mamba1") not in ("Mamba1", "Mamba2"):
            raise ValueError(f"the mixer is Mamba2 or Mamba1, not {self.ssm_cfg['layer']!r}")

    @classmethod
    def from_official(cls, raw: Mapping[str, Any]) -> AiMConfig:
        """The sizes that a published `config.json` states; fields of the tokenizer and of sampling are passed over.

        Raises ValueError where it asks for what no published model has (an MLP, attention layers, LayerNorm, dropout).
        """
        never = {"d_intermediate": 0, "attn_layer_idx": [], "rms_norm": True, "tie_embeddings": True}
        never |= {"token_drop": 0, "mixer_drop": 0, "mlp_drop": 0}
        for name, value in never.items():
            if raw.get(name, value) not in (value, None):
                raise ValueError(f"{name} = {raw[name]!r} is not supported; the published models have {value!r}")
        same = ("d_model", "n_layer", "vocab_size", "num_classes", "num_tokens", "num_groups", "ssm_cfg")
        given = {name: raw[name] for name in same if raw.get(name) is not None}
        shared = raw.get("adaln_group", raw.get("adaln_single", raw.get("shared_adaln", False)))
        return cls(**given, adaln="group" if shared else "plain")

    def to_official(self) -> dict[str, Any]:
        """The fields of `config.json` that `from_official` reads. Raises ValueError for an ablation it cannot express."""
        if self.adaln == "none" or not self.position_table:
            raise ValueError("the published layout has no field for a model without adaLN or without positions")
        fields = ("d_model", "n_layer", "vocab_size", "num_classes", "num_tokens", "num_groups")
        official: dict[str, Any] = {name: getattr(self, name) for name in fields}
        return official | {"ssm_cfg": dict(self.ssm_cfg), "adaln_group": self.adaln == "group"}

    def replace(self, **changes: Any) -> AiMConfig:
        return dataclasses.replace(self, **changes)


SIZES: Mapping[str, AiMConfig] = {
    # Table 1 gives AiM-B 24 groups for its 24 layers: that is plain adaLN, one modulation a layer.
    "b": AiMConfig(d_model=768, n_layer=24, adaln="plain"),
    "l": AiMConfig(d_model=1024, n_layer=48, adaln="group", num_groups=4),
    "xl": AiMConfig(d_model=1536, n_layer=48, adaln="group", num_groups=4),
    "1b": AiMConfig(d_model=2048, n_layer=48, adaln="group", num_groups=4),
}
"""The published sizes, all at 256 x 256 pixels: 148M, 350M, 763M and 1.3B parameters."""
