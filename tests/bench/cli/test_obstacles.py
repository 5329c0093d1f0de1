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
"""


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


def test_a_published_seed_is_that_of_the_first_repetition(suite: Path) -> None:
    from retable.bench.declare.reader import load_suite

    paper, mini = load_suite(suite, "paper"), load_suite(suite, "mini")
    assert [case.seed for case in paper.cases("row")] == [42, 43]
    assert mini.cases("row")[0].seed != 42
