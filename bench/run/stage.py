"""run_stage: a stage's specification in, its record out. A pure function of the specification and the stored weights."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retable.bench import contracts, registry
from retable.bench.declare.params import build, build_metric
from retable.bench.probes.memory import PeakMemory
from retable.bench.record import Artefact, Failure, Measurement, Record, Status, canonical
from retable.bench.run.numerics import establish
from retable.bench.run.plan import Fitted, StageSpec
from retable.bench.run.pulse import FOLDER, beating
from retable.bench.run.seeds import seeded
from retable.bench.run.watch import reading, unkeyed
from retable.bench.run.worker import describe
from retable.bench.store.store import Store
from retable.bench.suite import Component

if TYPE_CHECKING:
    from torch import Tensor, nn


def run_stage(spec: StageSpec) -> Record:
    """Fit or evaluate; exceptions pass through (the executor turns them into records of failure)."""
    _prepare_process(spec)
    started, cpu_started = time.perf_counter(), time.process_time()
    backends = registry.kernels()
    chosen = backends.using(spec.kernels)
    beats = beating(Path(spec.store) / FOLDER, spec.template.key)
    with (
        PeakMemory() as memory,
        seeded(spec.template.seed),
        chosen,
        backends.observe() as ran,
        reading() as read,
        beats,
    ):
        outcome = _fit(spec) if spec.template.stage == "fit" else _evaluate(spec)
    timings = {"wall": time.perf_counter() - started, "cpu": time.process_time() - cpu_started}
    timings.update(outcome.pop("timings", {}))
    return replace(
        spec.template,
        timings=timings,
        kernels={operator: sorted(names) for operator, names in sorted(ran.items())},
        unkeyed=unkeyed(_modules(spec), read, [Path(spec.store), Path(os.environ.get("BENCH_DATA", "data"))]),
        memory={} if memory.bytes is None else {"peak_resident": memory.bytes},
        created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        **{"status": Status.OK, **outcome},
    )


def _modules(spec: StageSpec) -> list[str]:
    """Where the components of a stage are defined."""
    named: list[tuple[registry.Kind, str]] = [("method", spec.model.component.use)]
    if spec.dataset is not None:
        named.append(("dataset", spec.dataset.use))
    if spec.task is not None:
        named.append(("task", spec.task.use))
    named += [("metric", name.partition("[")[0]) for name in spec.metrics]
    return [registry.resolve(kind, name).__module__ for kind, name in named]


def _prepare_process(spec: StageSpec) -> None:
    establish(spec.numerics)
    import torch

    torch.set_num_threads(spec.limits.threads)
    torch.use_deterministic_algorithms(True)
    if spec.offline:
        from retable.bench.run.offline import refuse_network

        refuse_network()
    if spec.device.startswith("cuda") and not torch.cuda.is_available():
        from retable.bench.errors import MissingDataError

        raise MissingDataError(f"profile {spec.template.profile!r} needs a CUDA device and torch sees none")


def _fit(spec: StageSpec) -> dict[str, Any]:
    store = Store(spec.store)
    data = None if spec.dataset is None else _data(spec.dataset)
    method: Any = build("method", spec.model.component)
    needs = {name: _restore(need, data, store, spec.device) for name, need in spec.model.needs.items()}
    who = f"method {spec.model.component.use!r}"
    model, log = contracts.fitted(who, method.fit(data, needs, seed=spec.template.seed, device=spec.device))
    return {"log": log, "artefacts": {"weights": _save_weights(store, spec.model.key, model)}}


def _evaluate(spec: StageSpec) -> dict[str, Any]:
    assert spec.task is not None
    store = Store(spec.store)
    task: Any = build("task", spec.task)
    seed = spec.template.seed
    if task.FITS:
        data = _data(spec.dataset)
        evidence = task.evidence(_restore(spec.model, data, store, spec.device), data, seed=seed, device=spec.device)
    else:
        rivals = {name: build("method", need) for name, need in spec.task.needs.items()}
        evidence = task.evidence(build("method", spec.model.component), rivals, seed=seed, device=spec.device)
    metrics, failures = _measure(spec.metrics, evidence)
    files = evidence.artefacts() if hasattr(evidence, "artefacts") else {}
    return {
        **failures,
        "metrics": metrics,
        "artefacts": {
            name: store.put_artefact(f"{spec.template.key}.{name}", content) for name, content in files.items()
        },
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
    return _load_data(component.use, canonical(component.params))


@lru_cache(maxsize=2)
def _load_data(use: str, params: str) -> Any:
    """A loaded data set; kept, because the cases that a worker gets in a row mostly share it."""
    import json

    dataset: Any = build("dataset", Component(use=use, params=json.loads(params)))
    return dataset.load()


def _save_weights(store: Store, key: str, model: nn.Module) -> Artefact:
    from safetensors.torch import save

    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    return store.put_artefact(f"{key}.safetensors", save(state))


def _restore(fitted: Fitted, data: Any, store: Store, device: str) -> nn.Module:
    """The model of a finished fit: its stored weights, checked against their digest, on the method's structure."""
    from safetensors.torch import load

    record = store.get(fitted.key)
    if record is None:
        raise LookupError(f"the weights of {fitted.component.use} ({fitted.key[:12]}) are not in the store")
    state: dict[str, Tensor] = load(store.read_artefact(record.artefacts["weights"]))
    needs = {name: _restore(need, data, store, device) for name, need in fitted.needs.items()}
    method: Any = build("method", fitted.component)
    return contracts.loaded(f"method {fitted.component.use!r}", method.load(state, data, needs, device=device))
