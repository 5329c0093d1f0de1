"""What a profile lacks is told at once; what a suite knows of its paper's errata is shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from retable.bench.cli.main import main
from retable.bench.errors import OK, UNMEASURED

SUITE = """\
suite: tiny
title: Two rows
paper: None
arxiv: "0000.00000"
version: 1
profiles:
  mini: {repetitions: [0], limits: {timeout: 100 s, memory: 4 GB}}
  paper: {repetitions: [0, 1], seed: 42, device: cuda, limits: {timeout: 100 s, memory: 4 GB}}
datasets:
  images:
    mini: {use: digits, with: {size: 16}}
    paper: {use: imagenet, with: {root: nowhere, reference: null}}
methods:
  net: {use: sdt, with: {weights: {mini: null, paper: absent/sdt.pth}}}
tasks:
  classify: {use: classify}
  count: {use: count}
entries:
  - {name: row, label: Row, method: net, dataset: images, task: classify, metrics: [accuracy]}
  - {name: counted, label: Counted, method: net, dataset: images, task: count, metrics: [params]}
errata:
  - {sentence: The code reverses time., source: released code, effect: "mini: 2 points"}
  - {sentence: Nothing decays., source: released code}
recipes:
  - {rows: [row], source: released script, missing: [mosaic, "mixed precision"]}
  - {rows: ["*", "!row"], source: paper}
"""
SUITES = sorted((Path(__file__).parents[3] / "suites").glob("*.yaml"))
LARGEST_LOGITS = 2 * 2**30
"""Bytes that the logits of one pass may take: with their gradient and the softmax three times that."""


@pytest.fixture
def suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    (tmp_path / "tiny.yaml").write_text(SUITE)
    return tmp_path / "tiny.yaml"


def test_all_that_is_missing_is_told_at_once(suite: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", str(suite), "--json"]) == UNMEASURED
    found = json.loads(capsys.readouterr().out)
    sentences = " | ".join(found)
    for said in ("a CUDA device", "nowhere/train does not exist", "put the state dict sdt.pth there"):
        assert said in sentences
    assert found[next(s for s in found if "sdt.pth" in s)] == ["row"], "what is counted needs no weights"
    assert main(["doctor", str(suite), "--profile", "mini"]) == OK
    assert "nothing is missing" in capsys.readouterr().out


def test_errata_are_shown(suite: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(suite)]) == OK
    said = capsys.readouterr().out
    assert "The code reverses time." in said
    assert "effect: mini: 2 points" in said
    assert "effect: effect not measured" in said


def test_published_recipes_are_shown(suite: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(suite)]) == OK
    said = capsys.readouterr().out
    assert "  row\n    missing: mosaic; mixed precision\n    source: released script" in said
    assert "  counted\n    complete\n    source: paper" in said
    assert main(["show", str(suite), "--json"]) == OK
    assert [one["complete"] for one in json.loads(capsys.readouterr().out)["recipes"]] == [False, True]


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ('["*", "!row"]', '["*"]', "the row 'row' has a published recipe already"),
        ('["*", "!row"]', "[cuonted]", "no entry matches the row 'cuonted'; did you mean 'counted'?"),
        ("source: paper}", "from: paper}", "of 'recipes' of the suite has no key 'from'"),
    ],
)
def test_recipes_that_mean_nothing_are_refused(
    suite: Path, old: str, new: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    suite.write_text(SUITE.replace(old, new))
    assert main(["check", str(suite)]) != OK
    told = capsys.readouterr()
    assert sentence in told.out + told.err


@pytest.mark.parametrize("path", SUITES, ids=lambda path: path.stem)
def test_every_row_of_the_paper_says_how_near_its_training_comes(path: Path) -> None:
    from retable.bench.declare.reader import load_suite
    from retable.bench.registry import resolve

    paper = load_suite(path, "paper")
    told = {row for one in paper.recipes for row in one.rows}
    fitted = {
        entry.name: entry
        for entry in paper.entries
        if entry.method and entry.task and resolve("task", entry.task.use).FITS and entry.method.use != "hf-lm"
    }
    assert not fitted.keys() - told
    for entry in fitted.values():
        given = entry.method.params if entry.method.use == "aim" else {"weights": "none are trained"}
        if given.get("weights") is None:
            part = given.get("micro_batch") or given["batch_size"]
            assert 4 * part * 256 * 16384 <= LARGEST_LOGITS, f"{entry.name}: the logits of {part} images at once"


def test_a_published_seed_is_that_of_the_first_repetition(suite: Path) -> None:
    from retable.bench.declare.reader import load_suite

    paper, mini = load_suite(suite, "paper"), load_suite(suite, "mini")
    assert [case.seed for case in paper.cases("row")] == [42, 43]
    assert mini.cases("row")[0].seed != 42
