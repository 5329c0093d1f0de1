"""What is tracked: unit-free figures, each comparing a kernel with something timed in the same process; lower is better.

small    a call at a tiny shape, in hundreds of additions of two numbers: what it costs before any work
growth   the exponent in the length L or the time steps T: 1 is linear, 2 quadratic
floor    a call at a large shape, in copies, exponentials or streams of its size
plain    the same against the plain loop, or against the operator's own reference backend
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import kernels
import torch
from decode_vs_transformers import Stack, memory_floor, our_decoder
from kernels import Work
from measure import Call, Interval, interleaved, interval

from retable.models.common import backends

Kind = Literal["small", "growth", "ratio", "seconds", "threads"]
Make = Callable[[], Call]

LINEAR = math.log2(2.3)
"""What is promised of every exponent: twice the length takes less than 2.3 times as long."""


@dataclass(frozen=True)
class Tracked:
    """One figure: `values(budget)` measures it for about that many seconds, one value a round.

    `promise` is what the project states for any machine, None where it states nothing. `slack` widens the gate's limits
    where the other side, not the kernel, moves between processes.
    """

    name: str
    kind: Kind
    promise: float | None
    values: Callable[[float], list[float]]
    slack: float = 1.0

    def measure(self, budget: float) -> Interval:
        return interval(self.values(budget))


@dataclass(frozen=True)
class Kernel:
    """An operator's passes; `costs` are the promises at the shape `small`, one for each backend and pass.

    `shape(size)` is its shape at a length or number of steps out of `sizes`, which differ by backend so that the work
    outweighs the cost of the call.
    """

    name: str
    work: Callable[..., Work]
    small: tuple[int, ...]
    costs: Mapping[str, tuple[float, ...]]
    passes: tuple[str, ...] = ("forward", "backward")
    along: str = ""
    shape: Callable[[int], tuple[int, ...]] = lambda size: (size,)
    sizes: Mapping[str, tuple[int, int, int]] = field(default_factory=dict)

    def variants(self) -> Iterator[tuple[str, str, float]]:
        """(backend, pass, promise) of what runs on this machine."""
        for backend, costs in self.costs.items():
            if backends.missing(backend, "cpu") is None:
                yield from ((backend, way, cost) for way, cost in zip(self.passes, costs, strict=True))


def _neuron(name: str, work: Callable[..., Work], **costs: tuple[float, ...]) -> Kernel:
    sizes = {"numba": (128, 512, 2048), "reference": (16, 64, 256)}
    return Kernel(name, work, (2, 16), costs, along="T", shape=lambda steps: (steps, 256), sizes=sizes)


STEP = ("forward",)
KERNELS = (
    Kernel(
        name="selective_scan",
        work=kernels.mamba_scan,
        small=(1, 16, 2, 4),
        costs={"numba": (2.5, 4), "reference": (3, 5.5)},
        along="L",
        shape=lambda length: (1, 16, length, 16),
        sizes={"numba": (256, 1024, 4096), "reference": (64, 256, 1024)},
    ),
    Kernel(
        name="ssd_scan",
        work=kernels.ssd_scan,
        small=(1, 2, 2, 4, 4),
        costs={"reference": (2, 4)},
        along="L",
        shape=lambda length: (1, length, 2, 16, 16),
        sizes={"reference": (512, 2048, 8192)},
    ),
    Kernel(
        name="causal_conv1d",
        work=kernels.convolution,
        small=(1, 2, 16),
        costs={"numba": (0.6, 2), "reference": (0.7, 2)},
        along="L",
        shape=lambda length: (1, length, 64),
        sizes={"numba": (1024, 4096, 16384), "reference": (1024, 4096, 16384)},
    ),
    Kernel("selective_state_update", kernels.update, (1, 16, 4), {"numba": (1.5,), "reference": (1.5,)}, STEP),
    Kernel("ssd_step", kernels.ssd_step, (1, 2, 4, 4), {"numba": (1,), "reference": (1.2,)}, STEP),
    Kernel("causal_conv1d_step", kernels.convolution_step, (1, 16), {"numba": (0.8,), "reference": (0.9,)}, STEP),
    _neuron("lif", kernels.lif, numba=(1.2, 2), reference=(2, 4)),
    _neuron("plif", kernels.plif, numba=(1.2, 2.2), reference=(2, 5)),
    _neuron("ilif", kernels.ilif, numba=(1.2, 2), reference=(2, 4)),
    _neuron("elastic", kernels.elastic, numba=(1, 2), reference=(1.2, 4)),
)


def tracked() -> list[Tracked]:
    """Every figure that the gate judges; those whose other side allocates most come first, while the heap is untouched."""
    return [*_plain(), *_small(), *_growth(), *_floors(), *_first_calls()]


def second_thread() -> Iterator[Tracked]:
    """Time on two threads over time on one, divided by the same of torch.exp: 1.25 is 1.6 times faster where exp doubles.

    It is recorded and not judged: on a busy machine there is no second core.
    """
    if len(os.sched_getaffinity(0)) < 2:
        return
    for name, work, shape in (("scan", kernels.scan, SCAN), ("lif", kernels.lif, NEURONS)):
        for way in ("forward", "both"):
            yield Tracked(f"{name} {way} on two threads / exp", "threads", None, _threads(_call(work, shape, way)))


SCAN, TRAINED = (4, 512, 256, 16), (8, 384, 256, 16)
"""(B, D, L, N) that the promises of the forward pass and of training are about."""
NEURONS, WIDE = (4, 1 << 20), (16, 1 << 16)
"""(T, neurons): larger than the caches, and within them."""
MEMORY = 1.5
"""The gate's slack for figures against the main memory, which a machine's other guests share and its core they do not."""


def _plain() -> Iterator[Tracked]:
    """Against loops. The plain loop's own time depends twofold on whether its large tensors are fresh pages: slack 2."""
    loop, unbound = _call(kernels.loop, SCAN, "forward"), _call(kernels.unbound_loop, TRAINED, "both")
    yield _ratio("scan forward / plain loop", _call(kernels.scan, SCAN, "forward"), loop, 1 / 15, slack=2)
    yield _ratio("scan both / unbound loop", _call(kernels.scan, TRAINED, "both"), unbound, 1 / 10, slack=2)
    cases = (
        ("scan", kernels.scan, (1, 256, 256, 16), 0.6),
        ("ssd_step", kernels.ssd_step, (8, 24, 64, 128), 0.6),
        ("lif", kernels.lif, (16, 1 << 14), 0.25),
        ("elastic", kernels.elastic, (16, 1 << 14), 0.45),
    )
    for name, work, shape, promise in cases:
        for way in STEP if name == "ssd_step" else ("forward", "both"):
            reference = _call(work, shape, way, "reference")
            yield _ratio(f"{name} {way} / reference", _call(work, shape, way), reference, promise)


