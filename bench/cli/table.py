"""`bench table`: the tables of a suite from the store or a version."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from retable.bench.cli.source import reader
from retable.bench.cli.suites import load
from retable.bench.errors import OK, BenchError

if TYPE_CHECKING:
    from retable.bench.report.table import Table


def main(arguments: Namespace) -> int:
    """The suite's tables from stored or published records; what is to be known of them goes to stderr. Runs nothing."""
    from retable.bench.report.escape import clean
    from retable.bench.report.table import build_tables
    from retable.bench.versions.archive import held

    suite = load(arguments)
    source = reader(arguments, suite.name)
    found = held(suite, source)
    for line in found.said:
        print(clean(f"bench: {line}"), file=sys.stderr)
    tables = build_tables(suite, found.results, source.environment, source.others)
    content = _rendered(tables, "json" if arguments.json else arguments.format, arguments)
    if isinstance(content, bytes):
        if not arguments.output:
            raise BenchError("a Parquet file is not text: name it with --output")
        Path(arguments.output).write_bytes(content)
    elif arguments.output:
        Path(arguments.output).write_text(content.rstrip("\n") + "\n", encoding="utf-8")
    else:
        print(content.rstrip("\n"))
    return OK


def _rendered(tables: list[Table], form: str, arguments: Namespace) -> str | bytes:
    from retable.bench.report import STYLES, as_csv, as_parquet, latex, markdown, styles, terminal
    from retable.bench.report.as_json import tables_to_json

    if form == "json":
        return json.dumps(tables_to_json(tables), indent=2, ensure_ascii=False)
    if form == "parquet":
        return as_parquet.render(tables)
    if form == "latex" and arguments.document:
        return latex.document(tables)
    if form == "terminal" and arguments.output:
        return terminal.render(tables, columns=0, colour=False)
    if form in STYLES:
        return styles.render(tables, form)
    return {"terminal": terminal, "markdown": markdown, "csv": as_csv, "latex": latex}[form].render(tables)
