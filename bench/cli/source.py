"""Where numbers are read from: the store, or a published version (`--from`)."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from retable.bench.store.reader import Reader


def reader(arguments: Namespace, suite: str) -> Reader:
    """What `--from` names, else the store."""
    if arguments.source is None:
        from retable.bench.store.store import Store

        return Store(arguments.store, create=False)
    from retable.bench.versions.archive import open_archive

    return open_archive(Path(arguments.results), suite, arguments.source)
