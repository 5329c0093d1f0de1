"""What `make test` says and does where a program of the system is missing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
HOOKS = "from tests.tools import pytest_addoption, pytest_runtest_makereport, pytest_terminal_summary\n"
TESTS = """
import pytest
from tests.tools import CHROMIUM, TEX

@pytest.fixture
def browser():
    pytest.skip(CHROMIUM.missing("does not start: no display"))

def test_page(browser): ...
@pytest.mark.skipif(True, reason=TEX.missing())
def test_document(): ...
@pytest.mark.skipif(True, reason="needs a GPU")
def test_kernel(): ...
def test_other(): ...
"""


def pytest_in(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    (folder / "conftest.py").write_text(HOOKS)
    (folder / "test_these.py").write_text(TESTS)
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-ra", "-p", "no:cacheprovider", *options],
        cwd=folder,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_last_lines_name_the_command(tmp_path: Path) -> None:
    done = pytest_in(tmp_path)
    assert done.returncode == 0
    *_, tests, command, count = done.stdout.strip().splitlines()
    assert tests.startswith("2 tests were skipped for want of Chromium and TeX")
    assert command == "  apt-get install --no-install-recommends chromium texlive-latex-recommended lmodern"
    assert "1 passed, 3 skipped" in count


def test_only_what_is_missing_is_named(tmp_path: Path) -> None:
    assert "apt-get" not in pytest_in(tmp_path, "-k", "kernel or other").stdout
    done = pytest_in(tmp_path, "-k", "page")
    assert "1 test was skipped for want of Chromium" in done.stdout
    assert "texlive" not in done.stdout


@pytest.mark.parametrize(("test", "name"), [("page", "Chromium"), ("document", "TeX")])
def test_where_tools_are_required_nothing_is_skipped_for_want_of_them(tmp_path: Path, test: str, name: str) -> None:
    done = pytest_in(tmp_path, "--require-tools", "-k", test)
    assert done.returncode == 1
    assert f"needs {name}" in done.stdout
    assert pytest_in(tmp_path, "--require-tools", "-k", "kernel or other").returncode == 0
