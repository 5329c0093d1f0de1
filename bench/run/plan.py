"""Plan: the cases of a suite as stages with keys, and which of them the store already holds."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from retable.bench import registry
from retable.bench.errors import BenchError
from retable.bench.judge.history import claims_of
from retable.bench.record import Record, Status, digest
from retable.bench.run.job import Job
from retable.bench.store.keys import (
    Memo,
    alone,
    case_ingredients,
    data_digest,
    differences,
    fit_ingredients,
    fits,
    numerics,
)
from retable.bench.store.sources import source_digest
from retable.bench.suite import Case, Component, Limits, Numerics

if TYPE_CHECKING:
    from retable.bench.store.store import Store


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """A method whose weights are (or will be) stored under `key`, with what it needs fitted before it."""

    component: Component
    key: str
    needs: Mapping[str, Fitted] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class StageSpec:
    """Everything a process needs to run one stage: plain data, so that it can be sent to a worker.

    `template` is the record without its outcome. A fit stage fits `model`, without a data set where it fits alone; an
    evaluation restores it (when its task works on fitted weights) and measures `metrics`. `data_digest` is that of the
    data set as it went into the key.
    """

    template: Record
    model: Fitted
    limits: Limits
    device: str
    dtype: str
    kernels: str
    numerics: Numerics = "native"
    dataset: Component | None = None
    data_digest: str | None = None
    task: Component | None = None
    metrics: tuple[str, ...] = ()
    offline: bool = False

    @property
    def name(self) -> str:
        case = f"{self.template.suite}/{self.template.entry}/{self.template.repetition}"
        return f"{case} {self.template.stage} {self.model.component.use}"

    @property
    def reads(self) -> tuple[str, ...]:
        """The keys of the fits whose weights it loads."""
        fits = _below(self.model) if self.template.stage == "fit" else [self.model, *_below(self.model)]
        return tuple(dict.fromkeys(fitted.key for fitted in fits if fitted.key))

    @property
    def components(self) -> list[tuple[registry.Kind, str]]:
        """Kind and name of all that it is made of."""
        named: list[tuple[registry.Kind, str]] = [
            ("method", fitted.component.use) for fitted in [self.model, *_below(self.model)]
        ]
        if self.dataset is not None:
            named.append(("dataset", self.dataset.use))
        if self.task is not None:
            named += [("task", self.task.use), *(("method", need.use) for need in self.task.needs.values())]
        named += [("metric", name.partition("[")[0]) for name in self.metrics]
        return list(dict.fromkeys(named))


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Stages by key in an order that respects their needs, and the key of each case."""

    stages: Mapping[str, StageSpec]
    cases: Mapping[str, str]
    cached: frozenset[str]

    @property
    def open_stages(self) -> list[StageSpec]:
        """What has to run: evaluations without a stored result, and the fits that those lack."""
        wanted: set[str] = set()
        waiting = [key for key in self.cases.values() if key not in self.cached]
        while waiting:
            key = waiting.pop()
            if key not in wanted:
                wanted.add(key)
                waiting += [need for need in self.stages[key].template.needs if need not in self.cached]
        return [stage for key, stage in self.stages.items() if key in wanted]

    @property
    def open_cases(self) -> list[str]:
        return [name for name, key in self.cases.items() if key not in self.cached]


def _below(fitted: Fitted) -> list[Fitted]:
    return [one for need in fitted.needs.values() for one in (need, *_below(need))]


def make_jobs(plan: Plan, *, avoid: Mapping[str, frozenset[str]] = MappingProxyType({})) -> list[Job]:
    """What has to run, as an executor takes it; `avoid` has the nodes that a stage must not run on, by its key."""
    stages = plan.open_stages
    keys = {stage.template.key for stage in stages}
    return [
        Job(
            key=stage.template.key,
            name=stage.name,
            needs=tuple(need for need in stage.template.needs if need in keys),
            reads=stage.reads,
            limits=stage.limits,
            template=stage.template,
            payload=stage,
            numerics=stage.numerics,
            gpus=int(stage.device.startswith("cuda")),
            sources=_sources(stage),
            avoid=avoid.get(stage.template.key, frozenset()),
            offline=stage.offline,
        )
        for stage in stages
    ]


