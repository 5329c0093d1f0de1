"""Versions: results that were published, immutable and checksummed, as text under `results/<suite>/v<N>/`.

A version is what its manifest lists, byte for byte: a file more, a file less or one flipped byte anywhere, the manifest
included, is damage, and a damaged version is refused. What a version's name means never leaves the results folder.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from retable.bench.declare.scalars import NAME
from retable.bench.errors import BenchError, StoreError, nearest
from retable.bench.record import SCHEMA, Record, canonical
from retable.bench.versions import tolerances
from retable.bench.versions.tolerances import Tolerances

FORMAT = 2
"""Version of the folder's layout and of the manifest; one with a newer format is refused.

Format 2 has measured tolerances; of format 1, which has none, everything is read as before.
"""
ROOT = "results"
MANIFEST = "manifest.json"
TOLERANCES = "tolerances.json"
CERTIFICATES = "certificates.jsonl"
UNFINISHED = ".unfinished"
RESERVED = ("work",)
"""Names in the results folder that are not suites: the store lies there."""
_NUMBERED = re.compile(r"v([1-9][0-9]{0,5})")
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")


@dataclass(frozen=True, order=True)
class Name:
    """What a version is called: `table2_aim/v1`."""

    suite: str
    number: int

    def __str__(self) -> str:
        return f"{self.suite}/v{self.number}"


@dataclass(frozen=True, kw_only=True)
class Version:
    """A published version that was intact when it was read. `records` are the evaluations and the fits behind them."""

    name: Name
    profile: str
    manifest: Mapping[str, Any]
    records: tuple[Record, ...]
    environments: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    verdicts: tuple[Mapping[str, Any], ...] = ()
    tolerances: Tolerances = field(default_factory=Tolerances)
    certificates: tuple[Mapping[str, Any], ...] = ()

    @property
    def results(self) -> dict[tuple[str, int], Record]:
        """Evaluation records by (entry, repetition), as `bench.judge.results` collects them from a store."""
        return {(r.entry, r.repetition): r for r in self.records if r.stage == "evaluate"}


def folder_of(root: Path, suite: str) -> Path:
    """Where a suite's versions lie. Raises BenchError for a name that is none, or that leads out of the results folder."""
    if not re.fullmatch(NAME.pattern, suite):
        raise BenchError(f"{suite[:80]!r} cannot name published results: a suite's name is {NAME.noun}")
    if suite in RESERVED:
        raise BenchError(f"{suite!r} cannot name published results: that folder of {root} is the store's")
    folder = root / suite
    try:
        inside = folder.resolve().parent == root.resolve()
    except (OSError, RuntimeError) as error:
        raise StoreError(f"{folder}: the path cannot be followed: {error}") from None
    if not inside:
        raise StoreError(f"{folder}: leads out of {root}")
    return folder


def numbers(root: Path, suite: str) -> list[int]:
    """The numbers of a suite's versions, in order."""
    folder = folder_of(root, suite)
    try:
        found = [_NUMBERED.fullmatch(path.name) for path in folder.iterdir()] if folder.is_dir() else []
    except OSError as error:
        raise StoreError(f"{folder}: cannot be read: {error.strerror}") from error
    return sorted(int(match[1]) for match in found if match)


