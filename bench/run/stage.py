"""run_stage: a stage's specification in, its record out. A pure function of the specification and the weights on its desk."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retable.bench import contracts, registry
from retable.bench.declare.params import build, build_metric
from retable.bench.errors import MissingDataError
from retable.bench.probes.memory import PeakMemory
from retable.bench.record import Failure, Measurement, Record, Status, canonical
from retable.bench.run import weights
from retable.bench.run.desk import Desk
from retable.bench.run.numerics import establish
from retable.bench.run.plan import Fitted, StageSpec
from retable.bench.run.pulse import FOLDER, beating
from retable.bench.run.seeds import seeded
from retable.bench.run.settings import restored
from retable.bench.run.shelf import Shelf
from retable.bench.run.watch import reading, unkeyed
from retable.bench.run.worker import describe
from retable.bench.suite import Component

if TYPE_CHECKING:
    from torch import nn


CHECKPOINTS = "BENCH_CHECKPOINTS"
"""What the models read: the folder for checkpoints of a training."""
_shelf = Shelf()


def run_stage(spec: StageSpec, desk: Desk) -> Record:
    """Fit or evaluate; exceptions pass through (the executor turns them into records of failure)."""
    _prepare_process(spec)
    if desk.away:
        _same_data(spec)
    started, cpu_started = time.perf_counter(), time.process_time()
    backends = registry.kernels()
    chosen = backends.using(spec.kernels)
    beats = beating(Path(desk.inbox).parent / FOLDER, spec.template.key)
    with (
        PeakMemory() as memory,
        seeded(spec.template.seed),
        restored() as changed,
        chosen,
        backends.observe() as ran,
        reading() as read,
        beats,
    ):
        try:
            outcome = _fit(spec, desk) if spec.template.stage == "fit" else _evaluate(spec, desk)
        finally:
            written = _shelf.written()
    timings = {"wall": time.perf_counter() - started, "cpu": time.process_time() - cpu_started}
    timings.update(outcome.pop("timings", {}))
    return replace(
        spec.template,
        timings=timings,
        kernels={operator: sorted(names) for operator, names in sorted(ran.items())},
        unkeyed=unkeyed(
            _modules(spec), read, [Path(desk.inbox), Path(desk.outbox), Path(os.environ.get("BENCH_DATA", "data"))]
        ),
        changed=(*changed, *(f"data set {name}" for name in written)),
        memory={} if memory.bytes is None else {"peak_resident": memory.bytes},
        created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        **{"status": Status.OK, **outcome},
    )


def _modules(spec: StageSpec) -> list[str]:
    """Where the components of a stage are defined."""
    return [registry.resolve(kind, name).__module__ for kind, name in spec.components]


def _prepare_process(spec: StageSpec) -> None:
    establish(spec.numerics)
    import torch

    torch.set_num_threads(spec.limits.threads)
    torch.use_deterministic_algorithms(True)
    if spec.offline:
        from retable.bench.run.offline import refuse_network

        refuse_network()
    if spec.device.startswith("cuda") and not torch.cuda.is_available():
        raise MissingDataError(f"profile {spec.template.profile!r} needs a CUDA device and torch sees none")


def _same_data(spec: StageSpec) -> None:
    """On another machine than that which made the key: its data must be those that the key names."""
    if spec.dataset is None:
        return
    found = build("dataset", spec.dataset).digest()  # raises MissingDataError where they are not
    if found != spec.data_digest:
        told = "has none, and it makes the keys" if spec.data_digest is None else "has others"
        raise MissingDataError(f"data set {spec.dataset.use!r} is not the driver's, which {told}: put the same there")


def _fit(spec: StageSpec, desk: Desk) -> dict[str, Any]:
    data = None if spec.dataset is None else _data(spec.dataset)
    method: Any = build("method", spec.model.component)
    needs = {name: _restore(need, data, desk, spec.device) for name, need in spec.model.needs.items()}
    who = f"method {spec.model.component.use!r}"
    with _checkpoints(Path(desk.inbox).parent / "checkpoints" / spec.model.key):
        model, log = contracts.fitted(who, method.fit(data, needs, seed=spec.template.seed, device=spec.device))
    content = weights.dump(model, who)
    return {"log": log, "artefacts": {"weights": desk.put(f"{spec.model.key}.safetensors", content)}}


@contextmanager
def _checkpoints(folder: Path) -> Iterator[None]:
    """Where trainings leave checkpoints; a fit that ends well needs them no more, one that is killed goes on from them."""
    before = os.environ.get(CHECKPOINTS)
    os.environ[CHECKPOINTS] = str(folder)
    try:
        yield
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        if before is None:
            del os.environ[CHECKPOINTS]
        else:
            os.environ[CHECKPOINTS] = before


def _evaluate(spec: StageSpec, desk: Desk) -> dict[str, Any]:
    assert spec.task is not None
    task: Any = build("task", spec.task)
    seed = spec.template.seed
    if task.FITS:
        data = _data(spec.dataset)
        evidence = task.evidence(_restore(spec.model, data, desk, spec.device), data, seed=seed, device=spec.device)
    else:
        rivals = {name: build("method", need) for name, need in spec.task.needs.items()}
        evidence = task.evidence(build("method", spec.model.component), rivals, seed=seed, device=spec.device)
    metrics, failures = _measure(spec.metrics, evidence)
    files = evidence.artefacts() if hasattr(evidence, "artefacts") else {}
    return {
        **failures,
        "metrics": metrics,
        "artefacts": {name: desk.put(f"{spec.template.key}.{name}", content) for name, content in files.items()},
    }


def _measure(names: Sequence[str], evidence: Any) -> tuple[dict[str, Measurement], dict[str, Any]]:
    """Every metric's number; one that fails is its own cell's reason, and leaves the stage failed but the others there."""
    metrics: dict[str, Measurement] = {}
    failures: dict[str, Any] = {}
    for name in names:
        try:
            metrics[name] = contracts.measurement(f"metric {name!r}", build_metric(name).measure(evidence))
        except Exception as error:
            status, failure = describe(error)
            if status is Status.OUT_OF_MEMORY:
                raise
            reason = f"{status}: {failure['message'].strip() or failure['type']}"
            metrics[name] = Measurement(value=None, reason=reason)
            message = f"metric {name!r}: {failure['message'] or failure['type']}"
            failures = failures or {"status": status, "failure": Failure(**{**failure, "message": message})}
    return metrics, failures


def _data(component: Component | None) -> Any:
    assert component is not None, "a task that fits needs a data set"
    dataset: Any = build("dataset", component)
    name = component.use if not component.params else f"{component.use} {canonical(component.params)}"
    return _shelf.get(name, dataset.load)


def _restore(fitted: Fitted, data: Any, desk: Desk, device: str) -> nn.Module:
    """The model of a finished fit: its stored weights, checked against their digest, on the method's structure."""
    state = weights.read(desk.read(fitted.key, "weights"))
    needs = {name: _restore(need, data, desk, device) for name, need in fitted.needs.items()}
    method: Any = build("method", fitted.component)
    return contracts.loaded(f"method {fitted.component.use!r}", method.load(state, data, needs, device=device))
