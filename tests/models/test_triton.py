"""The Triton backends against the references, in Triton's interpreter; with TRITON_INTERPRET=0 and a GPU, on the GPU.

That the same kernels are valid CUDA code is seen by compiling them for a GPU, which needs none.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor

pytest.importorskip("triton")

from retable.models.common import backends
from retable.models.spiking import reference
from retable.models.spiking import triton_backend as spiking
from retable.models.spiking.operators import elastic, integrate_and_fire
from retable.models.spiking.surrogates import NAMES, Surrogate
from retable.models.ssm import triton_backend as ssm
from retable.models.ssm.conv import causal_conv1d, causal_conv1d_step
from retable.models.ssm.selective_scan import selective_scan
from retable.models.ssm.ssd import ssd_step
from retable.models.ssm.state_update import selective_state_update

DEVICE = "cpu" if os.environ.get("TRITON_INTERPRET") == "1" or not torch.cuda.is_available() else "cuda"
pytestmark = pytest.mark.skipif(
    backends.missing("triton", DEVICE) is not None, reason="needs a GPU or TRITON_INTERPRET=1"
)
CLOSE = {torch.float64: {"rtol": 1e-11, "atol": 1e-11}, torch.float32: {"rtol": 1e-4, "atol": 1e-5}}
QUICK = (Phase.explicit, Phase.reuse, Phase.generate)  # shrinking takes minutes in the interpreter
FAST = settings(max_examples=25, deadline=None, phases=QUICK)


def random(*shape: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype).to(DEVICE)


def same(got: Any, want: Any) -> None:
    """Equal to rounding, pair by pair."""
    for one, other in zip(got, want, strict=True):
        torch.testing.assert_close(one, other, **CLOSE[other.dtype], equal_nan=True)


# Options of `integrate_and_fire`; integer spikes have a soft reset.
neurons = st.fixed_dictionaries(
    {
        "threshold": st.sampled_from([1.0, 0.7]),
        "v_reset": st.sampled_from([0.0, -0.3, None]),
        "decay_input": st.booleans(),
        "strict": st.booleans(),
        "levels": st.sampled_from([0, 0, 1, 4]),
        "detach_reset": st.booleans(),
        "surrogate": st.builds(Surrogate, st.sampled_from(NAMES), st.sampled_from([1.0, 1.7])),
        "potentials": st.sampled_from(["none", "last", "all"]),
    }
).map(lambda options: options | ({"v_reset": None} if options["levels"] else {}))


def neuron_run(backend: Any, x: Tensor, v: Tensor | None, k: Tensor, options: dict[str, Any]) -> list[Tensor]:
    """Spikes, potentials and, of a random weighing of both, the gradients of x, k and v."""
    inputs = [value.clone().requires_grad_() for value in (x, k, v) if value is not None]
    spikes, potentials = integrate_and_fire(
        inputs[0], k=inputs[1], v=inputs[2] if v is not None else None, backend=backend, **options
    )
    outputs = [spikes] + ([potentials] if potentials is not None else [])
    loss = sum((value * random(*value.shape, seed=i, dtype=x.dtype)).sum() for i, value in enumerate(outputs))
    loss.backward()  # type: ignore[union-attr]
    return outputs + [value.grad for value in inputs]


@FAST
@given(
    options=neurons,
    steps=st.integers(1, 5),
    count=st.sampled_from([0, 1, 7, 300]),
    start=st.booleans(),
    dtype=st.sampled_from([torch.float64, torch.float32]),
    seed=st.integers(0, 1000),
)
def test_neurons_are_the_reference(
    options: dict[str, Any], steps: int, count: int, start: bool, dtype: torch.dtype, seed: int
) -> None:
    x = 2 * random(steps, count, seed=seed, dtype=dtype)
    x[:, ::3] = (4 * x[:, ::3]).round() / 4  # ties at the threshold and between two integer spikes
    v = random(count, seed=seed + 1, dtype=dtype) if start else None
    k = torch.tensor(0.5 if seed % 2 else 0.3, dtype=dtype, device=DEVICE)
    got, want = (neuron_run(name, x, v, k, options) for name in ("triton", "reference"))
    assert torch.equal(got[0], want[0]), "the spikes differ"
    same(got[1:], want[1:])


def test_every_surrogate_is_its_derivative() -> None:
    h = torch.linspace(-2, 4, 301, dtype=torch.float64, device=DEVICE)[None]
    for name, alpha in product(NAMES, (0.5, 1.7, 4.0)):
        surrogate = Surrogate(name, alpha)
        x = h.clone().requires_grad_()
        spikes, _ = integrate_and_fire(x, k=0.0, decay_input=False, surrogate=surrogate, backend="triton")
        spikes.sum().backward()
        same([x.grad], [surrogate.derivative(h - 1)])


@FAST
@given(
    steps=st.integers(1, 5),
    count=st.sampled_from([0, 1, 7, 300]),
    binary=st.booleans(),
    dtype=st.sampled_from([torch.float64, torch.float32]),
    seed=st.integers(0, 1000),
)
def test_elastic_neurons_are_the_reference(steps: int, count: int, binary: bool, dtype: torch.dtype, seed: int) -> None:
    results = []
    for backend in ("triton", "reference"):
        x = random(steps, count, seed=seed, dtype=dtype)
        x[:, ::3] = x[:, ::3].round() / 2
        alpha = random(steps, seed=seed + 1, dtype=dtype).abs().round(decimals=1)  # 0 is raised to the least one
        x.requires_grad_(), alpha.requires_grad_()
        spikes, u_seq = elastic(x, alpha, binary=binary, return_u_seq=True, backend=backend)  # type: ignore[arg-type]
        (spikes * random(*spikes.shape, seed=7, dtype=dtype)).sum().backward()
        results.append([spikes, u_seq, x.grad, alpha.grad])
    assert torch.equal(results[0][0], results[1][0]), "the spikes differ"
    same(results[0], results[1])


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("levels", [0, 3])
def test_not_a_number_stays_and_infinity_fires(levels: int) -> None:
    x = torch.zeros(3, 4, dtype=torch.float32, device=DEVICE)
    x[1] = torch.tensor([torch.nan, torch.inf, -torch.inf, 1.0])
    neuron = reference.Neuron(1.0, None if levels else 0.0, False, False, levels, True, "atan", 2.0)
    k, none = torch.tensor(0.5, device=DEVICE), x[:0]
    got, want = (backend.forward(neuron, x, none, k, 3) for backend in (spiking, reference))
    torch.testing.assert_close(got, want, rtol=0, atol=0, equal_nan=True)
    assert got[0][1:, 0].isnan().all()
    for binary in (False, True):
        assert elastic(x, torch.ones(3, device=DEVICE), binary=binary, backend="triton")[1:, 0].isnan().all()


def test_integer_spikes_round_half_to_even_up_to_large_levels() -> None:
    x = torch.tensor([0.5, 1.5, 2.5, 4194302.5, 4194303.5, 8388609.0, 3e7], device=DEVICE)
    spikes, _ = integrate_and_fire(x[None], k=0.0, decay_input=False, v_reset=None, levels=1 << 24, backend="triton")
    assert spikes[0].tolist() == [0.0, 2.0, 2.0, 4194302.0, 4194304.0, 8388609.0, float(1 << 24)]


scans = st.fixed_dictionaries(
    {
        "batch": st.integers(0, 2),
        "length": st.sampled_from([0, 1, 15, 16, 17, 35]),
        "groups": st.integers(1, 2),
        "share": st.sampled_from([1, 3, 33]),
        "n": st.sampled_from([1, 3, 16]),
        "shared_C": st.booleans(),
        "seed": st.integers(0, 1000),
    }
)


def scan_case(batch: int, length: int, groups: int, share: int, n: int, shared_C: bool, seed: int) -> dict[str, Tensor]:
    d = groups * share
    shapes = {
        "u": (batch, d, length),
        "delta": (batch, d, length),
        "A": (d, n),
        "B": (batch, groups, n, length),
        "C": (batch, 1 if shared_C else groups, n, length),
        "D": (d,),
        "z": (batch, d, length),
        "delta_bias": (d,),
    }
    case = {name: random(*shape, seed=seed + i) for i, (name, shape) in enumerate(shapes.items())}
    return case | {"A": -case["A"].exp()}


def scan_run(backend: Any, case: dict[str, Tensor]) -> list[Tensor]:
    inputs = {name: value.clone().requires_grad_() for name, value in case.items()}
    out, last = selective_scan(**inputs, delta_softplus=True, return_last_state=True, backend=backend)
    (out * random(*out.shape, seed=5)).sum().backward()
    return [out, last, *(value.grad for value in inputs.values())]


@settings(FAST, max_examples=12)
@given(options=scans)
def test_selective_scan_and_its_gradients_are_the_reference(options: dict[str, Any]) -> None:
    case = scan_case(**options)
    same(scan_run("triton", case), scan_run("reference", case))


def test_scan_is_the_recurrence() -> None:
    u, A, B, C = (
        random(2, 5, 19, seed=0),
        -random(5, 3, seed=1).exp(),
        random(2, 1, 3, 19, seed=2),
        random(2, 1, 3, 19, seed=3),
    )
    delta = random(2, 5, 19, seed=4).exp()
    y, _, last = ssm.scan_forward(u, delta, A, B, C, False)
    x = u.new_zeros(2, 5, 3)
    for t in range(19):
        x = torch.exp(delta[:, :, t, None] * A) * x + (delta * u)[:, :, t, None] * B[:, :, :, t]
        same([y[:, :, t]], [(x * C[:, :, :, t]).sum(-1)])
    same([last], [x])


def test_scan_keeps_what_it_says_and_is_the_same_every_time() -> None:
    case = scan_case(batch=1, length=35, groups=2, share=33, n=3, shared_C=False, seed=0)
    inputs = [case[name].float() for name in ("u", "delta", "A", "B", "C")]
    inputs[1] = inputs[1].exp()
    _, states, _ = ssm.scan_forward(*inputs, True)
    assert states.shape == ssm.states_shape(1, 66, 35, 3) == (1, 3, 3, 66)
    runs = [ssm.scan_backward(*inputs, states, inputs[0]) for _ in range(2)]
    assert all(torch.equal(one, other) for one, other in zip(*runs, strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("n", [1, 5, 200])
def test_steps_are_the_reference(n: int, dtype: torch.dtype) -> None:
    """A head's rows are channels of the Mamba-1 step; 200 states leave five channels a program."""
    b, h, p, g = 2, 4, 7, 2
    B, C = random(b, g, n, seed=1, dtype=dtype), random(b, g, n, seed=2, dtype=dtype)
    x, dt = random(b, h, p, seed=3, dtype=dtype), random(b, h, p, seed=4, dtype=dtype)
    A = -random(h, p, n, seed=5, dtype=dtype).exp()
    results = []
    for backend in ("triton", "reference"):
        states = [random(b, h, p, n, seed=6, dtype=dtype) for _ in range(2)]
        one = selective_state_update(states[0], x, dt, A, B, C, dt_softplus=True, backend=backend)  # type: ignore[arg-type]
        two = ssd_step(states[1], x, dt[..., 0], A[:, 0, 0], B, C, dt_softplus=True, backend=backend)  # type: ignore[arg-type]
        results.append([one, two, *states])
    same(*results)


