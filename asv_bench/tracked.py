"""What is tracked: unit-free figures, each comparing a kernel with something timed in the same process.

    small    a call at a tiny shape, in additions of two numbers: what the call costs before any work
    floor    a call at a large shape, in copies, exponentials or streams of the same size
    plain    the same against the plain loop, or against the operator's own reference backend
    growth   the exponent in the length L or the time steps T: 1 is linear, 2 quadratic

In all of them lower is better. `at_most` is what the project promises on any machine; `gate.py` judges by it.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import kernels
import torch
from decode_vs_transformers import Stack, memory_floor, our_decoder
from kernels import Work
from measure import Call, Interval, Rounds, interleaved, interval

from models import backends

Kind = Literal["ratio", "growth", "seconds"]

DISPATCHES = 2.0
"""Promise for small shapes, in hundreds of additions of two numbers: a millisecond of anything breaks it."""
LINEAR = math.log2(2.3)
"""Promise for exponents: twice the length takes less than 2.3 times as long."""


@dataclass(frozen=True)
class Tracked:
    """One figure: `values(budget)` measures it for about that many seconds, one value a round."""

    name: str
    kind: Kind
    at_most: float
    values: Callable[[float], list[float]]

    def measure(self, budget: float) -> Interval:
        return interval(self.values(budget))


@dataclass(frozen=True)
class Kernel:
    """An operator with its tiny shape and, where it has a length, its shape at length `size`."""

    name: str
    work: Callable[..., Work]
    small: tuple[int, ...]
    passes: tuple[str, ...] = ("forward", "backward")
    backends: tuple[str, ...] = ("numba", "reference")
    along: str = ""
    shape: Callable[[int], tuple[int, ...]] = lambda size: (size,)
    sizes: tuple[int, ...] = (256, 1024, 4096)


def _scan_shape(length: int) -> tuple[int, ...]:
    return 1, 16, length, 16


def _ssd_shape(length: int) -> tuple[int, ...]:
    return 1, length, 2, 16, 16


def _conv_shape(length: int) -> tuple[int, ...]:
    return 1, length, 16


def _neurons(steps: int) -> tuple[int, ...]:
    return steps, 256


def _ssd(*shape: int, backend: Any) -> Work:
    return kernels.ssd_scan(*shape, backend=backend, chunk=64)  # type: ignore[misc]


STEP = {"passes": ("forward",)}
NEURON: dict[str, Any] = {"small": (2, 16), "along": "T", "shape": _neurons, "sizes": (64, 256, 1024)}
KERNELS = (
    Kernel("selective_scan", kernels.mamba_scan, (1, 16, 2, 4), along="L", shape=_scan_shape),
    Kernel("selective_state_update", kernels.update, (1, 16, 4), passes=("forward",)),
    Kernel("ssd_scan", _ssd, (1, 2, 2, 4, 4), backends=("reference",), along="L", shape=_ssd_shape),
    Kernel("ssd_step", kernels.ssd_step, (1, 2, 4, 4), passes=("forward",)),
    Kernel("causal_conv1d", kernels.convolution, (1, 2, 16), along="L", shape=_conv_shape),
    Kernel("causal_conv1d_step", kernels.convolution_step, (1, 16), passes=("forward",)),
    Kernel("lif", kernels.lif, **NEURON),
    Kernel("plif", kernels.plif, **NEURON),
    Kernel("ilif", kernels.ilif, **NEURON),
    Kernel("elastic", kernels.elastic, **NEURON),
)


def tracked() -> list[Tracked]:
    """Every figure that this machine can measure."""
    return [*_small(), *_growth(), *_against_floors(), *_against_plain(), *_second_thread(), *_first_calls()]


def _small() -> Iterator[Tracked]:
    for kernel, backend, way in _variants():
        make = _maker(kernel, backend, way, kernel.small)
        yield _ratio(f"{kernel.name} {way} {backend} small / additions", make, kernels.dispatch_floor, DISPATCHES)
    yield _ratio("mamba2 decode small / additions", _small_decode, kernels.dispatch_floor, 2 * DISPATCHES)


def _growth() -> Iterator[Tracked]:
    for kernel, backend, way in _variants():
        if kernel.along:
            sizes = {str(size): size if backend != "reference" else size // 4 for size in kernel.sizes}
            makers = {side: _maker(kernel, backend, way, kernel.shape(size)) for side, size in sizes.items()}
            yield _exponent(f"{kernel.name} {way} {backend} growth in {kernel.along}", makers, sizes)


def _against_floors() -> Iterator[Tracked]:
    """Large shapes. The figures of the neurons, of the decoding and of the plain loops are promised in the README."""
    scan, ssd, big, wide = (4, 512, 256, 16), (4, 256, 8, 64, 128), (4, 1 << 20), (16, 1 << 16)
    exp, products = _floor(kernels.exp_floor, *scan), _floor(kernels.product_floor, 4 * 256 * 8, 64, 128)
    yield _ratio("lif forward (4, 1M) / copy", _large(kernels.lif, big, "forward"), _floor(kernels.copy_floor, *big), 3)
    yield _ratio("lif both (4, 1M) / copy", _large(kernels.lif, big, "both"), _floor(kernels.copy_floor, *big), 9)
    yield _ratio("scan forward (4, 512, 256, 16) / exp", _large(kernels.scan, scan, "forward"), exp, 2)
    yield _ratio("scan both (4, 512, 256, 16) / exp", _large(kernels.scan, scan, "both"), exp, 8)
    yield _ratio(
        "ssd_scan forward (4, 256, 8, 64, 128) / products", _large(kernels.ssd_scan, ssd, "forward"), products, 12
    )
    yield _ratio("ssd_scan both (4, 256, 8, 64, 128) / products", _large(kernels.ssd_scan, ssd, "both"), products, 30)
    for name, work, limits in (("ilif", kernels.ilif, (20, 80)), ("elastic", kernels.elastic, (20, 100))):
        for way, at_most in zip(("forward", "both"), limits, strict=True):
            copy = _floor(kernels.copy_floor, *wide)
            yield _ratio(f"{name} {way} (16, 64K) / copy", _large(work, wide, way), copy, at_most)
    steps = (
        ("ssd_step (8, 24, 64, 128)", kernels.ssd_step, (8, 24, 64, 128), 16),
        ("selective_state_update (8, 1536, 16)", kernels.update, (8, 1536, 16), 16),
    )
    for name, work, shape, at_most in steps:
        yield _ratio(
            f"{name} / state stream", _large(work, shape, "forward"), _floor(kernels.stream_floor, *shape), at_most
        )
    conv = (4, 256, 1536)
    yield _ratio(
        "causal_conv1d forward (4, 256, 1536) / copy",
        _large(kernels.convolution, conv, "forward"),
        _floor(kernels.copy_floor, *conv),
        20,
    )
    yield Tracked("decode AiM-B batch 8 / weight and state stream", "ratio", 2, _decode)


def _against_plain() -> Iterator[Tracked]:
    scan, trained = (4, 512, 256, 16), (8, 384, 256, 16)
    indexed, unbound = lambda: kernels.loop(*scan).forward(), lambda: kernels.loop(*trained, unbind=True).both()
    yield _ratio("scan forward (4, 512, 256, 16) / plain loop", _large(kernels.scan, scan, "forward"), indexed, 1 / 15)
    yield _ratio("scan both (8, 384, 256, 16) / unbound loop", _large(kernels.scan, trained, "both"), unbound, 1 / 10)
    cases = (
        ("scan", kernels.scan, (1, 256, 256, 16), 0.4),
        ("lif", kernels.lif, (16, 1 << 14), 0.3),
        ("elastic", kernels.elastic, (16, 1 << 14), 0.3),
    )
    for name, work, shape, at_most in cases:
        for way in ("forward", "both"):
            slow = _large(work, shape, way, "reference")
            yield _ratio(f"{name} {way} {shape} / reference", _large(work, shape, way), slow, at_most)


def _second_thread() -> Iterator[Tracked]:
    """What a second thread brings, over what it brings to torch.exp: 1.25 is 1.6 times faster where exp is 2 times faster."""
    if len(os.sched_getaffinity(0)) < 2:
        return
    works = (("scan", kernels.scan, (4, 512, 256, 16)), ("lif", kernels.lif, (4, 1 << 20)))
    for name, work, shape in works:
        for way in ("forward", "both"):
            yield Tracked(f"{name} {way} {shape} two threads / exp", "ratio", 1.25, _threads(_large(work, shape, way)))


def _first_calls() -> Iterator[Tracked]:
    for name in ("scan", "lif", "ssd_step"):
        yield Tracked(f"{name} first call of a process", "seconds", 0.5, lambda _, name=name: _first_call(name))


def _variants() -> Iterator[tuple[Kernel, str, str]]:
    for kernel in KERNELS:
        for backend in kernel.backends:
            if backends.missing(backend, "cpu") is None:
                yield from ((kernel, backend, way) for way in kernel.passes)


def _maker(kernel: Kernel, backend: str, way: str, shape: tuple[int, ...]) -> Callable[[], Call]:
    return _large(kernel.work, shape, way, backend)


def _large(
    work: Callable[..., Work], shape: tuple[int, ...], way: str, backend: str | None = None
) -> Callable[[], Call]:
    def make() -> Call:
        call: Call = getattr(work(*shape, backend=backend), way)()
        return call

    return make


def _floor(make: Callable[..., Call], *shape: int) -> Callable[[], Call]:
    return lambda: make(*shape)


def _ratio(name: str, of: Callable[[], Call], to: Callable[[], Call], at_most: float) -> Tracked:
    def values(budget: float) -> list[float]:
        return interleaved({"of": of(), "to": to()}, budget).ratios("of", "to")

    return Tracked(name, "ratio", at_most, values)


def _exponent(name: str, makers: Mapping[str, Callable[[], Call]], sizes: Mapping[str, int]) -> Tracked:
    def values(budget: float) -> list[float]:
        return interleaved({side: make() for side, make in makers.items()}, budget).exponents(sizes)

    return Tracked(name, "growth", LINEAR, values)


def _threads(make: Callable[[], Call]) -> Callable[[float], list[float]]:
    def on(threads: int, call: Call) -> Call:
        def run() -> None:
            before = torch.get_num_threads()
            torch.set_num_threads(threads)
            try:
                call()
            finally:
                torch.set_num_threads(before)

        return run

    def values(budget: float) -> list[float]:
        call, exp = make(), kernels.exp_floor(4, 512, 256, 16)
        sides = {"two": on(2, call), "one": on(1, call), "exp two": on(2, exp), "exp one": on(1, exp)}
        rounds = interleaved(sides, budget)
        ours, floor = rounds.ratios("two", "one"), rounds.ratios("exp two", "exp one")
        return [a / b for a, b in zip(ours, floor, strict=True)]

    return values


@torch.inference_mode()
def _decode(budget: float) -> list[float]:
    model, tokens = _stack(width=768, layers=24, vocabulary=16384), torch.arange(8)
    step, touch = our_decoder(model, 8), memory_floor(model, 8)
    rounds: Rounds = interleaved({"step": lambda: step(tokens), "floor": lambda: touch(tokens)}, budget)
    return rounds.ratios("step", "floor")


def _small_decode() -> Call:
    step, tokens = our_decoder(_stack(width=64, layers=1, vocabulary=16), 1), torch.zeros(1, dtype=torch.long)
    return torch.inference_mode()(lambda: step(tokens))


def _stack(*, width: int, layers: int, vocabulary: int) -> Stack:
    return Stack(width, layers, vocabulary).eval()


FIRST_CALL = """
import os, sys, time
import kernels, models.ssm.ssd, torch
torch.set_num_threads(1)
work = {"scan": lambda: kernels.scan(1, 16, 8, 16), "lif": lambda: kernels.lif(4, 64), "ssd_step": lambda: kernels.ssd_step(1, 2, 8, 16)}
work = work[sys.argv[1]]()
for _ in range(10):
    child = os.fork()
    if child == 0:
        start = time.perf_counter()
        work.run()
        print(time.perf_counter() - start, flush=True)
        os._exit(0)
    os.waitpid(child, 0)
"""


def _first_call(name: str) -> list[float]:
    """Seconds of the first call in processes that have torch but not the kernels yet; the first of them fills the disk cache."""
    here = Path(__file__).parent
    path = os.pathsep.join([str(here), str(here.parent)])
    command = [sys.executable, "-c", FIRST_CALL, name]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=True)
    return [float(line) for line in done.stdout.split()][1:]
