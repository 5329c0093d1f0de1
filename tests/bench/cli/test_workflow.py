"""The example workflow and `make reproducible`'s script, their commands run as they stand on the tiny suite."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

from tests.bench.conftest import TINY, Bench

PROJECT = Path(__file__).parents[3]
WORKFLOW = PROJECT / "examples" / "ci" / "claims.yaml"
STEPS = [step for step in yaml.safe_load(WORKFLOW.read_text())["jobs"]["claims"]["steps"] if "run" in step]


@pytest.fixture
def machine(bench: Bench) -> Bench:
    """A command `bench` on the path that knows the tiny components."""
    (bench.folder / "bin").mkdir()
    command = bench.folder / "bin" / "bench"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m retable "$@" --plugin "{TINY}"\n')
    command.chmod(0o755)
    bench.environment = {
        "PATH": f"{command.parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(PROJECT),
        "SUITE": "suites/tiny.yaml",
        "GITHUB_STEP_SUMMARY": str(bench.folder / "summary.md"),
    }
    bench("run", "tiny", "--jobs", "0", "--quiet", "--vary", "threads")  # a tolerance to hold numbers to
    bench("freeze", "tiny")
    return bench


def shell(machine: Bench, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=machine.folder,
        env={**os.environ, **machine.environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_example_workflow_passes_and_leaves_its_files(machine: Bench) -> None:
    assert [step["name"] for step in STEPS if "install" in step["run"]] == ["Install"]
    for step in STEPS:
        if step["name"] != "Install":
            done = shell(machine, "bash", "-euo", "pipefail", "-c", step["run"])
            assert done.returncode == 0, (step["name"], done.stdout, done.stderr)
    assert ElementTree.parse(machine.folder / "gate.xml").getroot().get("failures") == "0"
    assert "as expected" in (machine.folder / "summary.md").read_text()


def test_the_example_workflow_fails_where_a_number_moved(machine: Bench) -> None:
    machine.edit("level: 2.0", "level: 2.5")
    statuses = {
        step["name"]: shell(machine, "bash", "-euo", "pipefail", "-c", step["run"]).returncode
        for step in STEPS
        if step["name"] != "Install"
    }
    assert statuses == {
        "Declarations": 0,
        "Published versions are as they were published": 0,
        "Measure": 0,
        "Gate": 1,
        "Summary": 1,
        "Test report": 1,
    }


def test_the_example_workflow_passes_before_anything_is_frozen(machine: Bench) -> None:
    shutil.rmtree(machine.folder / "results" / "tiny")
    for step in STEPS:
        if step["name"] != "Install":
            done = shell(machine, "bash", "-euo", "pipefail", "-c", step["run"])
            assert done.returncode == 0, (step["name"], done.stdout, done.stderr)
    assert "bench freeze tiny" in (machine.folder / "summary.md").read_text()


def test_the_example_workflow_installs_a_wheel_of_this_version_and_what_registries_have() -> None:
    from retable import __version__

    workflow = yaml.safe_load(WORKFLOW.read_text())
    assert workflow["env"]["RETABLE"] == f"vendor/retable-{__version__}-py3-none-any.whl"
    assert "git+" not in WORKFLOW.read_text()
    assert {step["uses"].partition("/")[0] for step in workflow["jobs"]["claims"]["steps"] if "uses" in step} == {
        "actions"
    }


def test_reproducible_runs_rows_from_nothing_and_holds_them_to_the_frozen_version(machine: Bench) -> None:
    script = str(PROJECT / ".ci" / "reproducible")
    machine.edit("level: 2.0", "level: 2.5")
    done = shell(machine, script, "tiny:low")
    assert done.returncode == 0, done.stderr
    assert "Frozen numbers of tiny/v1: 1 passed" in done.stdout
    moved = shell(machine, script, "tiny:high")
    assert moved.returncode == 1
    assert "failed  high/weight" in moved.stdout
    assert shell(machine, script, "nobody:low").returncode == 2
