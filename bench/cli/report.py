"""`bench report`: a site of suites, and LaTeX, CSV and JSON files."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from retable.bench.cli.suites import find_suite, load_suite
from retable.bench.errors import OK, BenchError

if TYPE_CHECKING:
    pass


def main(arguments: Namespace) -> int:
    """A site of the suites, with their tables for papers and spreadsheets; runs nothing."""
    from retable.bench.report.chapter import gather
    from retable.bench.report.site.write import write_site
    from retable.bench.store.store import Store

    paths = [find_suite(name) for name in arguments.suites] or sorted(Path("suites").glob("*.yaml"))
    if not paths:
        raise BenchError("no suite files in suites/")
    store = Store(arguments.store, create=False)
    chapters = [gather(load_suite(path, arguments.profile), store) for path in dict.fromkeys(paths)]
    index = write_site(chapters, store, Path(arguments.out))
    if arguments.json:
        pages = {chapter.suite.name: str(index.parent / chapter.suite.name / "index.html") for chapter in chapters}
        print(json.dumps({"index": str(index), "suites": pages}, indent=2))
    else:
        print(index)
    return OK
