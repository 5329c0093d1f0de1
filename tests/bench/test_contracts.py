"""What a plug-in's component lacks or returns wrongly is one sentence with its name, and concerns its own case alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from retable.bench import registry
from tests.bench.conftest import Bench, Done

HEAD = """\
from dataclasses import dataclass
from typing import ClassVar
from retable import Measurement, register
from tests.bench.tiny import Tiny, WeightMetric

"""


def method(body: str, decorator: str = "@dataclass(frozen=True, kw_only=True)") -> str:
    return f'{HEAD}@register("method", "mine")\n{decorator}\nclass Mine(Tiny):\n{body}'


def metric(body: str) -> str:
    return (
        f'{HEAD}@register("metric", "mine")\n@dataclass(frozen=True, kw_only=True)\nclass Mine(WeightMetric):\n{body}'
    )


def run(bench: Bench, source: str, *, kind: str) -> Done:
    (bench.folder / "mine.py").write_text(source)
    if kind == "method":
        bench.edit("low: {use: tiny, with: {level: 1.0}}", "low: {use: mine}")
        bench.edit("{extends: low, with: {level: 2.0}}", "{use: tiny, with: {level: 2.0}}")
    else:
        bench.edit("metrics: [weight]", "metrics: [weight, mine]")
    return bench("run", str(bench.suite), "--jobs", "0", "--plugin", str(bench.folder / "mine.py"))


@pytest.mark.parametrize(
    ("kind", "source", "status", "sentence"),
    [
        ("method", method("    fit = None\n"), 2, "method 'mine' (Mine) has no method fit()"),
        ("method", method("    level: float = 1.0\n", "@dataclass"), 2, "cannot inherit non-frozen dataclass"),
        ("method", method("    def fit(self, *a, **k): return None\n"), 3, "fit() returned None instead of (module, log)"),
        ("method", method("    def fit(self, *a, **k): return 3.0, {}\n"), 3, "returned a float instead of a torch.nn.Module"),
        ("method", method("    def load(self, *a, **k): return None\n"), 3, "load() returned None instead of a torch.nn"),
        ("method", HEAD + '@register("methods", "mine")\nclass Mine: pass\n', 2, "no kind 'methods' of component; did you mean 'method'?"),
        ("method", HEAD + '@register("method", "mine")\nclass Mine: pass\n', 2, "method 'mine' (Mine) is not a dataclass"),
        ("metric", metric("    def measure(self, e): return 3.0\n"), 3, "measure() returned a float instead of a Measurement"),
        ("metric", metric("    VERSION = 1\n"), 2, "metric 'mine' (Mine) has no VERSION: ClassVar[str]"),
        ("metric", metric("    DIRECTION = 'up'\n"), 2, "has the DIRECTION 'up'; it is one of 'higher', 'lower', 'none'"),
        ("metric", HEAD.replace("Tiny, ", "") + '@register("metric", "accuracy")\n@dataclass(frozen=True)\nclass A: pass\n', 2, "'accuracy' is there already"),
    ],
)  # fmt: skip
def test_a_broken_contract_is_one_sentence(bench: Bench, kind: str, source: str, status: int, sentence: str) -> None:
    done = run(bench, source, kind=kind)
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert done.returncode == status


def test_one_metric_that_fails_is_its_own_cell_and_runs_again(bench: Bench) -> None:
    broken = metric("    def measure(self, e): raise ValueError('no such thing')\n")
    done = run(bench, broken, kind="metric")
    assert done.returncode == 3
    plugin = ["--plugin", str(bench.folder / "mine.py")]
    cells = bench.json("table", str(bench.suite), *plugin)[0]["rows"][0]["cells"]
    assert cells["weight"]["value"] == pytest.approx(1.0, abs=0.1)
    records = bench.json("show", "tiny/low", *plugin)
    evaluation = next(one for one in records if one["stage"] == "evaluate")
    assert evaluation["metrics"]["mine"]["reason"] == "failed: no such thing"
    again = bench("run", str(bench.suite), "--jobs", "0", *plugin)
    assert again.returncode == 3, "a failure is never taken from the cache"
    (bench.folder / "mine.py").write_text(metric("    pass\n"))
    assert bench("run", str(bench.suite), "--jobs", "0", *plugin).returncode == 0


def test_a_built_in_is_replaced_only_by_who_says_so() -> None:
    from tests.bench.tiny import WeightMetric

    with pytest.raises(registry.BenchError, match="take another name"):
        registry.register("metric", "accuracy")(WeightMetric)
    before = dict(registry._registered["metric"])
    try:
        registry.register("metric", "accuracy", replace=True)(WeightMetric)
        assert registry.resolve("metric", "accuracy") is WeightMetric
    finally:
        registry._registered["metric"] = before


def test_every_built_in_is_found_in_its_own_file_and_can_be_used() -> None:
    from retable.bench.contracts import usable

    for kind in registry.KINDS:
        assert registry.built_in(kind)
        for name in registry.built_in(kind):
            component = registry.resolve(kind, name)
            assert name == component.NAME  # type: ignore[attr-defined]
            usable(kind, name, component)


def test_a_component_is_added_by_one_file_in_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "bench" / "metrics" / "deep"
    folder.mkdir(parents=True)
    (folder / "own.py").write_text('class Other:\n    pass\n\n\nclass Own:\n    NAME: ClassVar[str] = "own"\n')
    monkeypatch.setattr(registry, "__file__", str(tmp_path / "bench" / "registry.py"))
    monkeypatch.setitem(registry._FOLDERS, "metric", ("bench/metrics", "**/*.py"))  # type: ignore[arg-type]
    assert registry._declared("metric") == {"own": "retable.bench.metrics.deep.own:Own"}
