"""Every operator: the same numbers on every backend, sound registrations, one clear sentence for bad input."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch._subclasses import FakeTensorMode

from retable.models.common import backends
from retable.models.common.errors import BackendError
from retable.models.spiking.operators import elastic, integrate_and_fire
from retable.models.spiking.reference import Neuron
from retable.models.spiking.surrogates import NAMES, Surrogate
from retable.models.ssm.conv import causal_conv1d, causal_conv1d_step
from retable.models.ssm.selective_scan import selective_scan
from retable.models.ssm.ssd import ssd_scan, ssd_step
from retable.models.ssm.state_update import selective_state_update

FAST = [name for name in ("numba", "triton") if backends.missing(name, "cpu") is None]
SIZES = {"b": st.integers(0, 3), "length": st.integers(1, 40), "groups": st.integers(1, 3), "share": st.integers(1, 5)}


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def scan_arguments(
    b: int, d: int, length: int, n: int, groups: int, dtype: torch.dtype = torch.float64
) -> list[Tensor]:
    """u, delta, A, B, C, D, z, delta_bias."""
    shapes = [(b, d, length)] * 2 + [(d, n)] + [(b, groups, n, length)] * 2 + [(d,), (b, d, length), (d,)]
    values = [draw(*shape, seed=i, dtype=dtype) for i, shape in enumerate(shapes)]
    values[2] = -values[2].exp()
    return values


def results(function: Callable[..., Any], arguments: list[Tensor], backend: str) -> list[Tensor]:
    """The outputs and, weighted at random, the gradients of all arguments."""
    leaves = [value.detach().clone().requires_grad_() for value in arguments]
    with backends.using(backend):  # type: ignore[arg-type]
        out = function(*leaves)
    outputs = list(out) if isinstance(out, tuple) else [out]
    sum(
        (value * draw(*value.shape, seed=99).to(value.dtype)).sum() for value in outputs if value.requires_grad
    ).backward()
    return [value.detach() for value in outputs] + [leaf.grad for leaf in leaves if leaf.grad is not None]


def assert_same(got: list[Tensor], want: list[Tensor], tolerance: float) -> None:
    assert len(got) == len(want)
    for i, (a, b) in enumerate(zip(got, want, strict=True)):
        scale = max(float(b.abs().max()), 1e-12) if b.numel() else 1.0
        torch.testing.assert_close(a, b, rtol=0, atol=tolerance * scale, msg=lambda text, i=i: f"value {i}: {text}")


@pytest.mark.parametrize("backend", FAST)
@settings(max_examples=15, deadline=None)
@given(n=st.integers(1, 5), softplus=st.booleans(), **SIZES)
def test_selective_scan(backend: str, b: int, length: int, groups: int, share: int, n: int, softplus: bool) -> None:
    arguments = scan_arguments(b, groups * share, length, n, groups)
    if not softplus:
        arguments[1] = arguments[1].abs() * 0.1

    def scan(*values: Tensor) -> Any:
        return selective_scan(*values, delta_softplus=softplus, return_last_state=True)

    assert_same(results(scan, arguments, backend), results(scan, arguments, "reference"), 1e-10)


@pytest.mark.parametrize("backend", FAST)
def test_selective_scan_of_many_channels_in_float32(backend: str) -> None:
    """More channels than run side by side, a length that chunks do not divide, one group for B and two for C."""
    arguments = scan_arguments(1, 1200 if backend == "numba" else 70, 37, 3, 2, torch.float32)
    arguments[3] = arguments[3][:, :1].contiguous()

    def scan(*values: Tensor) -> Tensor:
        return selective_scan(*values, delta_softplus=True)  # type: ignore[no-any-return]

    assert_same(results(scan, arguments, backend), results(scan, arguments, "reference"), 1e-5)


@pytest.mark.parametrize("backend", FAST)
@settings(max_examples=15, deadline=None)
@given(width=st.integers(1, 5), bias=st.booleans(), **SIZES)
def test_causal_convolution(backend: str, b: int, length: int, groups: int, share: int, width: int, bias: bool) -> None:
    channels = groups * share
    arguments = [draw(b, length, channels), draw(channels, width, seed=1)] + [draw(channels, seed=2)] * bias
    assert_same(results(causal_conv1d, arguments, backend), results(causal_conv1d, arguments, "reference"), 1e-12)


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_steps(backend: str, dtype: torch.dtype) -> None:
    """The three single steps, with states of every dtype and layout, give the same outputs and states."""
    tolerance = 1e-2 if dtype is torch.bfloat16 else 1e-5
    b, h, p, g, n, w = 2, 4, 3, 2, 5, 4
    x, dt, B, C = draw(b, h, p), draw(b, h, p).abs(), draw(b, g, n, seed=1), draw(b, g, n, seed=2)
    cases = {
        "selective": (draw(b, h, p, n), lambda s: selective_state_update(s, x, dt, -draw(h, p, n).exp(), B, C, x[0])),
        "ssd": (draw(b, h, p, n), lambda s: ssd_step(s, x, dt[..., 0], -draw(h).exp(), B, C)),
        "conv": (draw(b, h * p, w), lambda s: causal_conv1d_step(x.flatten(1), s, draw(h * p, w), draw(h * p, seed=3))),
        "strided": (draw(w, b, h * p).permute(1, 2, 0), lambda s: causal_conv1d_step(x.flatten(1), s, draw(h * p, w))),
    }
    for name, (start, step) in cases.items():
        outcomes = {}
        for chosen in ("reference", backend):
            state = start.to(dtype).clone(memory_format=torch.preserve_format)
            with backends.using(chosen):  # type: ignore[arg-type]
                outcomes[chosen] = [step(state), step(state), state.double()]
        assert_same(outcomes[backend], outcomes["reference"], tolerance)
        assert not torch.equal(outcomes[backend][2], start.double()), f"{name}: the state must move on"


@pytest.mark.parametrize("backend", FAST)
@settings(max_examples=40, deadline=None)
@given(
    steps=st.integers(1, 6),
    size=st.integers(0, 40),
    k=st.sampled_from([0.0, 0.25, 0.75, 1.0]),
    reset=st.sampled_from([None, 0.0, -0.3]),
    levels=st.sampled_from([0, 1, 4]),
    flags=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    surrogate=st.sampled_from(NAMES),
    potentials=st.sampled_from(["none", "last", "all"]),
    state=st.booleans(),
)
def test_integrate_and_fire(
    backend: str,
    steps: int,
    size: int,
    k: float,
    reset: float | None,
    levels: int,
    flags: tuple[bool, bool, bool],
    surrogate: str,
    potentials: Any,
    state: bool,
) -> None:
    decay_input, strict, detach_reset = flags

    def neuron(x: Tensor, k: Tensor, v: Tensor | None = None) -> Any:
        spikes, v_seq = integrate_and_fire(
            x,
            k=k,
            threshold=0.7,
            v_reset=None if levels else reset,
            decay_input=decay_input,
            strict=strict,
            levels=levels,
            detach_reset=detach_reset,
            surrogate=Surrogate(surrogate, 2.0),
            v=v,
            potentials=potentials,
        )
        return spikes if v_seq is None else (spikes, v_seq)

    arguments = [draw(steps, size), torch.tensor(k, dtype=torch.float64)] + [draw(size, seed=1)] * state
    got, want = (results(neuron, arguments, name) for name in (backend, "reference"))
    assert torch.equal(got[0], want[0]), "spikes must be equal, not close"
    assert_same(got, want, 1e-10)


@pytest.mark.parametrize("backend", FAST)
@settings(max_examples=15, deadline=None)
@given(steps=st.integers(1, 5), size=st.integers(1, 40), binary=st.booleans())
def test_elastic(backend: str, steps: int, size: int, binary: bool) -> None:
    arguments = [draw(steps, size), draw(steps, seed=1).abs() + 0.1]

    def neuron(x: Tensor, alpha: Tensor) -> Any:
        return elastic(x, alpha, binary=binary)

    got, want = (results(neuron, arguments, name) for name in (backend, "reference"))
    assert torch.equal(got[0], want[0])
    assert_same(got, want, 1e-10)


class Step(torch.autograd.Function):
    """The Heaviside step with a surrogate's derivative, for torch's own autograd."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, surrogate: Surrogate) -> Tensor:
        ctx.save_for_backward(z)
        ctx.surrogate = surrogate
        return (z >= 0).to(z.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad * ctx.surrogate.derivative(ctx.saved_tensors[0]), None


@pytest.mark.parametrize("detach", [False, True])
@pytest.mark.parametrize("reset", [None, 0.0, -0.2])
@pytest.mark.parametrize("decay_input", [False, True])
@pytest.mark.parametrize("backend", ["reference", *FAST])
def test_hand_written_gradients_are_those_of_autograd(
    backend: str, decay_input: bool, reset: float | None, detach: bool
) -> None:
    surrogate, rest = Surrogate("atan", 2.0), reset or 0.0

    def recorded(x: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        spikes, potentials = [], []
        for x_t in x:
            h = v + (x_t - (v - rest)) * k if decay_input else v - (v - rest) * k + x_t
            s = Step.apply(h - 1, surrogate)
            r = s.detach() if detach else s
            v = h - r if reset is None else h * (1 - r) + rest * r
            spikes.append(s)
            potentials.append(v)
        return torch.stack(spikes), torch.stack(potentials)

    def ours(x: Tensor, k: Tensor, v: Tensor) -> Any:
        return integrate_and_fire(
            x,
            k=k,
            v=v,
            v_reset=reset,
            decay_input=decay_input,
            detach_reset=detach,
            surrogate=surrogate,
            potentials="all",
        )

    arguments = [2 * draw(6, 5), torch.tensor(0.4, dtype=torch.float64), draw(5, seed=1)]
    assert_same(results(ours, arguments, backend), results(recorded, arguments, backend), 1e-12)


@pytest.mark.parametrize("backend", ["reference", *FAST])
def test_gradcheck(backend: Any) -> None:
    """In double precision; neurons where they are smooth: below threshold, and I-LIF's potentials between two levels."""
    sizes = (1, 2, 3, 2, 1) if backend == "triton" else (2, 4, 5, 3, 2)  # its interpreter takes seconds a hundred calls
    arguments = [value.requires_grad_() for value in scan_arguments(*sizes)]
    check = torch.autograd.gradcheck
    assert check(lambda *v: selective_scan(*v, delta_softplus=True, backend=backend), arguments)
    conv = [value.requires_grad_() for value in (draw(2, 6, 3), draw(3, 4, seed=1), draw(3, seed=2))]
    assert check(lambda *v: causal_conv1d(*v, backend=backend), conv)
    x = draw(4, 3).mul(0.1).requires_grad_()
    k, v = torch.tensor(0.3, dtype=torch.float64, requires_grad=True), draw(3, seed=1).mul(0.1).requires_grad_()
    flat = Surrogate("rect", 1.0)

    def silent(x: Tensor, k: Tensor, v: Tensor) -> Any:
        return integrate_and_fire(x, k=k, v=v, threshold=9.0, surrogate=flat, potentials="all", backend=backend)[1]

    assert check(silent, [x, k, v])


def operator_calls() -> dict[str, tuple[Any, tuple[Any, ...]]]:
    """Every registered operator with arguments that torch can check it on."""
    ops = torch.ops.retable
    u, delta, A, B, C, D, z, bias = (value.requires_grad_() for value in scan_arguments(2, 4, 5, 3, 2))
    x, v, k = draw(3, 4).requires_grad_(), draw(1, 4).requires_grad_(), torch.tensor(0.5, dtype=torch.float64)
    spec = str(Neuron(1.0, 0.0, True, False, 0, False, "sigmoid", 4.0))
    ssd = (draw(2, 6, 4, 3), draw(2, 6, 4).abs(), -draw(4).exp(), draw(2, 6, 2, 5), draw(2, 6, 2, 5), draw(2, 4, 3, 5))
    step = (draw(2, 4, 3), draw(2, 4).abs(), -draw(4).exp(), draw(2, 2, 5), draw(2, 2, 5))
    update = (draw(2, 4), draw(2, 4), -draw(4, 3).exp(), draw(2, 2, 3), draw(2, 2, 3), None, None, None, True)
    return {
        "integrate_and_fire": (ops.integrate_and_fire, (x, v, k, spec, 3)),
        "elastic": (ops.elastic, (x, draw(3).abs().requires_grad_(), False, True)),
        "selective_scan": (ops.selective_scan, (u, delta, A, B, C, D, z, bias, True, True)),
        "causal_conv1d": (ops.causal_conv1d, (draw(2, 6, 3).requires_grad_(), draw(3, 4), draw(3))),
        "ssd_scan": (ops.ssd_scan, (*(value.requires_grad_() for value in ssd), 3, True, True)),
        "ssd_step": (ops.ssd_step, (draw(2, 4, 3, 5), *step)),
        "selective_state_update": (ops.selective_state_update, (draw(2, 4, 3), *update)),
        "causal_conv1d_step": (ops.causal_conv1d_step, (draw(2, 3, 4), draw(2, 3), draw(3, 4), None)),
    }


def backends_of(name: str) -> list[str]:
    """The chunked form of SSD is matrix products; it has one backend."""
    return ["reference"] if name == "ssd_scan" else ["reference", *FAST]


@pytest.mark.parametrize(
    ("name", "backend"), [(name, backend) for name in operator_calls() for backend in backends_of(name)]
)
def test_opcheck(name: str, backend: str) -> None:
    """torch's own examination of schema, aliasing, fake function and gradient registration."""
    operator, arguments = operator_calls()[name]
    torch.library.opcheck(operator.default, (*arguments, backend))


LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "in one piece": lambda x: x,
    "last axes swapped": lambda x: x.mT.contiguous().mT if x.dim() > 1 else x,
    "every other": lambda x: x.repeat_interleave(2, -1)[..., ::2] if x.dim() else x,
    "first axis last": lambda x: x.movedim(0, -1).contiguous().movedim(-1, 0) if x.dim() else x,
}


@pytest.mark.parametrize(
    ("name", "backend"), [(name, backend) for name in operator_calls() for backend in backends_of(name)]
)
def test_fake_functions_state_the_real_layout(name: str, backend: str) -> None:
    """Strides of outputs and gradients, for inputs of every layout: compiled code reads memory by what the fake says."""
    operator, arguments = operator_calls()[name]
    for layout, change in LAYOUTS.items():
        inputs = [change(value.detach()) if isinstance(value, Tensor) else value for value in arguments]
        wanted = [isinstance(value, Tensor) and value.requires_grad for value in arguments]
        real = strides_of(operator.default, inputs, wanted, backend)
        with FakeTensorMode() as fake:
            pretended = [fake.from_tensor(value) if isinstance(value, Tensor) else value for value in inputs]
            assert strides_of(operator.default, pretended, wanted, backend) == real, layout


def strides_of(operator: Any, inputs: list[Any], wanted: list[bool], backend: str) -> list[list[tuple[int, int]]]:
    """(size, stride) of every axis of what an operator returns, and of the gradients of the `wanted` inputs."""
    leaves = [value.requires_grad_(want) if want else value for value, want in zip(inputs, wanted, strict=True)]
    out = operator(*leaves, backend)
    outputs = [out] if isinstance(out, Tensor) else list(out)
    moving = [value for value in outputs if value.requires_grad and value.numel()]
    gradients = [value.new_ones(value.shape) for value in moving]
    leaves = [value for value, want in zip(leaves, wanted, strict=True) if want]
    found = torch.autograd.grad(moving, leaves, gradients, allow_unused=True) if moving else ()
    tensors = [value for value in (*outputs, *found) if value is not None and value.numel()]
    return [[axis for axis in zip(value.shape, value.stride(), strict=True) if axis[0] > 1] for value in tensors]


def test_second_derivatives_are_refused() -> None:
    x = draw(2, 6, 3).requires_grad_()
    (grad,) = torch.autograd.grad(causal_conv1d(x, draw(3, 4)).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="causal_conv1d_backward"):
        grad.sum().backward()


@pytest.mark.parametrize("backend", ["reference", *FAST])
def test_nan_in_gives_nan_out(backend: Any) -> None:
    x = torch.zeros(4, 3)
    x[1, 1] = torch.nan
    spikes, v = integrate_and_fire(x, k=0.5, potentials="all", backend=backend)
    assert v is not None
    for value in (spikes, v, integrate_and_fire(x, k=0.5, v_reset=None, levels=4, backend=backend)[0]):
        assert value.isnan().tolist() == [[False, t > 0, False] for t in range(4)]
    assert elastic(x, torch.ones(4), backend=backend)[1:, 1].isnan().all()
    arguments = [value.float() for value in scan_arguments(1, 2, 4, 3, 1)]
    arguments[0][0, 1, 2] = torch.nan
    y = selective_scan(*arguments, delta_softplus=True, backend=backend)
    assert y.isnan().tolist() == [[[False] * 4, [False, False, True, True]]]


@pytest.mark.parametrize("backend", FAST)
def test_inputs_of_any_layout(backend: Any) -> None:
    """Expanded, transposed and sliced tensors give what contiguous ones give."""
    x = draw(6, 5).T[::2]
    expanded = draw(5).expand(4, 5)
    for value in (x, expanded):
        got, want = (integrate_and_fire(v, k=0.5, backend=backend)[0] for v in (value, value.contiguous()))
        assert torch.equal(got, want)
    arguments = scan_arguments(2, 4, 6, 3, 1)
    shuffled = [*(value.mT.contiguous().mT for value in arguments[:2]), arguments[2].T.contiguous().T, *arguments[3:]]
    torch.testing.assert_close(
        selective_scan(*shuffled, backend=backend), selective_scan(*arguments, backend=backend), rtol=1e-12, atol=1e-12
    )


def test_threads_change_nothing_but_time() -> None:
    """Sums run over units that depend on shapes alone."""
    x, arguments = draw(4, 40_000).float(), scan_arguments(2, 300, 64, 16, 1, torch.float32)

    def everything() -> list[Tensor]:
        k = torch.tensor(0.5)
        neuron = results(lambda x, k: integrate_and_fire(x, k=k)[0], [x, k], "numba")
        return neuron + results(lambda *v: selective_scan(*v, delta_softplus=True), arguments, "numba")

    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = everything()
        torch.set_num_threads(3)
        three = everything()
    finally:
        torch.set_num_threads(threads)
    for i, (a, b) in enumerate(zip(one, three, strict=True)):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-5 if i in (1, 2) else 0)


