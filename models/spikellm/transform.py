"""The learned equivalent transformation (OmniQuant, arXiv 2308.13137) of one LLaMA decoder layer, and learned clipping.

A pair's scale s divides what comes before and multiplies the columns after it: norm and q, k, v (`qkv`); v and o (`out`);
norm and up, gate (`fc1`); q and k (`qkt`, which under rotary positions is not exactly neutral, as in the released code).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from retable.models.common.errors import CheckpointError
from retable.models.spikellm.layers import LINEARS
from retable.models.spikellm.quantizer import Quantizer
from retable.models.spikellm.recipe import Pair

Weights = dict[str, Tensor]
SMALLEST = 1e-2
"""A scale is kept at least this far from zero."""
CLIP = 4.0
"""Initial logit of the learned clipping: sigmoid(4) = 0.982."""

NORMS = {"qkv": "input_layernorm.weight", "fc1": "post_attention_layernorm.weight"}
COLUMNS = {"qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"), "fc1": ("mlp.up_proj", "mlp.gate_proj")}
FIRST = {"qkv": "self_attn.q_proj", "out": "self_attn.o_proj", "fc1": "mlp.up_proj"}
"""The linear layer whose inputs and weight give a pair's first scale."""
PARAMETER = {"qkv": "qkv_smooth_scale", "out": "out_smooth_scale", "fc1": "fc1_smooth_scale", "qkt": "qkt_smooth_scale"}
"""The names that the released `omni_parameters.pth` has."""


def initial_scales(
    weights: Mapping[str, Tensor], x_max: Mapping[str, Tensor], pairs: Sequence[Pair], alpha: float
) -> nn.ParameterDict:
    """s = max|x|^alpha / max_rows |W|^(1 - alpha), at least 1e-5; ones for `qkt`. `x_max` is max|x| a channel, by linear.

    Raises ValueError for a pair whose two sides differ in width (grouped key-value heads have no `out` and no `qkt`).
    """
    q, v, o = (weights[f"self_attn.{name}_proj.weight"] for name in "qvo")
    scales = nn.ParameterDict()
    for pair in pairs:
        if pair in ("out", "qkt") and v.shape[0] != o.shape[1]:
            raise ValueError(f"`let` cannot hold {pair!r} for grouped key-value heads: leave it out")
        if pair == "qkt":
            scale = torch.ones(q.shape[0], device=q.device, dtype=q.dtype)
        else:
            w_OC = weights[f"{FIRST[pair]}.weight"]
            x, w = x_max[FIRST[pair]].to(w_OC), w_OC.abs().amax(0)
            scale = (x.pow(alpha) / w.clamp_min(1e-5).pow(1 - alpha)).clamp_min(1e-5)
        scales[PARAMETER[pair]] = nn.Parameter(scale)
    return scales


def initial_clipping(weights: Mapping[str, Tensor], group_size: int | None) -> nn.ParameterDict:
    """Upper and lower logits for each row, or group, of every linear weight."""
    clips = nn.ParameterDict()
    for name in LINEARS:
        weight = weights[f"{name}.weight"]
        rows = Quantizer(bits=4, group_size=group_size).rows(weight).shape[0]
        for side in ("upbound", "lowbound"):
            clips[_key(name, side)] = nn.Parameter(torch.full((rows, 1), CLIP, device=weight.device))
    return clips


def _key(linear: str, side: str) -> str:
    return f"{linear}.weight_quantizer.{side}_factor".replace(".", "/")


def clipping_of(clips: nn.ParameterDict, linear: str) -> tuple[Tensor, Tensor] | tuple[None, None]:
    """(upper, lower) of a linear layer, or two None without learned clipping."""
    if not len(clips):
        return None, None
    return clips[_key(linear, "upbound")], clips[_key(linear, "lowbound")]


@torch.no_grad()
def keep_from_zero(scales: nn.ParameterDict) -> None:
    """Values below 0.01 in size become 0.01 with their sign, in place, before every step."""
    for scale in scales.values():
        small = scale.abs() < SMALLEST
        scale[small] = scale[small].sign() * SMALLEST


def transformed(weights: Mapping[str, Tensor], scales: nn.ParameterDict) -> Weights:
    """The layer's tensors after the transformation, by name; differentiable in the scales."""
    out = dict(weights)
    for pair, norm in NORMS.items():
        if PARAMETER[pair] in scales:
            s = scales[PARAMETER[pair]]
            out[norm] = out[norm] / s
            for name in COLUMNS[pair]:
                out[f"{name}.weight"] = out[f"{name}.weight"] * s
    if PARAMETER["out"] in scales:
        s = scales[PARAMETER["out"]]
        _scale_rows(out, "self_attn.v_proj", 1 / s)
        out["self_attn.o_proj.weight"] = out["self_attn.o_proj.weight"] * s
    if PARAMETER["qkt"] in scales:
        s = scales[PARAMETER["qkt"]]
        _scale_rows(out, "self_attn.q_proj", 1 / s)
        _scale_rows(out, "self_attn.k_proj", s)
    return out


def _scale_rows(weights: Weights, name: str, s: Tensor) -> None:
    weights[f"{name}.weight"] = weights[f"{name}.weight"] * s[:, None]
    if f"{name}.bias" in weights:
        weights[f"{name}.bias"] = weights[f"{name}.bias"] * s


@torch.no_grad()
def take_published(published: Mapping[str, Tensor], scales: nn.ParameterDict, clips: nn.ParameterDict) -> None:
    """Fill scales and clippings from one layer of the released parameter file, whose shifts must be LLaMA's: zero.

    Raises CheckpointError that names the key that is missing, of another shape, not finite, or not used here.
    """
    wanted = {**scales, **{name.replace("/", "."): value for name, value in clips.items()}}
    for name in sorted(set(wanted) | set(published)):
        value = published.get(name)
        if value is None:
            raise CheckpointError(f"the published parameters lack {name}")
        if name.endswith("_shift") and not value.any():
            continue
        if name not in wanted:
            raise CheckpointError(f"the published parameters hold {name}, which this recipe does not use")
        if value.shape != wanted[name].shape or not bool(value.isfinite().all()):
            raise CheckpointError(f"the published {name} is not {tuple(wanted[name].shape)} finite values")
        wanted[name].copy_(value)


def omni_names(scales: nn.ParameterDict, clips: nn.ParameterDict) -> Weights:
    """Both under the names of the released parameter file; shifts, which LLaMA has not, are zeros there."""
    return {**{k: v.detach() for k, v in scales.items()}, **{k.replace("/", "."): v.detach() for k, v in clips.items()}}