def _small() -> Iterator[Tracked]:
    for kernel in KERNELS:
        for backend, way, cost in kernel.variants():
            call = _call(kernel.work, kernel.small, way, backend)
            yield _ratio(f"{kernel.name} {way} {backend} small", call, kernels.additions, cost, kind="small")
    yield _ratio("mamba2 decode small", _small_decode, kernels.additions, 5, kind="small")


def _growth() -> Iterator[Tracked]:
    for kernel in (kernel for kernel in KERNELS if kernel.along):
        for backend, way, _ in kernel.variants():
            sides = {size: _call(kernel.work, kernel.shape(size), way, backend) for size in kernel.sizes[backend]}
            yield _exponent(f"{kernel.name} {way} {backend} growth in {kernel.along}", sides)


def _floors() -> Iterator[Tracked]:
    ssd, update, step, conv = (4, 256, 8, 64, 128), (8, 1536, 16), (8, 24, 64, 128), (4, 256, 1536)
    exp = _floor(kernels.exp_floor, *SCAN)
    yield _ratio("scan forward / exp", _call(kernels.scan, SCAN, "forward"), exp, 1.5)
    yield _ratio("scan both / exp", _call(kernels.scan, SCAN, "both"), exp, 5)
    products = _floor(kernels.product_floor, 4 * 256 * 8, 64, 128)
    yield _ratio("ssd_scan forward / products", _call(kernels.ssd_scan, ssd, "forward"), products, 6)
    yield _ratio("ssd_scan both / products", _call(kernels.ssd_scan, ssd, "both"), products, 16)
    update_call, update_floor = _call(kernels.update, update, "forward"), _floor(kernels.exp_floor, *update)
    yield _ratio("selective_state_update / exp", update_call, update_floor, 16)
    yield _ratio("ssd_step / state", _call(kernels.ssd_step, step, "forward"), _floor(kernels.stream_floor, *step), 10)
    for way, promise in (("forward", 20), ("both", 60)):
        copy = _floor(kernels.copy_floor, *conv)
        yield _ratio(f"causal_conv1d {way} / copy", _call(kernels.convolution, conv, way), copy, promise)
    for way, promise in (("forward", 3), ("both", 9)):
        copy = _floor(kernels.copy_floor, *NEURONS)
        yield _ratio(f"lif {way} / copy", _call(kernels.lif, NEURONS, way), copy, promise, slack=MEMORY)
    for name, work in (("lif in the cache", kernels.lif), ("ilif", kernels.ilif), ("elastic", kernels.elastic)):
        for way, promise in (("forward", 16), ("both", 60)):
            copy = _floor(kernels.copy_floor, *WIDE)
            yield _ratio(f"{name} {way} / copy", _call(work, WIDE, way), copy, promise)
    yield Tracked("decode AiM-B, batch 8 / weights and states", "ratio", 2, _decode, slack=MEMORY)


