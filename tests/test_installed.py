"""Retable as an installation has it, in a project that has folders called bench and models of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
SUITE = """\
suite: own
title: A row of Retable's own and one of the project's
paper: none
arxiv: "0000.00000"
version: 1
profiles:
  mini: {repetitions: [0], limits: {timeout: 5 min, memory: 4 GB, threads: 1}}
defaults:
  dataset: {use: digits, with: {size: 8}}
  task: {use: classify, with: {account_samples: 0}}
  metrics: [accuracy]
entries:
  - {name: theirs, label: Theirs, method: {use: sew-resnet, with: {widths: [4], blocks: [1], epochs: 1}}}
  - {name: own, label: Own, method: {use: own}}
tables:
  - {name: own, title: Own, columns: [{label: Accuracy, metric: accuracy}]}
"""
METHOD = """\
from dataclasses import dataclass
from bench import naming
from models.network import make
from retable import register

@register("method", naming.NAME)
@dataclass(frozen=True, kw_only=True)
class Own:
    def build(self, images):
        return make(images.num_classes)

    def fit(self, data, needs, *, seed, device):
        return self.build(data), {}

    def load(self, state, data, needs, *, device):
        net = self.build(data)
        net.load_state_dict(state)
        return net
"""
NETWORK = """\
import torch

def make(classes):
    class Net(torch.nn.Linear):
        def prepare(self, pixels):
            return pixels[:, 0].flatten(1) / 255

        def steps(self, x):
            return self(x)[None]

    return Net(64, classes)
"""


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like site-packages with what the wheel holds: the package, its links followed, and nothing beside it."""
    site = tmp_path_factory.mktemp("site") / "site-packages"
    shutil.copytree(PROJECT / "retable", site / "retable", ignore=shutil.ignore_patterns("__pycache__", "*.nb?"))
    return site


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for folder, file, text in (("bench", "naming.py", 'NAME = "own"\n'), ("models", "network.py", NETWORK)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "__init__.py").write_text("")
        (tmp_path / folder / file).write_text(text)
    (tmp_path / "own.yaml").write_text(SUITE)
    (tmp_path / "my_method.py").write_text(METHOD)
    return tmp_path


@pytest.mark.parametrize("script", [True, False])
def test_both_import_and_a_suite_runs(installation: Path, project: Path, script: bool) -> None:
    """As the console script, whose own folder is first on the path, and as `python -m retable`, where the project is."""
    call = (
        ["-P", "-c", "import sys; from retable.bench.cli.main import main; sys.exit(main())"]
        if script
        else ["-m", "retable"]
    )
    command = [sys.executable, *call, "run", "own.yaml", "--plugin", "my_method.py", "--jobs", "1", "--quiet"]
    environment = {**os.environ, "PYTHONPATH": str(installation)}
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "2 cases executed" in done.stderr
    assert "Theirs" in done.stdout
    where = "import retable.bench, retable.models, bench, models; print(bench.__file__, models.__file__, retable.bench.__file__)"
    found = subprocess.run(
        [sys.executable, "-c", where], cwd=project, env=environment, capture_output=True, text=True, check=True
    )
    own_bench, own_models, theirs = map(Path, found.stdout.split())
    assert {own_bench.parent.parent, own_models.parent.parent} == {project}
    assert theirs.is_relative_to(installation)
