"""`make gpu-check`: what one CUDA card shows of this project in eight minutes, without a network.

    python asv_bench/gpu_check.py [--minutes M] [--out DIR]

Agreement of every kernel with its reference, buffers filled with NaN before they are written; speed as ratios to a copy and a
product on the card; growth with length and batch; sampling of AiM-B against a Transformer; peak memory; then the rehearsal of
the suites on the card, for the time that is left. `reports/gpu/<card>.json` holds all of it, the terminal a table. A part that
fails says why and leaves the others. Exit status: 0 all agreed and ran, 1 something did not, 3 no card.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import kernels
import torch
from kernels import Work
from measure import Interval, interleaved, interval
from torch import Tensor

from retable.models.common import backends
from retable.models.common.trials import trials

ROOT = Path(__file__).resolve().parents[1]
MINUTES, RESERVE = 8.0, 20.0
"""The whole may take this long; the rehearsal ends this many seconds before."""
TOLERANCE = {"rtol": 1e-4, "atol": 1e-5}
"""Of float32, as the kernels' own tests have it; mamba-ssm's allow more."""
MAMBA_SSM = {"rtol": 1e-3, "atol": 1e-3}
BUDGET = 1.0
"""Seconds of one ratio."""
BATCH, TOKENS = 16, 256
"""Of the paper's speed figure (arXiv 2408.12245, Figure 8)."""
SAMPLERS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "AiM-B": ("aim", {"size": "b"}),
    "Transformer of equal width": (
        "transformer",
        {"d_model": 768, "n_layer": 12, "n_head": 12, "codes": 16384, "num_tokens": TOKENS, "num_classes": 1000},
    ),
}

Found = dict[str, Any]


def main() -> int:
    options = _parse()
    if not torch.cuda.is_available():
        print("gpu-check needs a CUDA card, and torch sees none on this machine: nothing was checked", file=sys.stderr)
        return 3
    started, card = time.monotonic(), torch.cuda.get_device_name(0)
    end = started + 60 * options.minutes
    parts: dict[str, Callable[[], Found]] = {
        "agreement": lambda: agreement("cuda"),
        "speed": lambda: speed("cuda"),
        "growth": lambda: growth("cuda"),
        "sampling": lambda: sampling("cuda"),
        "rehearsal": lambda: rehearsal("cuda", end - RESERVE),
    }
    report: Found = {"card": card, "software": _software(), "parts": {}}
    for name, part in parts.items():
        report["parts"][name] = _attempted(part)
        print(_table(name, report["parts"][name]), flush=True)
    report["seconds"] = round(time.monotonic() - started, 1)
    path = Path(options.out) / f"{re.sub(r'[^a-z0-9]+', '-', card.lower()).strip('-')}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(f"written: {path}")
    return int(any(part["faults"] for part in report["parts"].values()))


def agreement(device: str) -> Found:
    """Every trial of every backend against the reference's on the same inputs, uninitialised memory being NaN."""
    found, faults = {}, {}
    fast = [name for name in ("triton", "mamba_ssm") if backends.missing(name, device) is None]
    for name in fast:
        calculations = trials(_tensors(device), _with_gradients, (name, "reference"))  # type: ignore[arg-type]
        for trial, calculate in calculations.items():
            if not trial.endswith(f", {name}"):
                continue
            title = f"{trial.removesuffix(f', {name}')} ({name})"
            try:
                with poisoned():
                    got = list(calculate())
                want = list(calculations[trial.removesuffix(name) + "reference"]())
                found[title] = distance(got, want, MAMBA_SSM if name == "mamba_ssm" else TOLERANCE)
            except backends.BackendError:
                continue  # an operator without this backend
            except Exception as error:  # of a compiler, a driver, a comparison
                faults[title] = f"{type(error).__name__}: {str(error).strip().splitlines()[0][:200]}"
    if not found and not faults:
        faults["kernels"] = "no backend beside the reference can run here"
    return {"largest differences": found, "backends": fast, "faults": faults}


def distance(got: list[Tensor], want: list[Tensor], tolerance: Mapping[str, float]) -> float:
    """The largest difference. Raises AssertionError beyond the tolerance, and for a NaN that the reference has not."""
    for one, other in zip(got, want, strict=True):
        torch.testing.assert_close(one, other, **tolerance)
    return max(float((one - other).abs().max()) for one, other in zip(got, want, strict=True) if one.numel())


@contextmanager
def poisoned() -> Iterator[None]:
    """Inside, memory that nobody has written is NaN: a kernel that leaves a gap, or adds to what it found, shows."""
    before = torch.are_deterministic_algorithms_enabled(), torch.utils.deterministic.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = True
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        torch.utils.deterministic.fill_uninitialized_memory = before[1]


def speed(device: str) -> Found:
    """Kernels in copies of their largest tensor, and the chunked scan in the matrix products that it consists of."""
    scan, neurons, ssd, conv = (8, 1536, 256, 16), (4, 1 << 22), (16, 256, 24, 64, 128), (16, 256, 1536)
    works: dict[str, tuple[Callable[..., Work], tuple[int, ...]]] = {
        "selective scan": (kernels.scan, scan),
        "LIF neurons": (kernels.lif, neurons),
        "integer neurons": (kernels.ilif, neurons),
        "elastic neurons": (kernels.elastic, neurons),
        "causal convolution": (kernels.convolution, conv),
    }
    ratios: Found = {}
    with torch.device(device), torch.no_grad():
        for name, (work, shape) in works.items():
            for way in ("forward", "both"):
                with torch.enable_grad():
                    call = getattr(work(*shape), way)()
                ratios[f"{name}, {way}, in copies"] = _ratio(call, kernels.copy_floor(*shape), device)
        for way in ("forward", "both"):
            with torch.enable_grad():
                call = getattr(kernels.ssd_scan(*ssd), way)()
            products = kernels.product_floor(ssd[0] * ssd[1] * ssd[2], 64, 128)
            ratios[f"chunked scan, {way}, in products"] = _ratio(call, products, device)
    return {"ratios": ratios, "peak_bytes": _peak(device), "faults": {}}


