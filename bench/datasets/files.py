"""What of a data folder counts as data."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from retable.bench.errors import MissingDataError


def listed(folder: Path, wanted: Callable[[str], bool] = lambda name: True, *, deep: bool = False) -> list[str]:
    """Sorted names of the wanted files in a folder; `deep` also below it, as relative paths.

    Hidden files are none: what other systems leave behind (`._a.JPEG`, `.DS_Store`). Raises MissingDataError, naming it,
    for a link that leads nowhere.
    """
    found: list[str] = []
    waiting, seen = [""], {os.path.realpath(folder)}
    while waiting:
        inside = waiting.pop()
        with os.scandir(folder / inside) as entries:
            for entry in entries:
                name = f"{inside}/{entry.name}" if inside else entry.name
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    place = os.path.realpath(entry.path)
                    if deep and place not in seen:  # a link may lead back up
                        seen.add(place)
                        waiting.append(name)
                elif wanted(entry.name) and _whole(entry):
                    found.append(name)
    return sorted(found)


def _whole(entry: os.DirEntry[str]) -> bool:
    if entry.is_symlink() and not os.path.exists(entry.path):
        raise MissingDataError(f"{entry.path} is a link that leads nowhere: put {os.readlink(entry.path)} there")
    return entry.is_file()  # no pipe, no socket