BAD: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "integer input": (lambda: integrate_and_fire(torch.ones(3, 2, dtype=torch.long), k=0.5), ValueError, "x must be"),
    "no time": (lambda: integrate_and_fire(torch.tensor(1.0), k=0.5), ValueError, "x must have time"),
    "no step": (lambda: integrate_and_fire(torch.ones(0, 2), k=0.5), ValueError, "one step at least"),
    "state": (
        lambda: integrate_and_fire(torch.ones(3, 2), k=0.5, v=torch.ones(3)),
        ValueError,
        "v must have the shape",
    ),
    "threshold": (lambda: integrate_and_fire(torch.ones(3, 2), k=0.5, threshold=0.0), ValueError, "threshold must be"),
    "levels": (lambda: integrate_and_fire(torch.ones(3, 2), k=0.5, levels=4), ValueError, "v_reset must be None"),
    "k": (lambda: integrate_and_fire(torch.ones(3, 2), k=torch.ones(2)), ValueError, "k must have one element"),
    "amplitudes": (lambda: elastic(torch.ones(3, 2), torch.ones(2)), ValueError, "alpha must have the shape"),
    "surrogate": (lambda: Surrogate("tanh"), ValueError, "surrogate is one of"),
    "alpha": (lambda: Surrogate("atan", 0.0), ValueError, "alpha must be above 0"),
    "backend": (lambda: integrate_and_fire(torch.ones(3, 2), k=0.5, backend="cuda"), BackendError, "is one of"),  # type: ignore[arg-type]
    "device": (
        lambda: integrate_and_fire(torch.ones(3, 2), k=0.5, v=torch.ones(2, device="meta")),
        ValueError,
        "on one device",
    ),
    "no such backend": (
        lambda: ssd_scan(draw(1, 2, 2, 2), draw(1, 2, 2), draw(2), draw(1, 2, 1, 3), draw(1, 2, 1, 3), backend="numba"),
        BackendError,
        "it has reference",
    ),
    "complex": (
        lambda: selective_scan(
            draw(1, 2, 3), draw(1, 2, 3), torch.randn(2, 4) + 0j, draw(1, 4, 6), draw(1, 4, 6), backend="numba"
        ),
        BackendError,
        "A is complex",
    ),
    "large state": (
        lambda: selective_scan(*scan_arguments(1, 1, 2, 257, 1), backend="numba"),
        BackendError,
        "at most 256",
    ),
    "absent": (lambda: selective_scan(*scan_arguments(1, 1, 2, 3, 1), backend="mamba_ssm"), BackendError, "on CUDA"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_clear_sentence(name: str) -> None:
    call, error, match = BAD[name]
    with pytest.raises(error, match=match) as caught:
        call()
    assert len(str(caught.value).splitlines()) == 1


def test_the_rule_and_its_record() -> None:
    """`auto` takes the compiled kernels on a CPU and the reference where they refuse; both are told."""
    with backends.observe() as seen:
        integrate_and_fire(torch.ones(2, 3), k=0.5)
        selective_scan(*scan_arguments(1, 2, 3, 2, 1))
        selective_scan(*scan_arguments(1, 2, 3, 257, 1))
        with backends.using("reference"):
            causal_conv1d(draw(1, 3, 2), draw(2, 2))
    assert seen == {
        "integrate_and_fire": {"numba"},
        "selective_scan": {"numba", "reference"},
        "causal_conv1d": {"reference"},
    }


def test_a_missing_backend_is_announced_once(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "missing", lambda name, device: "not installed" if name == "numba" else None)
    backends._announce.cache_clear()
    with backends.observe() as seen:
        for _ in range(2):
            integrate_and_fire(torch.ones(2, 3), k=0.5)
    assert seen == {"integrate_and_fire": {"reference"}}
    assert [record.getMessage() for record in caplog.records] == [
        "the backend numba is passed over on cpu: not installed"
    ]


def test_float16_is_computed_in_float32() -> None:
    x = draw(4, 100).half()
    spikes, v = integrate_and_fire(x, k=0.5, potentials="last")
    assert v is not None
    assert (spikes.dtype, v.dtype) == (torch.float16, torch.float32)
    assert torch.equal(spikes.float(), integrate_and_fire(x.float(), k=0.5)[0])


def test_operators_can_be_compiled() -> None:
    """torch.compile traces through the fake functions without a graph break."""

    def network(x: Tensor) -> Tensor:
        return integrate_and_fire(x * 2, k=0.5)[0].sum(0)

    x = draw(3, 8).float()
    compiled = torch.compile(network, fullgraph=True, backend="eager")
    assert torch.equal(compiled(x), network(x))


def test_kernels_after_a_fork() -> None:
    """A forked child has none of its parent's threads and makes its own."""
    if not hasattr(os, "fork"):
        pytest.skip("needs os.fork")
    code = (
        "import os, torch\n"
        "from retable.models.spiking.operators import integrate_and_fire as neuron\n"
        "torch.set_num_threads(2)\n"
        "x = torch.ones(4, 1 << 16)\n"
        "want = neuron(x, k=0.5)[0].numpy()\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    os._exit(0 if (neuron(x, k=0.5)[0].numpy() == want).all() else 1)\n"
        "raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=120, check=False).returncode == 0