def _sources(stage: StageSpec) -> dict[tuple[str, str], str]:
    """Digests of the components that are not Retable's own; whether those are the same is told by the whole of Retable."""
    found: dict[tuple[str, str], str] = {}
    for kind, name in stage.components:
        with suppress(BenchError):  # a broken one fails by itself, with its reason
            module = registry.resolve(kind, name).__module__
            if module.partition(".")[0] != "retable":
                found[kind, name] = source_digest(module)
    return found


def make_plan(cases: list[Case], store: Store, *, environment: str = "", offline: bool = False) -> Plan:
    """Stages for `cases`; a stage counts as cached when the store holds an `ok` record (and its weights) under its key."""
    stages: dict[str, StageSpec] = {}
    keys: dict[str, str] = {}
    memo: Memo = {}
    for case in cases:
        keys[case.name] = _add_case(case, stages, environment, offline, memo)
    return Plan(stages=stages, cases=keys, cached=frozenset(store.ok_keys(list(stages))))


def _add_case(case: Case, stages: dict[str, StageSpec], environment: str, offline: bool, memo: Memo) -> str:
    entry, profile = case.entry, case.suite.profile
    assert entry.method is not None
    assert entry.task is not None

    def stage(
        template: Record,
        model: Fitted,
        dataset: Component | None,
        task: Component | None = None,
        metrics: tuple[str, ...] = (),
    ) -> None:
        stages.setdefault(
            template.key,
            StageSpec(
                template=template,
                model=model,
                limits=profile.limits,
                device=profile.device,
                dtype=profile.dtype,
                kernels=profile.kernels,
                numerics=numerics(profile),
                dataset=dataset,
                data_digest=None if dataset is None else data_digest(dataset, memo),
                task=task,
                metrics=metrics,
                offline=offline,
            ),
        )

    def fit(component: Component) -> Fitted:
        needs = {name: fit(need) for name, need in component.needs.items()}
        ingredients = fit_ingredients(case, component, memo)
        fitted = Fitted(component=component, key=digest(ingredients), needs=needs)
        keys = tuple(need.key for need in needs.values())
        data = None if alone(component) else entry.dataset
        stage(_template(case, "fit", fitted.key, ingredients, keys, environment), fitted, data)
        return fitted

    ingredients = case_ingredients(case, memo)
    key = digest(ingredients)
    model = fit(entry.method) if fits(entry.task) else Fitted(component=entry.method, key="")
    needs = (model.key,) if model.key else ()
    template = _template(case, "evaluate", key, ingredients, needs, environment)
    stage(template, model, entry.dataset, entry.task, entry.metrics)
    return key


def _template(case: Case, stage: str, key: str, ingredients: dict, needs: tuple[str, ...], environment: str) -> Record:
    return Record(
        key=key,
        stage="fit" if stage == "fit" else "evaluate",
        suite=case.suite.name,
        entry=case.entry.name,
        profile=case.suite.profile.name,
        repetition=case.repetition,
        seed=case.seed,
        status=Status.INTERRUPTED,
        ingredients=ingredients,
        needs=needs,
        claims=claims_of(case.suite, case.entry.name) if stage == "evaluate" else None,
        environment=environment,
    )


def explain(stage: StageSpec, store: Store) -> str:
    """Why a stage is or is not taken from the store, in one line or a few."""
    key = stage.template.key
    if store.ok_keys([key]):
        return "cached"
    last = store.last(key)
    if last is not None:
        return f"runs: the last attempt ended as {last.status}"
    template = stage.template
    earlier = [
        record
        for record in store.records(template.suite, template.profile)
        if (record.entry, record.repetition, record.stage) == (template.entry, template.repetition, template.stage)
    ]
    if not earlier:
        return "runs: never ran before"
    changed = differences(earlier[-1].ingredients, template.ingredients)
    return "runs: changed since the last run: " + "; ".join(changed)