def growth(device: str) -> Found:
    """The exponent of the time in the length and in the batch: 1 is linear; below it the card is not full yet."""
    exponents: Found = {}
    with torch.device(device):
        for name, sizes, shape in (
            ("selective scan, length", (1024, 4096, 16384), lambda size: (4, 768, size, 16)),
            ("selective scan, batch", (16, 64, 256), lambda size: (size, 768, 256, 16)),
        ):
            calls = {str(size): _waited(kernels.scan(*shape(size)).both(), device) for size in sizes}
            rounds = interleaved(calls, 2 * BUDGET)
            exponents[name] = _plain(interval(rounds.exponents({str(size): size for size in sizes})))
    return {"exponents": exponents, "peak_bytes": _peak(device), "faults": {}}


def sampling(device: str) -> Found:
    """Seconds for 16 guided images of 256 tokens, random weights, tokens only; both sides in turn."""
    from retable.bench.declare.params import construct
    from retable.models.aim.sampling import sample_tokens

    labels = torch.arange(BATCH, device=device)
    calls = {}
    for name, (use, params) in SAMPLERS.items():
        model = construct("method", use, params).build(None).stage2.to(device).eval()
        calls[name] = _waited(
            torch.inference_mode()(lambda model=model: sample_tokens(model, labels, guidance=1.75)), device
        )
    rounds = interleaved(calls, 20 * BUDGET, least=3, most=9)
    aim, transformer = SAMPLERS
    return {
        "seconds": {name: round(rounds.median(name), 4) for name in calls},
        "ratio": _plain(interval(rounds.ratios(transformer, aim))),
        "batch": BATCH,
        "tokens": TOKENS,
        "peak_bytes": _peak(device),
        "faults": {},
    }


def rehearsal(device: str, end: float) -> Found:
    """`bench rehearse` of one suite after the other, in processes of its own, for as long as there is time."""
    suites: Found = {}
    faults: dict[str, str] = {}
    for path in sorted((ROOT / "suites").glob("*.yaml")):
        left = end - time.monotonic()
        if left < RESERVE:
            suites[path.stem] = "not rehearsed: the time was up"
            continue
        command = [sys.executable, "-m", "retable", "rehearse", str(path), "--device", device, "--json", "--quiet"]
        try:
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=left, check=False)
        except subprocess.TimeoutExpired:
            suites[path.stem] = "not rehearsed to its end: the time was up"
            continue
        try:
            (facts,) = json.loads(done.stdout)
        except ValueError:
            faults[path.stem] = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1][:200]
            continue
        suites[path.stem] = {"stages": len(facts["stages"]), "seconds": facts["seconds"], "skipped": facts["skipped"]}
        faults |= facts["faults"]
    return {"suites": suites, "faults": faults}


def _attempted(part: Callable[[], Found]) -> Found:
    try:
        return part()
    except Exception as error:  # one part must not take the others with it
        return {"faults": {"part": f"{type(error).__name__}: {str(error).strip()[:300]}"}}


def _ratio(of: Callable[[], object], to: Callable[[], object], device: str) -> Found:
    rounds = interleaved({"of": _waited(of, device), "to": _waited(to, device)}, BUDGET)
    return _plain(interval(rounds.ratios("of", "to")))


def _waited(call: Callable[[], object], device: str) -> Callable[[], object]:
    """The call and the end of its work: a kernel is only started by the call."""
    if device == "cpu":
        return call

    def run() -> None:
        call()
        torch.cuda.synchronize()

    return run


def _peak(device: str) -> int | None:
    """Bytes that tensors held at once since the last question."""
    if device == "cpu":
        return None
    peak = int(torch.cuda.max_memory_allocated())
    torch.cuda.reset_peak_memory_stats()
    return peak


def _plain(found: Interval) -> Found:
    return {
        "low": round(found.low, 3),
        "median": round(found.median, 3),
        "high": round(found.high, 3),
        "rounds": found.n,
    }


def _tensors(device: str) -> Callable[..., Tensor]:
    def tensor(*shape: int, salt: int = 0) -> Tensor:
        generator = torch.Generator().manual_seed(1000 + salt)
        return (2 * torch.rand(shape, generator=generator) - 1).to(device)

    return tensor


def _with_gradients(function: Callable[..., Tensor], *inputs: Tensor) -> list[Tensor]:
    leaves = [value.detach().clone().requires_grad_() for value in inputs]
    out = function(*leaves)
    return [out.detach(), *torch.autograd.grad(out, leaves, torch.ones_like(out))]


def _software() -> Found:
    import importlib.metadata

    found: Found = {"python": sys.version.split()[0], "torch": torch.__version__, "cuda": torch.version.cuda}
    for package in ("triton", "mamba-ssm"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = None
    return found


def _table(name: str, part: Found) -> str:
    lines = [name]
    for key, value in part.items():
        for row, cell in value.items() if isinstance(value, dict) else [("", value)]:
            text = (
                f"{cell['median']} [{cell['low']}, {cell['high']}]"
                if isinstance(cell, dict) and "median" in cell
                else cell
            )
            lines.append(f"  {key}: {row}{': ' if row else ''}{text}")
    return "\n".join(lines)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="What one CUDA card shows of this project.")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="for the whole (default: %(default)s)")
    parser.add_argument("--out", default=str(ROOT / "reports" / "gpu"), help="folder of the report")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
