"""`bench verify`: published versions against their manifests."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from retable.bench.errors import CONTRADICTED, OK, BenchError, StoreError

if TYPE_CHECKING:
    from retable.bench.versions.versions import Name


def main(arguments: Namespace) -> int:
    """Every version, or those that are named, against its manifest and its statement; 1 when one is not as it was published."""
    from retable.bench.versions import versions

    root = Path(arguments.results)
    names = _named(root, arguments.version) if arguments.version else versions.published(root)
    if not names:
        raise BenchError(f"no version is published in {root}")
    found = {name: _damage(root, name) for name in names}
    if arguments.json:
        print(json.dumps({str(name): lines for name, lines in found.items()}, indent=2, ensure_ascii=False))
    for name, lines in found.items():
        if lines:
            print("\n".join(f"{root}/{name}: {line}" for line in lines), file=sys.stderr)
        elif not arguments.json:
            print(f"{root}/{name}: as it was published")
    return CONTRADICTED if any(found.values()) else OK


def _named(root: Path, text: str) -> list[Name]:
    """The one version of `suite/v1`, or all of `suite`."""
    from retable.bench.versions.versions import Name, find, numbers

    name = find(root, text)
    named = text.rstrip("/").endswith(f"/v{name.number}")
    return [name] if named else [Name(name.suite, number) for number in numbers(root, name.suite)]


def _damage(root: Path, name: Name) -> list[str]:
    from retable.bench.versions import attest, versions

    if lines := versions.damage(root, name):
        return lines
    try:
        versions.load(root, name)
    except StoreError as error:
        return [str(error).removeprefix(f"{root}/{name}: ")]
    folder = versions.path_of(root, name)
    files = {path.name: path.read_bytes() for path in folder.iterdir() if path.name != versions.MANIFEST}
    return attest.damage(name.suite, files)
