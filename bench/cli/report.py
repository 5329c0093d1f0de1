"""`bench report`: a site of suites, and LaTeX, CSV and JSON files."""

from __future__ import annotations

import json
from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from retable.bench.cli.source import reader
from retable.bench.cli.suites import find_suite, load_suite
from retable.bench.errors import OK, BenchError

if TYPE_CHECKING:
    from retable.bench.report.chapter import Chapter
    from retable.bench.store.reader import Reader


def main(arguments: Namespace) -> int:
    """A site of the suites, with their tables for papers and spreadsheets; runs nothing."""
    from retable.bench.report.site.write import write_site

    paths = [find_suite(name) for name in arguments.suites] or sorted(Path("suites").glob("*.yaml"))
    if not paths:
        raise BenchError("no suite files in suites/")
    chapters = [_chapter(path, arguments) for path in dict.fromkeys(paths)]
    index = write_site(chapters, Path(arguments.out))
    if arguments.json:
        pages = {chapter.suite.name: str(index.parent / chapter.suite.name / "index.html") for chapter in chapters}
        print(json.dumps({"index": str(index), "suites": pages}, indent=2))
    else:
        print(index)
    return OK


def _chapter(path: Path, arguments: Namespace) -> Chapter:
    """Of all suites those without a version are there too, and say so; one that is named must have it."""
    from retable.bench.report.chapter import gather
    from retable.bench.versions.archive import archives, newest_archive

    suite, root = load_suite(path, arguments.profile), Path(arguments.results)
    past, problems = archives(root, suite.name)
    if arguments.source == "newest" and not arguments.suites:
        source: Reader = newest_archive(root, suite)
    else:
        source = reader(arguments, suite.name)
    chapter = gather(suite, source, [one for one in past if one.version.profile == suite.profile.name])
    return replace(chapter, said=(*chapter.said, *problems))
