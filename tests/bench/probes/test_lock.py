"""The lock: whether it holds here, what differs from it, and the sentences for a lock that cannot be used."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest

from retable.bench.cli import doctor
from retable.bench.probes import lock as locks
from retable.bench.probes.lock import EXCEPTIONS, LOCK, PROJECT, Lock, beside, dependencies_digest, honoured

ROOT = Path(__file__).parents[3]


@pytest.fixture
def checkout(tmp_path: Path) -> Callable[..., Lock]:
    """A copy of what the lock is made of, edited: `checkout(LOCK=[(old, new)], PROJECT=...)`."""
    for path in (LOCK, EXCEPTIONS, PROJECT):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / path, tmp_path / path)

    def edited(path: Path = LOCK, old: str = "", new: str = "") -> Lock:
        text, count = re.subn(old, new, (tmp_path / path).read_text(), count=1, flags=re.MULTILINE)
        assert count == 1
        (tmp_path / path).write_text(text)
        return Lock(tmp_path, (tmp_path / LOCK).read_text())

    return edited


def test_the_lock_of_the_repository_is_as_new_as_its_dependencies() -> None:
    lock = beside()
    assert lock is not None
    assert lock.root == ROOT
    assert lock.problem() is None


@pytest.mark.parametrize("path", sorted((ROOT / "requirements").glob("*.txt")), ids=lambda path: path.stem)
def test_locks_hold_exact_versions_and_no_place(path: Path) -> None:
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    assert lines
    assert [line for line in lines if not re.fullmatch(r"[\w.-]+==[\w.+!]+( ; [^/:@]+)?", line)] == []
    assert not re.search(r"://|--|/", path.read_text())
    assert f"# dependencies: {dependencies_digest(ROOT / PROJECT)}" in path.read_text(), "make lock"


def test_a_new_dependency_makes_the_lock_stale_and_a_comment_does_not(checkout: Callable[..., Lock]) -> None:
    assert checkout(PROJECT, r"^dependencies = \[", "dependencies = [ # those").problem() is None
    problem = checkout(PROJECT, r"^dependencies = \[ # those", 'dependencies = [ "left-pad",').problem()
    assert problem == (
        "requirements/lock.txt is stale, since the dependencies in pyproject.toml have changed: `make lock` renews it"
    )


def test_another_bound_in_an_extra_makes_the_lock_stale(checkout: Callable[..., Lock]) -> None:
    assert "is stale" in str(checkout(PROJECT, "transformers>=5", "transformers>=4").problem())


def test_a_python_that_the_lock_does_not_hold_for(checkout: Callable[..., Lock]) -> None:
    ours = ".".join(map(str, sys.version_info[:2]))
    problem = str(checkout(LOCK, r"^# from: .*\n# to: .*", "# from: 3.7\n# to: 3.8").problem())
    assert problem == (
        f"requirements/lock.txt holds for Python 3.7 to 3.8, and this is Python {ours}:"
        " name another one, as in `make setup PYTHON=python3.8`"
    )


def test_before_anything_is_installed(checkout: Callable[..., Lock]) -> None:
    """`make setup` asks with a bare Python: one sentence and status 2, or silence."""
    lock = checkout(PROJECT, "transformers>=5", "transformers>=4")
    command = [sys.executable, "-S", "-m", "retable.bench.probes.lock"]
    shutil.copytree(ROOT / "retable", lock.root / "retable", symlinks=True)
    for name in ("bench", "models"):
        (lock.root / name).symlink_to(ROOT / name)
    done = subprocess.run(command, cwd=lock.root, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert re.fullmatch(r"requirements/lock.txt is stale.*\n", done.stderr)
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_another_version_is_named_and_an_absent_extra_is_not(checkout: Callable[..., Lock]) -> None:
    lock = checkout(LOCK, r"^pyyaml==\S+", "pyyaml==1.2.3\nnobody-has-this==1.0")
    named = {difference.package: difference for difference in lock.differences()}
    assert str(named["pyyaml"]) == f"pyyaml: 1.2.3 wanted, {version('PyYAML')} found"
    assert "nobody-has-this" not in named
    assert "nobody-has-this" in lock.absent()
    assert [str(found) for found in lock.differences(["Nobody_Has.This"])] == [
        "nobody-has-this: 1.0 wanted, nothing found"
    ]


def test_pins_of_other_systems_do_not_count_here(checkout: Callable[..., Lock]) -> None:
    lock = checkout(
        LOCK, r"^pyyaml==\S+", "pyyaml==9 ; python_full_version < '3.9'\npyyaml==8 ; python_version > '3.9'"
    )
    assert lock.pins["pyyaml"] == "8"


def test_a_record_says_whether_the_lock_was_honoured(
    checkout: Callable[..., Lock], monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = checkout(LOCK, r"^numpy==\S+", "numpy==1.2.3")
    monkeypatch.setattr(locks, "beside", lambda: lock)
    found = honoured()
    assert found["digest"] == lock.digest
    assert found["honoured"] is False
    assert f"numpy: 1.2.3 wanted, {version('numpy')} found" in found["differs"]
    monkeypatch.setattr(locks, "beside", lambda: None)
    assert honoured().keys() == {"absent"}


def test_doctor_lists_every_package_that_differs(
    checkout: Callable[..., Lock], monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = checkout(LOCK, r"^sympy==\S+", "sympy==1.2.3")
    monkeypatch.setattr(doctor, "beside", lambda: lock)
    assert f"sympy: 1.2.3 wanted, {version('sympy')} found" in doctor._lock()["differs"]
    assert "make setup" in doctor._lock()["state"]


def test_a_file_of_the_same_name_in_someone_elses_project_is_not_our_lock(tmp_path: Path) -> None:
    (tmp_path / "requirements").mkdir()
    (tmp_path / LOCK).write_text("numpy==1.0\n")
    assert beside(tmp_path / "venv" / "bench" / "lock.py") is None
