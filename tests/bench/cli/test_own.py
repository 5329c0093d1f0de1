"""A user's own work: suites without a paper, files that `bench new` writes, parameters set by a command, rows compared."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench.conftest import Bench

OWN = """\
suite: own
title: My own
version: 1
profiles:
  mini: {repetitions: [0, 1, 2], limits: {timeout: 60 s, memory: 4 GB}}
methods:
  low: {use: tiny, with: {level: 1.0}}
  high: {extends: low, with: {noise: 0.02}}
datasets: {data: {use: tiny-data}}
tasks: {read: {use: read-weight}}
defaults: {dataset: data, task: read, metrics: [weight]}
entries:
  - {name: low, method: low}
  - {name: high, method: high}
claims:
  - {name: equal, text: Both weigh the same, ratio: {metric: weight, of: low, to: high, equals: 1, tolerance: 50 %}}
"""


@pytest.fixture
def own(bench: Bench) -> Bench:
    (bench.folder / "suites" / "own.yaml").write_text(OWN)
    return bench


def test_a_suite_without_a_paper_prints_a_table_of_what_it_measures(own: Bench) -> None:
    done = own("run", "own", "--jobs", "0", "--quiet")
    assert done.returncode == 0, done.stderr
    caption, _, head, *_ = done.stdout.splitlines()
    assert caption == "My own (suite own, profile mini)"
    assert head.split() == ["Model", "weight"]
    assert "Both weigh the same\n" in done.stdout
    for verb in (["list"], ["check"], ["report", "own"], ["table", "own", "--format", "latex"], ["gate", "own"]):
        told = own(*verb)
        assert told.returncode == 0, told.stderr
        assert "arXiv )" not in told.stdout
        assert "()" not in told.stdout
    page = (own.folder / "reports" / "out" / "own" / "index.html").read_text()
    assert "arxiv.org" not in page


def test_columns_and_tables_that_hold_nothing_are_not_printed(own: Bench) -> None:
    tables = """\
tables:
  - {name: all, title: All, columns: [{label: Weight, metric: weight}, {label: Other, metric: params, show: both}]}
  - {name: none, title: Nothing at all, rows: [cited], columns: [{label: Other, metric: params, show: measured}]}
"""
    suite = own.folder / "suites" / "own.yaml"
    rows = "  - {name: cited, reported: {params: 3M}}\n"
    suite.write_text(OWN.replace("claims:", f"{rows}claims:") + tables)
    assert own("run", "own", "--jobs", "0", "--quiet").returncode == 0
    printed = own("table", "own").stdout
    assert "Nothing at all" not in printed
    assert printed.splitlines()[2].split() == ["Model", "Weight", "Other", "(paper)"]
    assert "[1]" not in printed


def test_only_limits_what_is_printed(own: Bench) -> None:
    own("run", "own", "--jobs", "0", "--quiet")
    done = own("run", "own", "--jobs", "0", "--quiet", "--only", "low")
    assert "high" not in done.stdout
    assert "Verdicts" not in done.stdout


def test_a_parameter_that_a_command_sets_is_in_the_key_and_in_the_table(own: Bench) -> None:
    own("run", "own", "--jobs", "0", "--quiet")
    set_ = ("--set", "method.low.level=3.0")
    done = own("run", "own", "--jobs", "0", "--quiet", *set_)
    assert "2 cases executed" not in done.stderr.replace("4 cases", "")
    assert "6 cases executed, 0 cached" in done.stderr
    assert "set by the command: method.low.level=3.0" in done.stdout
    assert "6 cached" in own("run", "own", "--jobs", "0", "--quiet", *set_).stderr
    assert "6 cached" in own("run", "own", "--jobs", "0", "--quiet").stderr
    changed = own.json("table", "own", *set_)[0]["rows"]
    assert [round(row["cells"]["weight"]["value"]) for row in changed] == [3, 3]  # the variant inherits it
    (fit,) = [one for one in own.json("show", "own/low/mini/0") if one["stage"] == "fit"]
    assert fit["ingredients"]["method"]["params"]["level"] in (1.0, 3.0)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("method.lwo.level=1", "did you mean 'low'"),
        ("method.low.levle=1", "level"),
        ("method.low.level=much", "level"),
        ("method.low.level", "KIND.NAME.PARAMETER=VALUE"),
        ("metric.low.level=1", "KIND.NAME.PARAMETER=VALUE"),
        ("method.low.level=[", "not valid YAML"),
    ],
)
def test_an_override_that_sets_nothing_is_one_sentence(own: Bench, text: str, told: str) -> None:
    done = own("run", "own", "--jobs", "0", "--set", text)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert told in done.stderr


def test_what_a_command_set_is_not_frozen(own: Bench) -> None:
    done = own("freeze", "own", "--set", "method.low.level=3.0")
    assert done.returncode == 2
    assert "suite file" in done.stderr


def test_rows_are_compared_in_pairs(bench: Bench) -> None:
    assert bench("compare", "tiny/low", "high").returncode == 3
    bench("run", "tiny", "--jobs", "0", "--quiet")
    (pair,) = bench.json("compare", "tiny/low", "high")["metrics"]
    assert (pair["metric"], pair["seeds"], pair["decided"]) == ("weight", 3, "higher")
    # The same seeds draw the same noise: in pairs it cancels, and the interval is as narrow as rounding.
    assert pair["difference"]["mean"] == pytest.approx(1.0)
    assert pair["difference"]["high"] - pair["difference"]["low"] < 1e-6
    text = bench("compare", "tiny/low", "tiny/high").stdout
    assert "90 % intervals" in text
    assert "higher" in text


@pytest.mark.parametrize(
    ("rows", "told"),
    [(("low", "high"), "SUITE/ROW"), (("tiny/lwo", "high"), "did you mean 'low'"), (("tiny/low", "cited"), "cited")],
)
def test_what_cannot_be_compared_is_one_sentence(bench: Bench, rows: tuple[str, str], told: str) -> None:
    done = bench("compare", *rows)
    assert done.returncode == 2
    assert told in done.stderr


@pytest.mark.parametrize(
    ("kind", "row"), [("suite", "twin"), ("method", "mine"), ("dataset", "twin"), ("metric", "twin"), ("task", "twin")]
)
def test_what_is_written_runs(tmp_path: Path, bench: Bench, kind: str, row: str) -> None:
    written = bench.json("new", kind, "my-own.1")
    files = [bench.folder / path for path in written["files"]]
    assert all(path.is_file() for path in files)
    _, *command = written["run"].split()
    done = bench(*command, "--only", row, "--seeds", "1", "--jobs", "0", "--quiet", "--json")
    assert done.returncode == 0, done.stderr
    import json

    (shown,) = json.loads(done.stdout)["tables"][0]["rows"]
    values = {metric: cell["value"] for metric, cell in shown["cells"].items()}
    assert all(value is not None for value in values.values()), values
    assert 30 < values["accuracy"] <= 100
    again = bench("new", kind, "my-own.1")
    assert again.returncode == 2
    assert "already" in again.stderr
