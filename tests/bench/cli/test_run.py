"""`bench run` from outside: what is run, what is cached, how it fails, what its exit status says."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench.conftest import Bench

IN_PROCESS = ("--jobs", "0")


def executed(bench: Bench, *arguments: str) -> list[str]:
    """Entries whose fit ran, in order, counted by the method itself."""
    log = Path(bench.folder / "count")
    log.write_text("")
    bench.environment["TINY_COUNT"] = str(log)
    bench("run", "suites/tiny.yaml", *IN_PROCESS, *arguments)
    return log.read_text().split()


def test_run_prints_the_table_and_the_verdicts(bench: Bench) -> None:
    done = bench("run", "suites/tiny.yaml", *IN_PROCESS)
    assert done.returncode == 0, done.stderr
    for expected in ("High", "Cited", "3.5", "not found", "high-beats-low", "reproduced", "mini"):
        assert expected in done.stdout


def test_workers_and_this_process_give_the_same_numbers(bench: Bench) -> None:
    bench("run", "suites/tiny.yaml", *IN_PROCESS, "--store", "one")
    bench("run", "suites/tiny.yaml", "--jobs", "2", "--store", "two")
    one, two = (bench.json("table", "suites/tiny.yaml", "--store", store) for store in ("one", "two"))
    assert one == two


def test_the_second_run_executes_nothing(bench: Bench) -> None:
    assert len(executed(bench)) == 6
    assert executed(bench) == []
    again = bench("run", "suites/tiny.yaml", *IN_PROCESS)
    assert "0 cases executed" in again.stderr + again.stdout


def test_only_and_seeds_choose_cases(bench: Bench) -> None:
    assert executed(bench, "--only", "lo*", "--seeds", "1") == ["1.0"]
    assert executed(bench, "--only", "lo*", "--seeds", "0,2") == ["1.0"]


def test_only_without_a_match_is_a_usage_error(bench: Bench) -> None:
    done = bench("run", "suites/tiny.yaml", "--only", "nothing")
    assert done.returncode == 2
    assert "no entry" in done.stderr
    assert "Traceback" not in done.stderr


def test_changed_parameter_runs_only_what_depends_on_it(bench: Bench) -> None:
    executed(bench)
    bench.edit("{level: 2.0}", "{level: 2.5}")
    assert executed(bench) == ["2.5"] * 3


def test_changed_metric_or_task_does_not_refit(bench: Bench) -> None:
    executed(bench)
    bench.edit("metrics: [weight]", "metrics: [weight, nowhere]")
    bench.edit("read: {use: read-weight}", "read: {use: read-weight, with: {scale: 2.0}}")
    assert executed(bench) == []
    row = bench.json("table", "suites/tiny.yaml")[0]["rows"][0]
    assert row["cells"]["weight"]["value"] == pytest.approx(2.0, abs=0.1)


def test_yaml_style_does_not_change_keys(bench: Bench) -> None:
    executed(bench)
    bench.edit("low: {use: tiny, with: {level: 1.0}}", "low:\n    with:\n      level: 1e0\n    use: tiny")
    assert executed(bench) == []


def test_explain_names_the_ingredient_that_changed(bench: Bench) -> None:
    executed(bench)
    bench.edit("{level: 2.0}", "{level: 2.5}")
    done = bench("run", "suites/tiny.yaml", "--dry-run", "--explain")
    assert "method.params.level: 2.0 -> 2.5" in done.stdout
    assert "cached" in done.stdout
    assert done.returncode == 0


def test_dry_run_runs_nothing(bench: Bench) -> None:
    assert executed(bench, "--dry-run") == []
    assert not (bench.folder / "results").exists()


@pytest.mark.parametrize(
    ("behaviour", "status", "message"),
    [("raises", "failed", "a method's own mistake"), ("missing", "missing", "put them under data/tiny")],
)
def test_failures_are_shown_retried_and_never_cached(bench: Bench, behaviour: str, status: str, message: str) -> None:
    bench.edit("with: {level: 2.0}", f"with: {{level: 2.0, behaviour: {behaviour}}}")
    done = bench("run", "suites/tiny.yaml", *IN_PROCESS)
    assert done.returncode == 3
    assert message in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    shown = bench("show", "tiny/high")
    assert status in shown.stdout
    assert message in shown.stdout
    bench.environment["TINY_FIXED"] = "1"
    assert bench("run", "suites/tiny.yaml", *IN_PROCESS).returncode == 0


def test_a_dead_worker_fails_its_case_and_the_others_go_on(bench: Bench) -> None:
    bench.edit("with: {level: 2.0}", "with: {level: 2.0, behaviour: dies}")
    done = bench("run", "suites/tiny.yaml", "--jobs", "2")
    assert done.returncode == 3
    rows = {row["entry"]: row for row in bench.json("table", "suites/tiny.yaml")[0]["rows"]}
    assert rows["low"]["cells"]["weight"]["value"] == pytest.approx(1.0, abs=0.05)
    assert rows["high"]["cells"]["weight"]["value"] is None


def test_a_missing_value_is_never_zero(bench: Bench) -> None:
    bench.edit("metrics: [weight]", "metrics: [weight, nowhere]")
    bench.edit("columns: [", "columns: [{label: Joules, metric: nowhere, show: measured}, ")
    done = bench("run", "suites/tiny.yaml", *IN_PROCESS)
    assert "no energy counter on this machine" in done.stdout
    row = bench.json("table", "suites/tiny.yaml")[0]["rows"][0]
    assert row["cells"]["nowhere"]["value"] is None


def test_a_need_is_fitted_once_and_used(bench: Bench) -> None:
    bench.edit(
        "  high: {extends: low, with: {level: 2.0}}",
        "  high: {use: tiny-on-top, with: {level: 2.0}, needs: {base: low}}",
    )
    assert sorted(executed(bench)) == ["1.0"] * 3 + ["2.0"] * 3
    value = bench.json("table", "suites/tiny.yaml")[0]["rows"][1]["cells"]["weight"]["value"]
    assert value == pytest.approx(3.0, abs=0.1)


def test_runs_do_not_disturb_the_random_state_of_the_process() -> None:
    import random

    import numpy as np
    import torch

    from retable.bench.run.seeds import seeded

    def state() -> tuple[object, ...]:
        return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()

    before = state()
    with seeded(5):
        first = (random.random(), float(np.random.rand()), torch.rand(1).item())
    assert state() == before
    with seeded(5):
        assert first == (random.random(), float(np.random.rand()), torch.rand(1).item())


def test_a_method_that_does_not_import_fails_only_its_own_cases(bench: Bench) -> None:
    (bench.folder / "torn.py").write_text("import no_such_library\n")
    plugin = bench.folder / "adds_torn.py"
    plugin.write_text(
        "from unittest.mock import patch\nfrom retable.bench import registry\n"
        "own = registry._installed\n"
        "registry._installed = lambda: {**own(), 'method': {**own()['method'], 'torn': 'torn:Torn'}}\n"
    )
    bench.edit("  high: {extends: low", "  torn: {use: torn, with: {any: 1}}\n  high: {extends: low")
    bench.edit("  - {name: cited", "  - {name: torn, label: Torn, method: torn}\n  - {name: cited")
    done = bench("run", str(bench.suite), "--jobs", "1", "--plugin", str(plugin))
    assert done.returncode == 3
    assert "tiny/torn: failed: " in done.stderr
    assert "method 'torn' cannot be loaded from torn:Torn: No module named 'no_such_library'" in done.stderr
    table = bench.json("table", str(bench.suite), "--plugin", str(plugin))[0]
    cells = {row["entry"]: row["cells"]["weight"] for row in table["rows"]}
    assert cells["low"]["value"] is not None
    assert cells["torn"]["value"] is None
    assert "no_such_library" in cells["torn"]["reason"]
    checked = bench("check", str(bench.suite), "--plugin", str(plugin))
    assert checked.returncode == 2
    assert "tiny.yaml:" in checked.stderr
    (bench.folder / "torn.py").write_text(
        "from dataclasses import dataclass\nfrom retable.bench.registry import resolve\n\n\n"
        "@dataclass(frozen=True, kw_only=True)\nclass Torn(resolve('method', 'tiny')):\n    any: int = 0\n"
    )
    mended = bench("run", str(bench.suite), "--jobs", "1", "--plugin", str(plugin))
    assert mended.returncode == 0, mended.stderr
    assert "3 cases executed, 6 cached" in mended.stderr
