"""`pytest --bench`: one test a claim, and nothing at all without the option."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

from tests.bench.conftest import TINY, Bench

PROJECT = Path(__file__).parents[3]


def pytest_of(bench: Bench, *arguments: str) -> subprocess.CompletedProcess[str]:
    shutil.copy(TINY, bench.folder / "tiny.py")
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "retable.bench.cli.pytest_plugin",
            "--bench-plugin",
            "tiny.py",
            "-rA",
            *arguments,
        ],
        cwd=bench.folder,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def measured(bench: Bench) -> Bench:
    (bench.folder / "test_own.py").write_text("def test_own():\n    pass\n")
    bench("run", "tiny", "--jobs", "0", "--quiet")
    return bench


def test_one_item_a_claim(measured: Bench) -> None:
    done = pytest_of(measured, "--bench", "suites/tiny.yaml")
    assert done.returncode == 0, done.stdout
    assert "PASSED suites/tiny.yaml::high-beats-low" in done.stdout
    assert "test_own" not in done.stdout
    assert "2 passed" in pytest_of(measured, "--bench", "suites/tiny.yaml", "test_own.py").stdout
    assert "1 deselected" in pytest_of(measured, "--bench", "suites/tiny.yaml", "-k", "nothing").stdout


def test_a_claim_that_fails_says_its_evidence_and_no_traceback(measured: Bench) -> None:
    measured.edit("increasing: [low, high]", "increasing: [high, low]")
    done = pytest_of(measured, "--bench", "suites/tiny.yaml")
    assert done.returncode == 1
    assert "not high < low; EXPECTED: reproduced" in done.stdout
    assert "Traceback" not in done.stdout
    measured.edit("level: 2.0", "level: 3.0")
    unmeasured = pytest_of(measured, "--bench", "suites/tiny.yaml")
    assert unmeasured.returncode == 1
    assert "not measured: high was not run" in unmeasured.stdout


def test_frozen_numbers_and_rules_are_items_too(measured: Bench) -> None:
    measured("freeze", "tiny")
    measured.suite.write_text(measured.suite.read_text() + "rules: [weight of low <= 3]\n")
    done = pytest_of(measured, "--bench", "suites/tiny.yaml", "--bench-against", "v1")
    assert "4 passed" in done.stdout, done.stdout


def test_what_the_gate_misses_is_not_passed(measured: Bench) -> None:
    """A row that no claim is about and that was never run."""
    row = "  - {name: high, label: High, group: Ours, method: high, reported: {weight: not found}}\n"
    measured.edit("  high: {extends: low", "  other: {extends: low, with: {level: 5.0}}\n  high: {extends: low")
    measured.edit(row, f"{row}  - {{name: other, label: Other, method: other}}\n")
    assert measured("gate", "tiny").returncode == 3
    done = pytest_of(measured, "--bench", "suites/tiny.yaml")
    assert done.returncode == 1
    assert "tiny/other/mini/0" in done.stdout
    assert "3 failed, 1 passed" in done.stdout


def test_what_is_wrong_with_a_suite_is_a_sentence(measured: Bench) -> None:
    assert "no such suite file" in pytest_of(measured, "--bench", "suites/nobody.yaml").stderr
    measured.edit("level: 2.0", "levle: 2.0")
    done = pytest_of(measured, "--bench", "suites/tiny.yaml")
    assert done.returncode == 2
    assert "levle" in done.stdout
    assert "Traceback" not in done.stdout


def test_without_the_option_it_imports_nothing(bench: Bench) -> None:
    (bench.folder / "test_own.py").write_text(
        "import sys\n\ndef test_own():\n"
        "    heavy = {'torch', 'numpy', 'yaml', 'retable.bench.declare.reader', 'retable.bench.judge.claims', 'retable.bench.store.store'} & set(sys.modules)\n"
        "    assert not heavy\n"
    )
    done = pytest_of(bench)
    assert done.returncode == 0, done.stdout


def test_the_entry_point_names_it() -> None:
    declared = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["entry-points"]["pytest11"]
    assert [import_module(module).__name__ for module in declared.values()] == ["retable.bench.cli.pytest_plugin"]
