"""What a run will take is told before it starts, from earlier records of the same, else from what is declared."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from retable.bench.cli.amounts import amounts, summed
from retable.bench.record import Artefact, Record, Status
from retable.bench.run.forecast import LOADED, TRAINED, forecasts, total
from retable.bench.run.plan import Fitted, StageSpec
from retable.bench.suite import Component, Limits
from tests.bench.conftest import Bench
from tests.bench.fake_runs import template

LIMITS = Limits(timeout=3600.0, memory=2 << 30)


def ran(seconds: float, memory: int, disk: int, **changes: Any) -> Record:
    files = {"weights": Artefact(path="w", sha256="0" * 64, bytes=disk)}
    given = {"status": Status.OK, "timings": {"wall": seconds}, "memory": {"peak_resident": memory}, "artefacts": files}
    return template("row", **{**given, "ingredients": made_of(1.0), **changes})


def made_of(level: float) -> dict[str, Any]:
    return {"method": {"use": "tiny", "params": {"level": level}, "source": "changes with the code"}}


def stage(level: float, component: Component | None = None, **changes: Any) -> StageSpec:
    component = component or Component(use="tiny", params={"level": level})
    return StageSpec(
        template=template("row", key=f"new {level}", ingredients=made_of(level), **changes),
        model=Fitted(component=component, key=""),
        limits=LIMITS,
        device="cpu",
        dtype="float32",
        kernels="auto",
    )


def test_the_same_at_other_seeds_tells() -> None:
    failed = ran(9999.0, 1 << 40, 1 << 40, status=Status.FAILED)
    known = [ran(10.0, 500, 7_000_000), ran(30.0, 900, 9_000_000), ran(20.0, 700, 8), failed]
    found = forecasts([stage(1.0)], known)["new 1.0"]
    assert (found.seconds, found.memory, found.disk, found.bound) == (20.0, 900, 9_000_000, False)
    assert found.source == "3 earlier runs of the same"
    assert (
        amounts(replace(found, memory=900_000_000)) == "about 20 s, 900 MB, 9 MB on disk (3 earlier runs of the same)"
    )


def test_a_row_that_was_changed_is_told_by_what_it_was() -> None:
    found = forecasts([stage(2.0)], [ran(10.0, 500, 7)])["new 2.0"]
    assert found.seconds == 10.0
    assert found.source == "1 earlier run of this row, before a change"


def test_what_never_ran_is_bounded_by_its_limit_and_the_size_of_its_weights() -> None:
    torch = pytest.importorskip("torch")
    from retable.bench.declare.params import build

    small = {"T": 1, "dim": 16, "depth": 1, "heads": 2}
    with torch.device("meta"):
        model = build("method", Component(use="sdt", params=small)).build(None)
    size = sum(tensor.numel() * tensor.element_size() for tensor in (*model.parameters(), *model.buffers()))
    for params, copies in ((small, TRAINED), ({**small, "weights": "theirs.pth"}, LOADED)):
        found = forecasts([stage(3.0, Component(use="sdt", params=params), stage="fit")], [])["new 3.0"]
        assert (found.seconds, found.memory, found.disk, found.bound) == (3600.0, copies * size, size, True)
    nothing = forecasts([stage(4.0, Component(use="no such method"))], [])["new 4.0"]
    assert (nothing.memory, nothing.source) == (None, "limits")
    assert "memory unknown" in amounts(nothing)


def test_times_and_files_add_up_and_memory_does_not() -> None:
    known = forecasts([stage(1.0)], [ran(10.0, 5_000_000, 7_000_000)])["new 1.0"]
    unknown = forecasts([stage(4.0, Component(use="no such method"))], [])["new 4.0"]
    found = total([known, known, unknown])
    assert (found.seconds, found.memory, found.disk) == (20.0, 5_000_000, 14_000_000)
    assert summed([known, known, unknown]) == (
        "in all: about 20 s one after the other, 1 stage of unknown time, up to their limits, 5 MB at a time, 14 MB on disk"
    )


def test_a_dry_run_tells_it_for_every_stage_and_in_all(bench: Bench) -> None:
    before = bench("run", "tiny", "--dry-run").stdout
    assert before.count("at most 60 s") == 12, "two rows, three seeds, to fit and to measure"
    assert "12 stages of unknown time" in before
    bench("run", "tiny", "--jobs", "0", "--quiet")
    again = bench("run", "tiny", "--dry-run", "--seeds", "5,6").stdout
    assert again.count("3 earlier runs of the same") == 8
    assert "in all: about" in again
    assert "unknown" not in again
    bench.edit("level: 2.0", "level: 3.0")
    assert "3 earlier runs of this row, before a change" in bench("run", "tiny", "--dry-run").stdout
