"""`bench export`: a published version in a format that others read."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from retable.bench.errors import OK, BenchError

if TYPE_CHECKING:
    from retable.bench.versions.versions import Version


def main(arguments: Namespace) -> int:
    """Write the files of one format below --out; in-toto without it goes to stdout."""
    from retable.bench.report.files import put
    from retable.bench.versions import versions

    root = Path(arguments.results)
    name = versions.find(root, arguments.version)
    version = versions.load(root, name)
    folder = versions.path_of(root, name)
    content = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
    files = {"eee": _eee, "ro-crate": _ro_crate, "in-toto": _in_toto}[arguments.format](version, content, folder)
    if not arguments.out:
        if len(files) > 1:
            raise BenchError(f"{arguments.format} is {len(files)} files: name a folder for them with --out")
        print(next(iter(files.values())).decode().rstrip("\n"))
        return OK
    out = Path(arguments.out)
    paths = [put(out, *path.split("/"), content=text) for path, text in files.items()]
    if arguments.json:
        print(json.dumps({"version": str(name), "files": [str(path) for path in paths]}, indent=2))
    else:
        print(paths[0] if len(paths) == 1 else f"{out}: {len(paths)} files")
    return OK


def _eee(version: Version, content: dict[str, bytes], folder: Path) -> dict[str, bytes]:
    from retable.bench.declare.reader import load_suite
    from retable.bench.report.exchange import eee

    if not content.get(f"{version.name.suite}.yaml"):
        raise BenchError(f"{version.name} was published without its declaration, which this format needs")
    suite = load_suite(folder / f"{version.name.suite}.yaml", version.profile)
    files = eee.files(version, suite)
    try:
        wrong = [line for text in files.values() for line in eee.problems(text)]
    except BenchError as why:
        print(f"bench: not validated: {why}", file=sys.stderr)
        wrong = []
    if wrong:
        raise BenchError(f"{version.name} does not fit the schema of Every Eval Ever {eee.SCHEMA}: {wrong[0]}")
    return {path: text.encode() for path, text in files.items()}


def _ro_crate(version: Version, content: dict[str, bytes], folder: Path) -> dict[str, bytes]:
    from retable.bench.report.exchange import ro_crate

    return {ro_crate.METADATA: ro_crate.metadata(version, content).encode(), **content}


def _in_toto(version: Version, content: dict[str, bytes], folder: Path) -> dict[str, bytes]:
    from retable.bench.versions import attest
    from retable.bench.versions.freeze import pretty
    from retable.bench.versions.versions import MANIFEST

    files = {name: text for name, text in content.items() if name != MANIFEST}
    return {attest.FILE: pretty(attest.statement(version.name.suite, files)).encode()}