def _first_calls() -> Iterator[Tracked]:
    """Seconds, which move with the machine's load: the gate allows three times the promise, which compiling again exceeds."""
    for name in ("scan", "lif", "ssd_step"):
        yield Tracked(f"{name} first call", "seconds", 0.5, lambda _, name=name: _first_call(name), slack=3)


def _call(work: Callable[..., Work], shape: tuple[int, ...], way: str, backend: str | None = None) -> Make:
    def make() -> Call:
        call: Call = getattr(work(*shape, backend=backend), way)()
        return call

    return make


def _floor(make: Callable[..., Call], *shape: int) -> Make:
    return lambda: make(*shape)


def _ratio(name: str, of: Make, to: Make, promise: float, kind: Kind = "ratio", slack: float = 1.0) -> Tracked:
    def values(budget: float) -> list[float]:
        return interleaved({"of": of(), "to": to()}, budget).ratios("of", "to")

    return Tracked(name, kind, promise, values, slack)


def _exponent(name: str, sides: Mapping[int, Make]) -> Tracked:
    def values(budget: float) -> list[float]:
        rounds = interleaved({str(size): make() for size, make in sides.items()}, budget)
        return rounds.exponents({str(size): size for size in sides})

    return Tracked(name, "growth", LINEAR, values)


def _threads(make: Make) -> Callable[[float], list[float]]:
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
        call, exp = make(), kernels.exp_floor(*SCAN)
        sides = {"two": on(2, call), "one": on(1, call), "exp two": on(2, exp), "exp one": on(1, exp)}
        rounds = interleaved(sides, budget)
        ours, floor = rounds.ratios("two", "one"), rounds.ratios("exp two", "exp one")
        return [a / b for a, b in zip(ours, floor, strict=True)]

    return values


def _decode(budget: float) -> list[float]:
    model, tokens = Stack(768, 24, 16384).eval(), torch.arange(8)
    with torch.inference_mode():
        step, touch = our_decoder(model, 8), memory_floor(model, 8)
        sides: dict[str, Call] = {"step": lambda: step(tokens), "floor": lambda: touch(tokens)}
        return interleaved(sides, budget).ratios("step", "floor")


def _small_decode() -> Call:
    step, tokens = our_decoder(Stack(64, 1, 16).eval(), 1), torch.zeros(1, dtype=torch.long)
    call: Call = torch.inference_mode()(lambda: step(tokens))
    return call


FIRST_CALL = """
import os, sys, time
import kernels, torch
torch.set_num_threads(1)
works = {"scan": (kernels.scan, (1, 16, 8, 16)), "lif": (kernels.lif, (4, 64)), "ssd_step": (kernels.ssd_step, (1, 2, 8, 16))}
make, shape = works[sys.argv[1]]
work = make(*shape)
for _ in range(6):
    child = os.fork()
    if child == 0:
        start = time.perf_counter()
        work.run()
        print(time.perf_counter() - start, flush=True)
        os._exit(0)
    os.waitpid(child, 0)
"""


def _first_call(name: str) -> list[float]:
    """Seconds of the first call in processes that have torch and no kernel yet; the first of them fills the disk cache."""
    here = Path(__file__).parent
    path = os.pathsep.join([str(here), str(here.parent)])
    command = [sys.executable, "-c", FIRST_CALL, name]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.PIPE, text=True, check=True
    )
    return [float(line) for line in done.stdout.split()][1:]