def published(root: Path) -> list[Name]:
    """Every version below the results folder."""
    suites = sorted(path.name for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    return [
        Name(suite, number)
        for suite in suites
        if re.fullmatch(NAME.pattern, suite) and suite not in RESERVED
        for number in numbers(root, suite)
    ]


def find(root: Path, text: str, suite: str = "") -> Name:
    """The version that `table2_aim/v1`, its path, `table2_aim` (the newest), or `v1` and `newest` of `suite` name."""
    words = text.rstrip("/")
    prefix = f"{str(root).rstrip('/')}/"
    words = words.removeprefix(prefix) if words.startswith(prefix) else words.removeprefix(f"{ROOT}/")
    name, _, numbered = words.partition("/")
    if suite and not numbered and (name == "newest" or _NUMBERED.fullmatch(name)):
        name, numbered = suite, "" if name == "newest" else name
    number = _NUMBERED.fullmatch(numbered) if numbered else None
    if numbered and number is None:
        raise BenchError(f"{text[:80]!r} is not a version such as {suite or 'table2_aim'}/v1")
    known = numbers(root, name)
    if not known:
        suites = sorted({one.suite for one in published(root)})
        raise BenchError(f"no version of {name} is published in {root}{nearest(name, suites)}")
    if number is None:
        return Name(name, known[-1])
    if int(number[1]) not in known:
        raise BenchError(f"{name} has no version v{number[1]}; it has {', '.join(f'v{n}' for n in known)}")
    return Name(name, int(number[1]))


def load(root: Path, name: Name) -> Version:
    """A version with its records. Raises StoreError, one sentence with its name, unless it is as it was published."""
    manifest = read_manifest(root, name)
    if damaged := damage(root, name):
        more = f" (and {len(damaged) - 1} more)" if len(damaged) > 1 else ""
        raise StoreError(f"{path_of(root, name)}: the version is damaged: {damaged[0]}{more}")
    folder = path_of(root, name)
    try:
        return Version(
            name=name,
            profile=manifest["profile"],
            manifest=manifest,
            records=tuple(Record.from_json(line) for line in _lines(folder / "records.jsonl")),
            environments=json.loads((folder / "environments.json").read_bytes()),
            verdicts=tuple(json.loads((folder / "verdicts.json").read_bytes())),
            tolerances=tolerances.read((folder / TOLERANCES).read_bytes())
            if TOLERANCES in manifest["files"]
            else Tolerances(),
            certificates=tuple(json.loads(line) for line in _lines(folder / CERTIFICATES))
            if CERTIFICATES in manifest["files"]
            else (),
        )
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise StoreError(f"{folder}: has a shape that this version of bench cannot read: {error}") from None


def read_manifest(root: Path, name: Name) -> dict[str, Any]:
    """The manifest of a version; refuses a damaged one and one of a newer format."""
    path = path_of(root, name) / MANIFEST
    try:
        if path.exists() and not path.is_file():  # a pipe would wait for ever
            raise OSError(0, "it is no file")
        content = path.read_bytes()
    except OSError as error:
        raise StoreError(
            f"{path.parent}: the version is damaged: its manifest cannot be read ({error.strerror})"
        ) from None
    try:
        manifest = json.loads(content)
        newer = manifest["format"] > FORMAT or manifest["record_schema"] > SCHEMA
        intact = (
            newer or render_manifest({key: value for key, value in manifest.items() if key != "checksum"}) == content
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        newer, intact = False, False
    if newer:
        raise StoreError(f"{path.parent}: was published by a newer version of bench; update bench to read it")
    if not intact:
        raise StoreError(f"{path.parent}: the version is damaged: its manifest is not what was written")
    if (manifest["suite"], manifest["version"]) != (name.suite, name.number):
        raise StoreError(
            f"{path.parent}: was published as {manifest['suite']}/v{manifest['version']}, not under this name"
        )
    return dict(manifest)


def render_manifest(facts: Mapping[str, Any]) -> bytes:
    """The one text of a manifest, closed by the digest of its content."""
    checksum = sha256(canonical(facts).encode()).hexdigest()
    text = json.dumps({**facts, "checksum": checksum}, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return f"{text}\n".encode()


def damage(root: Path, name: Name) -> list[str]:
    """One sentence for everything in a version's folder that is not as it was published."""
    folder = path_of(root, name)
    try:
        listed = read_manifest(root, name)["files"]
        found = {path.name: path for path in folder.iterdir() if path.name != MANIFEST}
    except StoreError as error:
        return [str(error).removeprefix(f"{folder}: ").removeprefix("the version is damaged: ")]
    except OSError as error:
        return [f"the folder cannot be read: {error.strerror}"]
    lines = [f"{file} is missing" for file in sorted(set(listed) - set(found))]
    for file, path in sorted(found.items()):
        if file not in listed:
            lines.append(f"{file} was not published")
        elif path.is_symlink() or not path.is_file():
            lines.append(f"{file} is not a file")
        elif sha256(path.read_bytes()).hexdigest() != listed[file]["sha256"]:
            lines.append(f"{file} is not what was published (its digest differs)")
    return lines


def path_of(root: Path, name: Name) -> Path:
    """The folder of a version, which is a real one: a link could lead anywhere."""
    path = folder_of(root, name.suite) / f"v{name.number}"
    if path.is_symlink():
        raise StoreError(f"{path}: is a link, not a published version")
    return path


def is_file_name(name: str) -> bool:
    """Whether a version may hold a file of this name."""
    return bool(_FILE.fullmatch(name)) and name != MANIFEST


def _lines(path: Path) -> list[str]:
    return [line for line in path.read_text(encoding="utf-8").split("\n") if line]
