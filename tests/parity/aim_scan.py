"""Checks of the scans, norms and mixers against the numbers of the official modules."""

from __future__ import annotations

from inspect import signature
from typing import Any

import torch
from torch import Tensor

from retable.models.ssm import norm
from retable.models.ssm.mamba1 import Mamba1
from retable.models.ssm.mamba2 import Cache, Mamba2
from retable.models.ssm.selective_scan import selective_scan
from retable.models.ssm.ssd import NO_LIMIT, ssd_scan, ssd_step
from retable.models.ssm.state_update import selective_state_update
from tests.parity.close import BFLOAT16, FORWARD, GRADIENT, assert_close
from tests.parity.conftest import Golden

SCANNED = ("x", "dt", "A", "B", "C")


def check_selective_scan(golden: Golden) -> None:
    for i, case in enumerate(golden.config["cases"]):
        _check_selective_scan_case(golden, f"case{i}/", case)


def _check_selective_scan_case(golden: Golden, prefix: str, case: dict[str, Any]) -> None:
    inputs = golden.tensors(f"{prefix}in/")
    dtype = getattr(torch, case["dtype"])
    cast = {"u", "delta", "z", "dout"} | {name for name in ("B", "C") if inputs[name].dim() > 2}
    inputs = {name: value.to(dtype) if name in cast else value for name, value in inputs.items()}
    dout = inputs.pop("dout")
    leaves = {name: value.requires_grad_() for name, value in inputs.items()}
    softplus = case["delta_softplus"]
    y, last_state = selective_scan(**leaves, delta_softplus=softplus, return_last_state=True)
    assert y.dtype == dtype
    assert not last_state.requires_grad
    exact = dtype == torch.float32
    want = golden.tensors(f"{prefix}out/")
    assert_close(y, want["y"].to(dtype), f"{prefix}y", **(FORWARD if exact else BFLOAT16))
    assert_close(last_state, want["last_state"], f"{prefix}last_state", **(FORWARD if exact else BFLOAT16))
    (y * dout).sum().backward()
    for name, expected in golden.tensors(f"{prefix}grad/").items():
        grad = leaves[name].grad
        assert grad is not None
        assert_close(grad, expected.to(grad.dtype), f"{prefix}grad/{name}", **(GRADIENT if exact else BFLOAT16))
    if exact and not case["complex"]:
        _check_selective_steps(inputs, softplus, want, prefix)


@torch.no_grad()
def _check_selective_steps(inputs: dict[str, Tensor], softplus: bool, want: dict[str, Tensor], what: str) -> None:
    u, A = inputs["u"], inputs["A"]
    state = torch.zeros(*u.shape[:2], A.shape[1])
    steps = []
    for t in range(u.shape[2]):
        B, C = (_at(inputs[name], t, u) for name in ("B", "C"))
        parts = {name: inputs[name] for name in ("D",) if name in inputs}
        z = inputs["z"][..., t] if "z" in inputs else None
        x, dt, bias = u[..., t], inputs["delta"][..., t], inputs.get("delta_bias")
        if B.dim() == 3:  # groups: heads of the step are the groups of the scan
            heads = (B.shape[1], -1)
            per_channel = {k: v.unflatten(0, heads) for k, v in parts.items()}
            y = selective_state_update(
                state.unflatten(1, heads),
                x.unflatten(1, heads),
                dt.unflatten(1, heads),
                A.unflatten(0, heads),
                B,
                C,
                z=None if z is None else z.unflatten(1, heads),
                dt_bias=None if bias is None else bias.unflatten(0, heads),
                dt_softplus=softplus,
                **per_channel,
            ).flatten(1)
        elif inputs["B"].dim() == 2:
            return  # constant B and C have no single-step form
        else:
            y = selective_state_update(state, x, dt, A, B, C, z=z, dt_bias=bias, dt_softplus=softplus, **parts)
        steps.append(y)
    assert_close(torch.stack(steps, dim=2), want["y"], f"{what}y by steps", **FORWARD)
    assert_close(state, want["last_state"], f"{what}last_state by steps", **FORWARD)


def _at(value: Tensor, t: int, u: Tensor) -> Tensor:
    return value if value.dim() == 2 else value[..., t]