@FAST
@given(
    batch=st.integers(0, 2),
    length=st.sampled_from([0, 1, 3, 64, 70]),
    channels=st.sampled_from([1, 32, 35]),
    width=st.sampled_from([1, 2, 4]),
    biased=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_convolution_and_its_step_are_the_reference(
    batch: int, length: int, channels: int, width: int, biased: bool, seed: int
) -> None:
    given_ = [random(batch, length, channels, seed=seed), random(channels, width, seed=seed + 1)]
    given_ += [random(channels, seed=seed + 2)] if biased else []
    results = []
    for backend in ("triton", "reference"):
        inputs = [value.clone().requires_grad_() for value in given_]
        y = causal_conv1d(*inputs, backend=backend)  # type: ignore[arg-type]
        (y * random(*y.shape, seed=4)).sum().backward()
        results.append([y, *(value.grad for value in inputs)])
        for state in (random(width, batch, channels, seed=5).permute(1, 2, 0), random(batch, channels, width, seed=5)):
            step = causal_conv1d_step(random(batch, channels, seed=6), state, *given_[1:], backend=backend)  # type: ignore[arg-type]
            results[-1] += [step, state]
    same(*results)


def test_every_launch_compiles_for_cuda(tmp_path: Path) -> None:
    """Down to machine code, with what the backends promise about it."""
    environment = os.environ | {"TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-m", "tests.models.cuda_compile"]
    root = Path(__file__).parents[2]
    run = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    kernels = [json.loads(line) for line in run.stdout.splitlines()]
    assert {kernel["kernel"] for kernel in kernels} == {
        *(f"spiking.{name}" for name in ("forward", "backward", "elastic_forward", "elastic_backward")),
        *(f"ssm.{name}" for name in ("scan_forward", "scan_backward", "state_update", "ssd_step")),
        *(f"ssm.conv_{name}" for name in ("forward", "backward", "step")),
    }
    for kernel in kernels:
        name = kernel["kernel"]
        assert kernel["bytes"] > 0
        assert kernel["atomic"] == 0, f"{name} adds in no fixed order"
        if name.startswith("spiking."):
            assert kernel["float64 argument"] == {"forward": 2, "backward": 3}.get(name.removeprefix("spiking."), 1)
        if name.endswith("forward") and name.startswith("spiking."):
            assert kernel["fused"] == 0, f"{name} contracts, which flips spikes"
        if name.startswith("ssm.scan"):
            assert kernel["asynchronous"] > 0, f"{name} waits for every step's inputs"
    rounded = {kernel["kernel"] for kernel in kernels if kernel["rounded division"]}
    assert rounded == {f"spiking.{name}" for name in ("forward", "backward", "elastic_forward", "elastic_backward")}
