"""Identity: the code and the packages with which a machine would compute, so that another one can be held to the same."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from retable.bench.kept import kept
from retable.bench.probes import environment

PACKAGE = Path(__file__).resolve().parents[2]
COMPILED = (".pyc", ".nbi", ".nbc")


@dataclass(frozen=True, kw_only=True)
class Identity:
    """`code` digests all of Retable's files, `lock` the versions it was resolved to; `packages` are those that compute."""

    code: str
    lock: str
    python: str
    packages: Mapping[str, str]

    @classmethod
    def of_plain(cls, plain: Mapping[str, Any]) -> Identity:
        return cls(**plain)

    def plain(self) -> dict[str, Any]:
        return asdict(self)


@cache
def identity() -> Identity:
    """This machine's."""
    software = environment()["software"]
    found = {name: version for name, version in software["packages"].items() if isinstance(version, str)}
    return Identity(
        code=kept("code", [], code_digest),
        lock=software["lock"].get("digest", "none"),
        python=".".join(platform.python_version_tuple()[:2]),
        # A torch for GPUs calls itself 2.14.1+cu130; what is pinned is the part before.
        packages={name: version.partition("+")[0] for name, version in sorted(found.items())},
    )


def code_digest(package: Path = PACKAGE) -> str:
    """SHA-256 over names and contents of all files of `bench` and `models`, but for what is compiled from them."""
    total = sha256()
    for top in ("bench", "models"):
        root = package / top
        for path in sorted(root.rglob("*")):
            if path.is_file() and path.suffix not in COMPILED and "__pycache__" not in path.parts:
                content = sha256(path.read_bytes()).hexdigest()
                total.update(f"{path.relative_to(package).as_posix()} {content}\n".encode())
    return total.hexdigest()


def difference(ours: Identity, theirs: Identity) -> str:
    """In what another machine differs from the driver's, in a few words; empty where it does not."""
    if ours.code != theirs.code:
        return f"its code is {theirs.code[:12]}, and the driver's {ours.code[:12]}: install the same commit there"
    if ours.python != theirs.python:
        return f"it has Python {theirs.python}, and the driver {ours.python}"
    for name in sorted({*ours.packages, *theirs.packages}):
        here, there = ours.packages.get(name, "nothing"), theirs.packages.get(name, "nothing")
        if here != there:
            return f"it has {there} of {name}, and the driver {here}: install the same lock there"
    if ours.lock != theirs.lock:
        return f"its lock is {theirs.lock[:12]}, and the driver's {ours.lock[:12]}: install the same lock there"
    return ""
