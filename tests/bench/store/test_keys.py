"""Keys: each ingredient changes them, nothing else does, and what changed can be named."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from retable.bench.record import digest
from retable.bench.run.plan import make_plan
from retable.bench.store.keys import case_ingredients, differences, fit_ingredients
from retable.bench.store.store import Store
from retable.bench.suite import Case, Component, Entry, Limits, Profile, Suite

MINI = Profile(name="mini", repetitions=(0, 1), limits=Limits(timeout=10, memory=2**30))


@pytest.fixture(autouse=True)
def _tiny_components() -> None:
    importlib.import_module("tests.bench.tiny")


def case(**changes: object) -> Case:
    """A case of the tiny world with some fields of its entry or profile changed."""
    entry = Entry(
        name="low",
        label="Low",
        method=Component(use="tiny", params={"level": 1.0}),
        dataset=Component(use="tiny-data"),
        task=Component(use="read-weight"),
        metrics=("weight",),
        repetitions=(0, 1),
    )
    profile = replace(
        MINI,
        **{name: changes.pop(name) for name in ("dtype", "device", "name", "limits", "numerics") if name in changes},
    )
    repetition = changes.pop("repetition", 0)
    entry = replace(entry, **changes)
    suite = Suite(
        name="tiny", title="", paper="", arxiv="", version=1, profile=profile, profiles=("mini",), entries=(entry,)
    )
    return Case(suite=suite, entry=entry, repetition=repetition)


def fit_key(case: Case) -> str:
    assert case.entry.method is not None
    return digest(fit_ingredients(case, case.entry.method))


def case_key(case: Case) -> str:
    return digest(case_ingredients(case))


@pytest.mark.parametrize(
    "changes",
    [
        {"method": Component(use="tiny", params={"level": 1.5})},
        {"dataset": Component(use="tiny-data", params={"size": 9})},
        {"repetition": 1},
        {"dtype": "bfloat16"},
        {"device": "cuda"},
        {"name": "paper"},
        {"numerics": "portable"},
    ],
)
def test_what_changes_the_weights_changes_both_keys(changes: dict[str, object]) -> None:
    assert fit_key(case(**changes)) != fit_key(case())
    assert case_key(case(**changes)) != case_key(case())


@pytest.mark.parametrize(
    "changes", [{"task": Component(use="read-weight", params={"scale": 2.0})}, {"metrics": ("weight", "nowhere")}]
)
def test_what_changes_only_the_evaluation_keeps_the_fit(changes: dict[str, object]) -> None:
    assert fit_key(case(**changes)) == fit_key(case())
    assert case_key(case(**changes)) != case_key(case())


@pytest.mark.parametrize(
    "changes",
    [
        {"label": "Another label"},
        {"limits": Limits(timeout=99, memory=2**31, threads=2)},
        {"device": "cpu:0"},
        {"method": Component(use="tiny", params={"level": 1, "noise": 0.01}, where="elsewhere:3")},
    ],
)
def test_what_cannot_change_a_result_changes_no_key(changes: dict[str, object]) -> None:
    assert case_key(case(**changes)) == case_key(case())


def test_a_metric_version_and_a_source_are_ingredients(monkeypatch: pytest.MonkeyPatch) -> None:
    from retable.bench.store import keys
    from tests.bench.tiny import WeightMetric

    before = case_key(case())
    monkeypatch.setattr(WeightMetric, "VERSION", "2")
    assert case_key(case()) != before
    monkeypatch.undo()

    def other_source(change: Callable[[str], bool]) -> str:
        monkeypatch.setattr(keys, "source_digest", lambda module: "changed" if change(module) else "same")
        return case_key(case())

    assert other_source(lambda module: True) != other_source(lambda module: False)


def test_missing_data_have_another_key_than_data_at_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    from retable.bench.errors import MissingDataError
    from tests.bench.tiny import TinyData

    def missing(self: TinyData) -> str:
        raise MissingDataError("put it there")

    there = case_key(case())
    monkeypatch.setattr(TinyData, "digest", missing)
    assert case_key(case()) != there


def test_needs_are_part_of_the_key() -> None:
    def on(level: float) -> Component:
        return Component(use="tiny-on-top", needs={"base": Component(use="tiny", params={"level": level})})

    assert fit_key(case(method=on(1.0))) != fit_key(case(method=on(2.0)))


def test_what_fits_alone_is_fitted_once_for_all_data_and_repetitions(tmp_path: Path) -> None:
    tuned = Component(use="tiny-on-top", needs={"base": Component(use="tiny-alone")})
    cases = [
        case(method=tuned, dataset=Component(use="tiny-data", params={"size": size}), repetition=repetition)
        for size in (8, 9)
        for repetition in (0, 1)
    ]
    stages = make_plan(cases, Store(tmp_path)).stages.values()
    fits = [stage for stage in stages if stage.template.stage == "fit"]
    assert sorted(stage.model.component.use for stage in fits) == ["tiny-alone", *["tiny-on-top"] * 4]
    assert [stage.dataset for stage in fits if stage.model.component.use == "tiny-alone"] == [None]


def test_differences_name_the_path() -> None:
    old, new = (
        case_ingredients(case()),
        case_ingredients(case(task=Component(use="read-weight", params={"scale": 2.0}))),
    )
    assert differences(old, new) == ["task.params.scale: 1.0 -> 2.0"]
    assert differences({"steps": [1, 2]}, {"steps": (1, 2)}) == []


def test_a_plan_shares_the_fit_between_evaluations(tmp_path) -> None:  # type: ignore[no-untyped-def]
    one, two = case(), case(task=Component(use="read-weight", params={"scale": 2.0}))
    two = replace(two, entry=replace(two.entry, name="double"))
    plan = make_plan([one, two], Store(tmp_path))
    stages = [stage.template.stage for stage in plan.open_stages]
    assert sorted(stages) == ["evaluate", "evaluate", "fit"]
    assert stages[0] == "fit"


def test_seeds_are_shared_by_rows_and_differ_between_repetitions() -> None:
    one, other = case(), case(method=Component(use="tiny", params={"level": 9.0}))
    assert one.seed == other.seed
    assert one.seed != case(repetition=1).seed


def test_published_weights_are_an_ingredient(monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.bench.tiny import Tiny

    keys = set()
    for held in ("old", "new"):
        monkeypatch.setattr(Tiny, "weights_digest", lambda self, held=held: held, raising=False)
        one = case()
        assert one.entry.method is not None
        keys |= {digest(fit_ingredients(one, one.entry.method)), digest(case_ingredients(one))}
    assert len(keys) == 4
