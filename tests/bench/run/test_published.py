"""Weights that are here and are not what was published are refused by name before anything runs."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from retable import whole
from retable.bench.cli.main import main
from retable.bench.declare.reader import check_suite, load_suite
from retable.bench.declare.weights import places
from retable.bench.errors import USAGE, DeclarationError
from retable.bench.store.keys import case_key

PROJECT = Path(__file__).parents[3]
SHIPPED = sorted((PROJECT / "suites").glob("*.yaml"))
SUITE = """\
suite: mine
title: One row of published weights, one that trains
version: 1
profiles:
  mini: {repetitions: [0], limits: {timeout: 100 s, memory: 4 GB}}
datasets:
  images: {use: digits, with: {size: 16}}
methods:
  published: {use: sdt, with: {weights: theirs/sdt.pth}}
  trained: {use: sdt}
tasks:
  classify: {use: classify}
entries:
  - {name: published, method: published, dataset: images, task: classify, metrics: [accuracy]}
  - {name: trained, method: trained, dataset: images, task: classify, metrics: [accuracy]}
"""
FACTS = "weights:\n  theirs/sdt.pth: {address: their page, file: best.pth, "


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    (tmp_path / "theirs").mkdir()
    (tmp_path / "mine.yaml").write_text(SUITE)
    torch.save({"a": torch.ones(3)}, tmp_path / "theirs" / "sdt.pth")
    return tmp_path


def facts(folder: Path, said: str) -> None:
    (folder / "mine.yaml").write_text(SUITE + FACTS + said + "}\n")


def refused(capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["run", "mine.yaml", "--jobs", "0", "--quiet"]) == USAGE
    assert not Path("results").exists(), "nothing has begun"
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ("bytes: 7", r"sdt.pth has [0-9,]+ bytes and not the 7 that its authors state"),
        (
            'sha256: "0123456789"',
            r"sdt.pth is another file: its SHA-256 begins with [0-9a-f]{10} and not with 0123456789",
        ),
    ],
)
def test_another_file_than_the_published_one(
    folder: Path, said: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    facts(folder, said)
    error = refused(capsys)
    assert re.search(sentence, error), error
    assert "published as best.pth at their page" in error
    assert "(row published)" in error


def test_the_published_file_is_taken(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = (folder / "theirs" / "sdt.pth").read_bytes()
    facts(folder, f'bytes: {len(content)}, sha256: "{sha256(content).hexdigest()[:8]}", licence: MIT')
    assert main(["run", "mine.yaml", "--dry-run"]) == 0
    assert "2 cases" in capsys.readouterr().out


def halved(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (halved, "has no end"),
        (lambda path: path.write_bytes(b""), "is empty"),
        (lambda path: path.write_bytes(b"\n<!DOCTYPE html><html>Too many users"), "is a web page"),
        (lambda path: path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0"), "Git LFS"),
        (lambda path: path.with_name(f"{path.name}.aria2").write_bytes(b""), "still being fetched"),
    ],
)
def test_half_a_download(
    folder: Path, spoil: Callable[[Path], object], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(folder / "theirs" / "sdt.pth")
    assert sentence in refused(capsys)
    main(["doctor", "mine.yaml", "--profile", "mini"])
    assert sentence in capsys.readouterr().out
    assert main(["run", "mine.yaml", "--dry-run", "--only", "trained"]) == 0


def test_a_shard_is_missing_or_short(tmp_path: Path) -> None:
    names = ["model-1-of-2.safetensors", "model-2-of-2.safetensors"]
    for name in names:
        save_file({name: torch.ones(4)}, tmp_path / name)
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {name: name for name in names}}))
    assert whole.lacking(tmp_path) == ""
    halved(tmp_path / names[1])
    assert "half a download" in whole.lacking(tmp_path)
    (tmp_path / names[1]).unlink()
    assert f"{names[1]} is missing" in whole.lacking(tmp_path)


@pytest.mark.parametrize("content", [b"\x00", struct.pack("<Q", 1 << 60), struct.pack("<Q", 2) + b"[]", b"x" * 40])
def test_no_safetensors(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.safetensors").write_bytes(content)
    assert whole.lacking(tmp_path / "a.safetensors")


def test_a_place_that_no_method_loads_is_a_mistake(folder: Path) -> None:
    (folder / "mine.yaml").write_text(SUITE + "weights:\n  theirs/stt.pth: {address: their page}\n")
    with pytest.raises(DeclarationError, match=r"mine.yaml:17: no method .* loads .*; did you mean .theirs/sdt.pth"):
        check_suite(folder / "mine.yaml")


def test_what_is_known_of_weights_belongs_to_no_key(folder: Path) -> None:
    before = [case_key(case) for case in load_suite("mine.yaml").cases()]
    facts(folder, "bytes: 7")
    assert [case_key(case) for case in load_suite("mine.yaml").cases()] == before


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_all_published_files_of_the_suites_are_listed(path: Path) -> None:
    suite = load_suite(path, "paper")
    named = set(places(entry.method for entry in suite.entries if entry.method))
    files = {place for place in named if Path(place).suffix in (*whole.TENSORS, ".txt") or "/" in place}
    assert files <= set(suite.weights)
