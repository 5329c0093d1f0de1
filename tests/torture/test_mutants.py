"""Mutants: the code with one thing taken away; the tests that are named with each have to notice."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NEEDED = ("bench", "models", "retable", "tests", "suites", "results", "pyproject.toml", "requirements")


@dataclass(frozen=True)
class Mutant:
    """`old` becomes `new` in a file; `test` is what has to fail then."""

    name: str
    file: str
    old: str
    new: str
    test: str


SETTINGS = "test_settings_are_put_back"
STATE, DURABLE = "tests/bench/run/test_state.py", "tests/bench/store/test_durable.py"
MUTANTS = (
    Mutant(
        "mean is median",
        "bench/judge/stats.py",
        "mean, half = fmean(values), ",
        "mean, half = sorted(values)[len(values) // 2], ",
        "tests/bench/judge/test_stats.py",
    ),
    Mutant(
        "artefact not synchronised",
        "bench/store/artefacts.py",
        "os.fsync(file.fileno())\n                size = file.seek(0, os.SEEK_END)",
        "size = file.seek(0, os.SEEK_END)",
        DURABLE,
    ),
    Mutant(
        "folder not synchronised",
        "bench/store/artefacts.py",
        "temporary.replace(self.folder / path)\n            sync(self.folder)\n",
        "temporary.replace(self.folder / path)\n",
        DURABLE,
    ),
    Mutant("version not synchronised", "bench/versions/freeze.py", "os.fsync(file.fileno())", "pass", DURABLE),
    Mutant("version's folder not synchronised", "bench/versions/freeze.py", "        sync(folder)\n", "", DURABLE),
    Mutant(
        "weights not in the key",
        "bench/store/keys.py",
        '_once(memo, ("weights", id(method)), lambda: weights_digest(method))',
        "None",
        "tests/bench/store/test_keys.py",
    ),
    Mutant(
        "method not in the key",
        "bench/store/keys.py",
        '"method": _once(memo, ("method", id(method)), lambda: component_ingredients("method", method)),\n        "weights"',
        '"method": None,\n        "weights"',
        "tests/bench/store/test_keys.py",
    ),
    Mutant("NumPy not seeded", "bench/run/seeds.py", "        np.random.seed(seed % 2**32)\n", "", STATE),
    Mutant(
        "settings not put back", "bench/run/settings.py", "                put(value)\n", "", f"{STATE}::{SETTINGS}"
    ),
    Mutant(
        "shared data not looked at",
        "bench/run/shelf.py",
        "return all(now.get(place) == checksum for place, checksum in before.items())",
        "return True",
        f"{STATE}::test_what_is_added_to_shared_data_is_no_change_of_it",
    ),
    Mutant(
        "a sweep follows links",
        "bench/store/sweep.py",
        "        if folder.is_symlink():\n            return\n",
        "",
        f"{STATE}::test_the_sweep_follows_no_link",
    ),
    Mutant(
        "offline lets through",
        "bench/run/offline.py",
        'raise ConnectionError(f"--offline: connection to {_text(host)} refused")',
        "pass",
        f"{STATE}::test_offline_refuses_every_way_out",
    ),
    Mutant("one lock for all keys", "bench/store/locks.py", '[:7], "big")', '[:0], "big")', DURABLE),
    Mutant(
        "a full disk is any error",
        "bench/store/database.py",
        '"SQLITE_FULL": "the disk is full; what was stored before is intact",\n',
        "",
        "tests/bench/store/test_disks.py::test_a_full_disk_is_one_sentence_and_loses_nothing",
    ),
    Mutant("size and time decide", "retable/contents.py", ", status.st_ctime_ns", ", 0", "tests/test_contents.py"),
    Mutant(
        "what transformers made up is kept",
        "models/spikellm/published.py",
        "    _fits(folder, lm, loading)\n",
        "",
        "tests/models/test_spikellm_published.py",
    ),
    Mutant(
        "a broken pipe ends a run",
        "bench/cli/outlet.py",
        "        except OSError as error:\n",
        "        except ZeroDivisionError as error:\n",
        "tests/bench/cli/test_streams.py::test_an_outlet_says_nothing_after_its_first_failure",
    ),
)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_what_is_taken_away_is_there(mutant: Mutant) -> None:
    """The short form: a mutant that changes nothing would prove nothing."""
    assert (ROOT / mutant.file).read_text(encoding="utf-8").count(mutant.old) == 1
    assert (ROOT / mutant.test.partition("::")[0]).is_file()


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mutants")
    for name in NEEDED:
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "work", "*.npz")
            shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=ignored)
        else:
            shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.mark.torture
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_its_tests_notice(mutant: Mutant, copy: Path, record_property: Callable[[str, object], None]) -> None:
    file = copy / mutant.file
    original = file.read_text(encoding="utf-8")
    file.write_text(original.replace(mutant.old, mutant.new), encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", mutant.test]
    try:
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True)
    finally:
        file.write_text(original, encoding="utf-8")
    record_property("count", ("mutants of the code, all noticed", 1))
    assert done.returncode == 1, f"the mutant survived, or its tests did not run: {done.stdout[-2000:]}"
