"""README's own example, run to the letter in an empty folder, and its list of data sets."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from retable.bench.registry import names, resolve

README = Path(__file__).parents[1] / "README.md"


def test_the_method_of_the_readme_runs(tmp_path: Path) -> None:
    text = README.read_text().split("## Your own method")[1].split("\n## ")[0]
    method, suite = re.findall(r"```(?:python|yaml)\n(.*?)```", text, re.DOTALL)
    (tmp_path / "my_method.py").write_text(method)
    (tmp_path / "mine.yaml").write_text(suite)
    assert "`bench run mine.yaml --plugin my_method.py`" in text
    (tmp_path / "pyproject.toml").write_text('[tool.retable]\nplugins = ["my_method.py"]\n')
    command = [sys.executable, "-m", "retable", "run", "mine.yaml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=_environment(), check=False)
    assert done.returncode == 0, done.stderr
    (row,) = [line for line in done.stdout.splitlines() if line.startswith("Nearest mean")]
    accuracy = float(re.findall(r"[0-9.]+", row)[0])
    assert 80 < accuracy < 100


def test_every_data_set_of_the_package_stands_in_the_readme() -> None:
    told = re.findall(r"`([a-z0-9-]+)`", README.read_text().split("## Data")[1].split("\n## ")[0])
    ours = {name for name in names("dataset") if resolve("dataset", name).__module__.startswith("retable.")}
    assert sorted(ours - set(told)) == []


def _environment() -> dict[str, str]:
    import os

    return {**os.environ, "PYTHONPATH": str(README.parent)}
