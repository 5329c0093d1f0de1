"""The two scans against their recurrences, written out in float64 with numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from retable.models.ssm.selective_scan import selective_scan
from retable.models.ssm.ssd import ssd_scan, ssd_step
from retable.models.ssm.state_update import selective_state_update

CLOSE = {"rtol": 1e-9, "atol": 1e-9}


def random(*shape: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def softplus(value: np.ndarray) -> np.ndarray:
    return np.logaddexp(0.0, value)


def silu(value: np.ndarray) -> np.ndarray:
    return value / (1 + np.exp(-value))


def ssd_case(b: int, length: int, h: int, p: int, g: int, n: int, seed: int = 0) -> dict[str, Tensor]:
    shapes = {
        "x": (b, length, h, p),
        "dt": (b, length, h),
        "A": (h,),
        "B": (b, length, g, n),
        "C": (b, length, g, n),
        "D": (h,),
        "z": (b, length, h, p),
        "dt_bias": (h,),
        "initial_states": (b, h, p, n),
    }
    case = {name: random(*shape, seed=seed + i) for i, (name, shape) in enumerate(shapes.items())}
    return case | {"A": -case["A"].exp()}


def split(case: dict[str, Tensor]) -> tuple[list[Tensor], dict[str, Tensor]]:
    case = dict(case)
    return [case.pop(name) for name in ("x", "dt", "A", "B", "C")], case


def ssd_recurrence(case: dict[str, Tensor], low: float, high: float) -> tuple[np.ndarray, np.ndarray]:
    """y and the final state, head by head and token by token."""
    v = {name: value.numpy() for name, value in case.items()}
    dt = np.clip(softplus(v["dt"] + v["dt_bias"]), low, high)
    b, length, h, _ = v["x"].shape
    share = h // v["B"].shape[2]
    y, state = np.zeros_like(v["x"]), v["initial_states"].copy()
    for i, t, k in np.ndindex(b, length, h):
        outer = np.outer(v["x"][i, t, k], v["B"][i, t, k // share])
        state[i, k] = np.exp(dt[i, t, k] * v["A"][k]) * state[i, k] + dt[i, t, k] * outer
        y[i, t, k] = state[i, k] @ v["C"][i, t, k // share] + v["D"][k] * v["x"][i, t, k]
    return y * silu(v["z"]), state


@settings(max_examples=40, deadline=None)
@given(
    b=st.integers(0, 3),
    length=st.integers(0, 13),
    groups=st.integers(1, 3),
    share=st.integers(1, 2),
    p=st.integers(1, 4),
    n=st.integers(1, 4),
    chunk_size=st.integers(1, 16),
    limit=st.sampled_from([(0.0, float("inf")), (0.3, 0.9), (0.0, 0.5)]),
    seed=st.integers(0, 1000),
)
def test_ssd_scan_and_step_are_the_recurrence(
    b: int,
    length: int,
    groups: int,
    share: int,
    p: int,
    n: int,
    chunk_size: int,
    limit: tuple[float, float],
    seed: int,
) -> None:
    case = ssd_case(b, length, groups * share, p, groups, n, seed)
    want, want_state = (torch.from_numpy(value) for value in ssd_recurrence(case, *limit))
    scanned, options = split(case)
    common: dict[str, Any] = {"dt_softplus": True, "dt_limit": limit}
    y, state = ssd_scan(*scanned, **options, **common, chunk_size=chunk_size, return_final_states=True)
    torch.testing.assert_close(y, want, **CLOSE)
    torch.testing.assert_close(state, want_state, **CLOSE)
    state, fixed = case["initial_states"].clone(), {name: case[name] for name in ("D", "dt_bias")}
    for t in range(length):
        x, dt, B, C, z = (case[name][:, t] for name in ("x", "dt", "B", "C", "z"))
        y_t = ssd_step(state, x, dt, case["A"], B, C, z=z, **fixed, **common)
        torch.testing.assert_close(y_t, want[:, t], **CLOSE)
    torch.testing.assert_close(state, want_state, **CLOSE)


def test_ssd_head_dimension_of_d_and_negative_dt() -> None:
    case = ssd_case(b=2, length=5, h=2, p=3, g=1, n=2)
    scanned, _ = split(case)
    D = random(2, 3, seed=9)
    torch.testing.assert_close(ssd_scan(*scanned, D=D), ssd_scan(*scanned) + scanned[0] * D)
    clamped = [scanned[0], scanned[1].clamp(min=0), *scanned[2:]]
    torch.testing.assert_close(ssd_scan(*scanned), ssd_scan(*clamped))


@pytest.mark.parametrize("chunk_size", [3, 256])
def test_ssd_gradients(chunk_size: int) -> None:
    case = {name: value.requires_grad_() for name, value in ssd_case(b=2, length=7, h=2, p=2, g=1, n=3).items()}
    names = list(case)

    def scan(*values: Tensor, **options: Any) -> Any:
        scanned, rest = split(dict(zip(names, values, strict=True)))
        return ssd_scan(*scanned, **rest, dt_softplus=True, chunk_size=chunk_size, **options)

    assert torch.autograd.gradcheck(scan, list(case.values()))
    assert torch.autograd.gradcheck(lambda *values: scan(*values, return_final_states=True), list(case.values()))
    assert torch.autograd.gradcheck(
        lambda *values: ssd_scan(*values, dt_softplus=True, chunk_size=chunk_size), split(case)[0]
    )


def test_ssd_keeps_the_past_of_long_strong_decay() -> None:
    """Decays far below the smallest float32 neither overflow nor reach other tokens."""
    scanned, _ = split(ssd_case(b=1, length=300, h=2, p=2, g=1, n=2))
    scanned = [value.float() for value in scanned]
    scanned[1], scanned[2] = torch.full_like(scanned[1], 50.0), torch.full_like(scanned[2], -16.0)
    x, dt, _, B, C = leaves = [value.requires_grad_() for value in scanned]
    y = ssd_scan(*leaves)
    alone = dt.unsqueeze(-1) * x * (C * B).sum(-1, keepdim=True)
    torch.testing.assert_close(y, alone, rtol=1e-5, atol=1e-5)
    y.sum().backward()
    assert all(bool(leaf.grad.isfinite().all()) for leaf in leaves if leaf.grad is not None)


def scan_case(kind: str, complex_a: bool, b: int = 2, d: int = 4, n: int = 3, length: int = 6) -> dict[str, Tensor]:
    A = -random(d, n, seed=1).exp()
    if complex_a:
        A = torch.complex(A, random(d, n, seed=2))
    steps = 2 * length if complex_a else length
    shape = {"constant": (d, n), "variable": (b, n, steps), "grouped": (b, 2, n, steps)}[kind]
    B, C = random(*shape, seed=3), random(*shape, seed=4)
    if complex_a and kind == "constant":
        B, C = torch.complex(B, random(*shape, seed=5)), torch.complex(C, random(*shape, seed=6))
    u, delta, z = (random(b, d, length, seed=seed) for seed in (7, 8, 9))
    bias = random(d, seed=11)
    return {"u": u, "delta": delta, "A": A, "B": B, "C": C, "D": random(d, seed=10), "z": z, "delta_bias": bias}


def scan_recurrence(case: dict[str, Tensor]) -> tuple[np.ndarray, np.ndarray]:
    v = {name: value.numpy() for name, value in case.items()}
    A, (b, d, length) = v["A"], v["u"].shape
    delta = softplus(v["delta"] + v["delta_bias"][:, None])

    def at(name: str, i: int, k: int, t: int) -> np.ndarray:
        value = v[name]
        if value.ndim == 2:
            return value[k]
        value = value[i, k // (d // value.shape[1])] if value.ndim == 4 else value[i]
        return value[:, 2 * t] + 1j * value[:, 2 * t + 1] if np.iscomplexobj(A) else value[:, t]

    y, state = np.zeros_like(v["u"]), np.zeros((b, *A.shape), A.dtype)
    for i, k, t in np.ndindex(b, d, length):
        state[i, k] = np.exp(delta[i, k, t] * A[k]) * state[i, k] + delta[i, k, t] * v["u"][i, k, t] * at("B", i, k, t)
        total = (at("C", i, k, t) * state[i, k]).sum()
        y[i, k, t] = 2 * total.real if np.iscomplexobj(A) else total
    return (y + v["D"][:, None] * v["u"]) * silu(v["z"]), state


@pytest.mark.parametrize("complex_a", [False, True])
@pytest.mark.parametrize("kind", ["constant", "variable", "grouped"])
@pytest.mark.parametrize("block", [1, 30, 1 << 16])
def test_selective_scan_is_the_recurrence(
    kind: str, complex_a: bool, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("retable.models.ssm.scan_reference.BLOCK", block)
    case = scan_case(kind, complex_a)
    want, want_state = (torch.from_numpy(value) for value in scan_recurrence(case))
    for recorded in (False, True):
        case["u"].requires_grad_(recorded)
        y, state = selective_scan(**case, delta_softplus=True, return_last_state=True)
        torch.testing.assert_close(y.detach(), want, **CLOSE)
        torch.testing.assert_close(state, want_state, **CLOSE)
        assert not state.requires_grad


@pytest.mark.parametrize("complex_a", [False, True])
@pytest.mark.parametrize(
    ("kind_b", "kind_c"), [("constant", "grouped"), ("variable", "variable"), ("grouped", "variable")]
)
def test_selective_scan_gradients(kind_b: str, kind_c: str, complex_a: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("retable.models.ssm.scan_reference.BLOCK", 50)  # several blocks of two time steps
    case = scan_case(kind_b, complex_a, length=5) | {"C": scan_case(kind_c, complex_a, length=5)["C"]}
    leaves = [value.requires_grad_() for value in case.values()]
    assert torch.autograd.gradcheck(lambda *values: selective_scan(*values, delta_softplus=True), leaves)


@pytest.mark.parametrize("kind", ["variable", "grouped"])
def test_selective_state_update_is_one_step_of_the_scan(kind: str) -> None:
    case = scan_case(kind, complex_a=False)
    want, want_state = (torch.from_numpy(value) for value in scan_recurrence(case))
    heads = (2, 2) if kind == "grouped" else (4,)
    b, _, n = want_state.shape
    state = torch.zeros(b, *heads, n, dtype=torch.float64)
    A, D, bias = case["A"].view(*heads, n), case["D"].view(heads), case["delta_bias"].view(heads)
    for t in range(want.shape[2]):
        x, dt, z = (case[name][..., t].reshape(b, *heads) for name in ("u", "delta", "z"))
        y = selective_state_update(state, x, dt, A, case["B"][..., t], case["C"][..., t], D, z, bias, dt_softplus=True)
        torch.testing.assert_close(y, want[..., t].view(b, *heads), **CLOSE)
    torch.testing.assert_close(state.view_as(want_state), want_state, **CLOSE)


def test_dtypes_of_results() -> None:
    case = {name: value.float() for name, value in scan_case("variable", complex_a=False).items()}
    half = {name: case[name].bfloat16() for name in ("u", "delta", "B", "C", "z")}
    y, state = selective_scan(**case | half, delta_softplus=True, return_last_state=True)
    assert (y.dtype, state.dtype) == (torch.bfloat16, torch.float32)
    scanned, _ = split(ssd_case(b=1, length=4, h=2, p=2, g=1, n=2))
    y, state = ssd_scan(*(value.bfloat16() for value in scanned), return_final_states=True)
    assert (y.dtype, state.dtype) == (torch.bfloat16, torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        exact = [value.float() for value in scanned]
        torch.testing.assert_close(ssd_scan(*exact).double(), ssd_scan(*scanned), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["u", "delta", "A", "B", "C", "D", "z", "delta_bias"])
def test_nan_goes_through_selective_scan(name: str) -> None:
    case = scan_case("variable", complex_a=False)
    case[name].view(-1)[0] = float("nan")
    y, state = selective_scan(**case, delta_softplus=True, return_last_state=True)
    assert y.isnan().any()
    assert state.isnan().any() == (name not in ("C", "D", "z"))


@pytest.mark.parametrize("name", ["x", "dt", "A", "B", "C", "D", "z", "dt_bias", "initial_states"])
def test_nan_goes_through_ssd_scan(name: str) -> None:
    case = ssd_case(b=2, length=5, h=2, p=2, g=1, n=2)
    case[name].view(-1)[0] = float("nan")
    scanned, options = split(case)
    y, state = ssd_scan(*scanned, **options, chunk_size=2, return_final_states=True)
    assert y.isnan().any()
    assert not y[1].isnan().any() or name in ("A", "D", "dt_bias")
    assert state.isnan().any() == (name not in ("C", "D", "z"))


@pytest.mark.parametrize("name", ["dt", "A", "B", "C", "D", "z", "dt_bias", "initial_states"])
def test_ssd_scan_names_the_argument_of_the_wrong_shape(name: str) -> None:
    case = ssd_case(b=2, length=5, h=2, p=2, g=2, n=2)
    case[name] = torch.cat([case[name], case[name]])
    scanned, options = split(case)
    with pytest.raises(ValueError, match=rf"^{name} must"):
        ssd_scan(*scanned, **options)


@pytest.mark.parametrize("name", ["delta", "A", "B", "C", "D", "z", "delta_bias"])
def test_selective_scan_names_the_argument_of_the_wrong_shape(name: str) -> None:
    case = scan_case("variable", complex_a=False)
    case[name] = torch.cat([case[name], case[name]])
    with pytest.raises(ValueError, match=rf"^{name} must"):
        selective_scan(**case)


def test_groups_that_do_not_divide_and_kinds_that_do_not_match() -> None:
    scanned, _ = split(ssd_case(b=1, length=3, h=3, p=2, g=2, n=2))
    with pytest.raises(ValueError, match="B has 2 groups"):
        ssd_scan(*scanned)
    case = scan_case("grouped", complex_a=False, d=4)
    with pytest.raises(ValueError, match="C has 3 groups"):
        selective_scan(**case | {"C": torch.cat([case["C"], case["C"][:, :1]], dim=1)})
    constant = scan_case("constant", complex_a=True)
    with pytest.raises(ValueError, match="B must be complex"):
        selective_scan(**constant | {"B": constant["B"].real})


def test_backward_of_the_selective_scan_records_nothing_per_token() -> None:
    """A graph that grows with L is how scans become slow; here it has the same nodes at every length."""

    def nodes(length: int) -> int:
        case = scan_case("variable", complex_a=False, length=length)
        case["u"].requires_grad_()
        todo, seen = [selective_scan(**case, delta_softplus=True).grad_fn], set()
        while todo:
            node = todo.pop()
            if node is not None and node not in seen:
                seen.add(node)
                todo += [following for following, _ in node.next_functions]
        return len(seen)

    assert nodes(3) == nodes(40)


@pytest.mark.parametrize(("b", "length"), [(0, 4), (2, 1), (2, 0)])
def test_selective_scan_of_nothing_and_of_one_token(b: int, length: int) -> None:
    case = scan_case("variable", complex_a=False, b=b, length=length)
    case["u"].requires_grad_()
    y, state = selective_scan(**case, delta_softplus=True, return_last_state=True)
    want, want_state = (torch.from_numpy(value) for value in scan_recurrence({k: v.detach() for k, v in case.items()}))
    torch.testing.assert_close(y.detach(), want, **CLOSE)
    torch.testing.assert_close(state, want_state, **CLOSE)
    y.sum().backward()
    assert case["u"].grad is not None
    assert case["u"].grad.shape == case["u"].shape
