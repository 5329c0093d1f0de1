"""A tiny suite in a folder of its own, and `bench` called as a user calls it."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from retable.bench import registry
from retable.bench.cli.main import main

TINY = Path(__file__).with_name("tiny.py")

SUITE = """\
suite: tiny
title: A tiny suite
paper: None
arxiv: "0000.00000"
version: 1
profiles:
  mini: {repetitions: [0, 1, 2], limits: {timeout: 60 s, memory: 4 GB, threads: 1}}
  paper: {repetitions: [0], limits: {timeout: 60 s, memory: 4 GB, threads: 1}}
methods:
  low: {use: tiny, with: {level: 1.0}}
  high: {extends: low, with: {level: 2.0}}
datasets:
  data: {use: tiny-data}
tasks:
  read: {use: read-weight}
defaults: {dataset: data, task: read, metrics: [weight]}
entries:
  - {name: low, label: Low, group: Ours, method: low, reported: {weight: 1.0}}
  - {name: high, label: High, group: Ours, method: high, reported: {weight: not found}}
  - {name: cited, label: Cited, group: Theirs, reported: {weight: 3.5}}
claims:
  - name: high-beats-low
    text: High has more weight than Low
    source: Table 1
    ordering: {metric: weight, increasing: [low, high]}
tables:
  - name: weights
    title: Weights
    rows: ["*"]
    columns: [{label: Weight, metric: weight, show: both, format: .3f}]
"""


@dataclass(frozen=True)
class Done:
    """What a call left: exit status and output."""

    returncode: int
    stdout: str
    stderr: str


@dataclass
class Bench:
    """`bench` in a working folder that holds `suites/tiny.yaml`."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def suite(self) -> Path:
        return self.folder / "suites" / "tiny.yaml"

    def edit(self, old: str, new: str) -> None:
        text = self.suite.read_text()
        assert old in text
        self.suite.write_text(text.replace(old, new))

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "retable", *arguments, "--plugin", str(TINY)]

    def __call__(self, *arguments: str, plugin: bool = True) -> Done:
        """Call the command in this process (torch is imported once, not for every call), in its own folder."""
        plugins = ["--plugin", str(TINY)] if plugin else []
        stdout, stderr = StringIO(), StringIO()
        with (
            patch.dict(os.environ, self.environment),
            contextlib.chdir(self.folder),
            contextlib.redirect_stdout(stdout),
            contextlib.redirect_stderr(stderr),
        ):
            try:
                status = main([*arguments, *plugins])
            except SystemExit as error:  # argparse
                status = int(error.code or 0)
        return Done(status, stdout.getvalue(), stderr.getvalue())

    def process(self, *arguments: str) -> subprocess.Popen[str]:
        """The same as a process of its own, for tests of signals and of what start-up imports."""
        return subprocess.Popen(
            self.command(*arguments),
            cwd=self.folder,
            env={**os.environ, **self.environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def json(self, *arguments: str) -> Any:
        done = self(*arguments, "--json")
        assert done.stdout, done.stderr
        return json.loads(done.stdout)


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A working folder of its own; what `--plugin` registers is forgotten after the test."""
    monkeypatch.setattr(registry, "_registered", {kind: {} for kind in registry.KINDS})
    monkeypatch.setattr(registry, "_installed", registry._installed)  # put back what a plug-in of a test put there
    (tmp_path / "suites").mkdir()
    world = Bench(tmp_path)
    world.suite.write_text(SUITE)
    return world
