"""The lock beside a checkout: the exact versions that `make setup` installs and that numbers were measured with.

`python -m retable.bench.probes.lock` ends with 2 and one sentence where the lock does not fit this Python or is older than pyproject.toml;
it needs nothing but Python, because it runs before anything is installed.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

LOCK, EXCEPTIONS, PROJECT = Path("requirements/lock.txt"), Path("requirements-nodeps.txt"), Path("pyproject.toml")
TITLE = "# Retable's lock:"
_PIN = re.compile(r"^([A-Za-z0-9][\w.-]*)==([^\s;]+)\s*(?:;\s*(.+))?$", re.MULTILINE)


@dataclass(frozen=True)
class Difference:
    """A package whose version here is not the locked one; `found` is None where it is not installed."""

    package: str
    wanted: str
    found: str | None

    def __str__(self) -> str:
        return f"{self.package}: {self.wanted} wanted, {self.found or 'nothing'} found"


@dataclass(frozen=True)
class Lock:
    """A lock as it was read: exact versions for this Python and system, and what it says of itself."""

    root: Path
    text: str

    @property
    def digest(self) -> str:
        """SHA-256 of the file and of the list of packages that are installed without their dependencies."""
        return _sha256(self.text + (self.root / EXCEPTIONS).read_text())

    @property
    def pins(self) -> dict[str, str]:
        """Version by normalised name; lines whose marker does not hold here are left out."""
        found = _PIN.findall(self.text) + _PIN.findall((self.root / EXCEPTIONS).read_text())
        return {normal(name): version for name, version, marker in found if _holds(marker)}

    def problem(self) -> str | None:
        """Why this lock cannot be used here, and what to do; None where it can."""
        low, high = (tuple(map(int, self._says(word).split("."))) for word in ("from", "to"))
        if not low <= sys.version_info[:2] <= high:
            ours = ".".join(map(str, sys.version_info[:2]))
            fits = f"{LOCK} holds for Python {self._says('from')} to {self._says('to')}, and this is Python {ours}"
            return f"{fits}: name another one, as in `make setup PYTHON=python{self._says('to')}`"
        if self._says("dependencies") != dependencies_digest(self.root / PROJECT):
            return f"{LOCK} is stale, since the dependencies in {PROJECT} have changed: `make lock` renews it"
        return None

    def differences(self, names: Iterable[str] | None = None) -> list[Difference]:
        """What is installed in another version, of everything or of `names`; of these also what is absent."""
        pins = self.pins
        named = None if names is None else {normal(name) for name in names}
        return [
            Difference(package, wanted, found)
            for package, wanted in sorted(pins.items())
            if (named is None or package in named)
            and (found := _installed(package)) != wanted
            and not (found is None and named is None)
        ]

    def absent(self) -> list[str]:
        """What is locked and not installed: packages of extras, as a rule."""
        return [package for package in sorted(self.pins) if _installed(package) is None]

    def _says(self, word: str) -> str:
        found = re.search(rf"^# {word}: (\S+)$", self.text, re.MULTILINE)
        return found[1] if found else "0"


@cache
def beside(start: Path = Path(__file__)) -> Lock | None:
    """The lock of the checkout that holds the file `start`; None for an installation, which has none beside it."""
    for folder in start.resolve().parents[1:5]:
        path = folder / LOCK
        if path.is_file() and (text := path.read_text()).startswith(TITLE):
            return Lock(folder, text)
    return None


def honoured() -> dict[str, Any]:
    """For a record: the lock's digest, and which of the packages that pyproject.toml asks for differ from it."""
    lock = beside()
    if lock is None:
        return {"absent": "no lock lies beside this installation"}
    differs = [str(difference) for difference in lock.differences(_requirements(lock.root / PROJECT))]
    return {"digest": lock.digest, "honoured": not differs, "differs": differs}


def dependencies_digest(project: Path) -> str:
    """SHA-256 of what a pyproject.toml asks for: Python, packages and extras, whatever its comments and order of tables."""
    import json

    table = _project(project)
    asked = {name: table.get(name) for name in ("requires-python", "dependencies", "optional-dependencies")}
    return _sha256(json.dumps(asked, sort_keys=True))


def normal(name: str) -> str:
    """A package's name as the index compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _project(path: Path) -> dict[str, Any]:
    import tomllib

    table: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))["project"]
    return table


def _requirements(project: Path) -> list[str]:
    return [re.split(r"[^\w.-]", line, maxsplit=1)[0] for line in _project(project)["dependencies"]]


def _installed(package: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package).partition("+")[0]  # torch of a GPU host calls itself 2.14.1+cu130
    except PackageNotFoundError:
        return None


def _holds(marker: str) -> bool:
    if not marker:
        return True
    from packaging.markers import Marker

    return Marker(marker).evaluate()


def _sha256(text: str) -> str:
    from hashlib import sha256

    return sha256(text.encode()).hexdigest()


def main() -> int:
    """Check the lock of the checkout in the working folder."""
    lock = beside(Path.cwd() / "x" / "x")
    problem = lock.problem() if lock else f"there is no {LOCK}: `make lock` writes it"
    if problem:
        print(problem, file=sys.stderr)
    return 2 if problem else 0


if __name__ == "__main__":
    raise SystemExit(main())