def check_ssd_scan(golden: Golden) -> None:
    config = golden.config
    inputs = golden.tensors("in/")
    dout = inputs.pop("dout")
    leaves = {name: value.requires_grad_() for name, value in inputs.items()}
    options = {
        "dt_softplus": config.get("dt_softplus", False),
        "dt_limit": tuple(config.get("dt_limit") or NO_LIMIT),
    }
    scan = [leaves[name] for name in SCANNED]
    rest = {name: value for name, value in leaves.items() if name not in SCANNED}
    want, length = golden.tensors("out/"), inputs["x"].shape[1]
    for chunk_size in sorted({config.get("chunk_size") or 256, 16, max(1, length // 2)}):
        what = f"chunk_size {chunk_size}: "
        y, state = ssd_scan(*scan, **rest, **options, chunk_size=chunk_size, return_final_states=True)
        assert_close(y, want["y"], f"{what}y", **FORWARD)
        assert_close(state, want["final_state"], f"{what}final_state", **FORWARD)
        grads = torch.autograd.grad((y * dout).sum(), list(leaves.values()))
        for name, grad in zip(leaves, grads, strict=True):
            assert_close(grad, golden.tensors("grad/")[name], f"{what}grad/{name}", **GRADIENT)
    _check_ssd_steps(inputs, options, want)


@torch.no_grad()
def _check_ssd_steps(inputs: dict[str, Tensor], options: dict[str, Any], want: dict[str, Tensor]) -> None:
    in_time = {name: inputs[name].unbind(1) for name in ("x", "dt", "B", "C", "z") if name in inputs}
    fixed = {name: inputs[name] for name in ("D", "dt_bias") if name in inputs}
    state = inputs["initial_states"].clone() if "initial_states" in inputs else torch.zeros_like(want["final_state"])
    steps = []
    for t in range(inputs["x"].shape[1]):
        x, dt, B, C = (in_time[name][t] for name in ("x", "dt", "B", "C"))
        z = in_time["z"][t] if "z" in in_time else None
        steps.append(ssd_step(state, x, dt, inputs["A"], B, C, z=z, **fixed, **options))
    assert_close(torch.stack(steps, dim=1), want["y"], "y by steps", **FORWARD)
    assert_close(state, want["final_state"], "final_state by steps", **FORWARD)


@torch.no_grad()
def check_norms(golden: Golden) -> None:
    inputs, want = golden.tensors("in/"), golden.tensors("out/")
    x, z, residual, weight = (inputs[name] for name in ("x", "z", "residual", "weight"))
    eps, d = golden.config["eps"], weight.shape[0]

    def gated(**options: Any) -> norm.RMSNormGated:
        module = norm.RMSNormGated(d, eps=eps, **options)
        module.weight.copy_(weight)
        return module

    plain = norm.RMSNorm(d, eps=eps)
    plain.weight.copy_(weight)
    y, total = plain(x, residual, prenorm=True)
    bfloat16 = torch.bfloat16
    rounded = gated().to(bfloat16)(x.to(bfloat16), z.to(bfloat16))
    assert rounded.dtype == bfloat16
    got = {
        "rms": plain(x),
        "prenorm_y": y,
        "prenorm_residual": total,
        "gated_after": gated()(x, z),
        "gated_before": gated(norm_before_gate=True)(x, z),
        "gated_after_grouped": gated(group_size=golden.config["group_size"])(x, z),
        "rms_bf16": rounded.float(),
    }
    assert set(got) == set(want), "the fixture holds other results than this check knows"
    for name, value in got.items():
        assert_close(value, want[name], name, **(BFLOAT16 if name == "rms_bf16" else FORWARD))


def check_mixer(golden: Golden) -> None:
    config = golden.config
    kind: Any = {"Mamba": Mamba1, "Mamba1": Mamba1, "Mamba2": Mamba2}[config["layer"]]
    known = signature(kind).parameters  # the rest of the config describes the fixture
    mixer = kind(**{name: value for name, value in config.items() if name in known})
    mixer.load_state_dict(golden.tensors("sd/"))
    x = golden.tensors("in/")["x"].requires_grad_()
    want, grads = golden.tensors("out/"), golden.tensors("grad/")
    y = mixer(x)
    assert_close(y, want["y"], "y", **FORWARD)
    y.sum().backward()
    got = {"input": x} | dict(mixer.named_parameters())
    assert set(got) == set(grads)
    for name, leaf in got.items():
        assert_close(leaf.grad, grads[name], f"grad/{name}", **GRADIENT)
    _check_cached(mixer, x.detach(), config["prefill"], want)


@torch.inference_mode()
def _check_cached(mixer: Any, x: Tensor, prefill: int, want: dict[str, Tensor]) -> None:
    cache = mixer.empty_cache(len(x))
    outputs = [mixer.prefill(x[:, :prefill], cache)]
    _check_states(cache, want, "after_prefill")
    outputs += [mixer.step(token, cache).unsqueeze(1) for token in x[:, prefill:].unbind(1)]
    _check_states(cache, want, "final")
    assert_close(torch.cat(outputs, dim=1), want["y_cached"], "y_cached", **FORWARD)


def _check_states(cache: Cache, want: dict[str, Tensor], when: str) -> None:
    assert_close(cache.conv_state, want[f"conv_state_{when}"], f"conv_state_{when}", **FORWARD)
    assert_close(cache.ssm_state, want[f"ssm_state_{when}"], f"ssm_state_{when}", **FORWARD)


ADAPTERS = {
    "selective_scan": check_selective_scan,
    "ssd_scan": check_ssd_scan,
    "norms": check_norms,
    "mamba1_mixer": check_mixer,
    "mamba2_mixer": check_mixer,
}
