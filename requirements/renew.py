"""`make lock`: resolves pyproject.toml anew and writes the locks; pins that still hold are kept, `--upgrade` takes the newest.

uv only resolves here, it installs nothing. The locks are universal: one file for every Python and system, with markers.
They hold no hashes, because pip refuses hashes beside an editable installation, and no address of an index.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from retable.bench.probes.lock import LOCK, PROJECT, TITLE, dependencies_digest

PYTHONS = ("3.11", "3.13")
GROUPS = {
    LOCK: ("dev", "vision-weights"),
    LOCK.with_name("lock-rivals.txt"): ("rivals",),
    LOCK.with_name("lock-oracles.txt"): ("oracles",),
    LOCK.with_name("lock-crates.txt"): ("crates",),
}
"""The extras of each lock. Rivals, oracles and crates want versions that exclude each other, so each has an environment of its
own; what they share with the first lock has its versions, but for ALONE."""
ALONE = LOCK.with_name("lock-crates.txt")
"""The validator of crates holds packages back that the first lock has."""


def renew(path: Path, extras: tuple[str, ...], upgrade: list[str]) -> None:
    command = ["uv", "pip", "compile", str(PROJECT), "--universal", "--python-version", PYTHONS[0], "--quiet"]
    command += ["--no-header", "--no-annotate", *(f"--extra={extra}" for extra in extras), f"--output-file={path}"]
    command += upgrade if path in (LOCK, ALONE) else [f"--constraint={LOCK}"]
    subprocess.run(command, check=True)
    header = [f"{TITLE} exact versions for the extras {', '.join(extras)}. Written by `make lock`, not by hand."]
    header += [f"# from: {PYTHONS[0]}", f"# to: {PYTHONS[1]}", f"# dependencies: {dependencies_digest(PROJECT)}"]
    path.write_text("\n".join([*header, path.read_text()]))


if __name__ == "__main__":
    for path, extras in GROUPS.items():
        renew(path, extras, sys.argv[1:])
