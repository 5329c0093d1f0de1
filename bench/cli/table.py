"""`bench table`: the tables of a suite from the store or a version."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from retable.bench.cli.source import reader
from retable.bench.cli.suites import load
from retable.bench.errors import OK, BenchError, nearest

if TYPE_CHECKING:
    from retable.bench.report.table import Table


def main(arguments: Namespace) -> int:
    """The suite's tables from stored or published records; what is to be known of them goes to stderr. Runs nothing."""
    from retable.bench.report.choice import Choice, choose
    from retable.bench.report.escape import clean
    from retable.bench.report.files import write
    from retable.bench.report.table import build_tables
    from retable.bench.versions.archive import held

    form = "json" if arguments.json else arguments.format
    _refuse_idle(form, arguments)
    suite = load(arguments)
    source = reader(arguments, suite.name)
    found = held(suite, source)
    for line in found.said:
        print(clean(f"bench: {line}"), file=sys.stderr)
    choice = Choice(tables=tuple(arguments.table), rows=tuple(arguments.row), columns=tuple(arguments.column))
    tables = choose(build_tables(suite, found.results, source.environment, source.others), choice)
    if arguments.baseline and not any(row.entry == arguments.baseline for table in tables for row in table.rows):
        names = [row.entry for table in tables for row in table.rows]
        raise BenchError(f"no table shows a row {arguments.baseline!r}{nearest(arguments.baseline, names)}")
    if arguments.output and (arguments.output.endswith("/") or Path(arguments.output).is_dir()):
        for table in tables:
            print(_put(Path(arguments.output), table, _rendered([table], form, arguments), form))
        return OK
    content = _rendered(tables, form, arguments)
    if isinstance(content, bytes):
        if not arguments.output:
            raise BenchError("a Parquet file is not text: name it with --output")
        write(Path(arguments.output), content)
    elif arguments.output:
        write(Path(arguments.output), content.rstrip("\n") + "\n")
    else:
        print(content.rstrip("\n"))
    return OK


def _refuse_idle(form: str, arguments: Namespace) -> None:
    """What only LaTeX has must not be asked of another format in vain."""
    asked = [name for name in ("document", "caption", "label", "baseline", "transpose") if getattr(arguments, name)]
    if asked and form != "latex":
        raise BenchError(f"--{asked[0]} goes with --format latex, not with {form}")


def _put(folder: Path, table: Table, content: str | bytes, form: str) -> Path:
    from retable.bench.report.files import put, safe_name

    ending = {"latex": "tex", "markdown": "md", "terminal": "txt"}.get(form, form)
    text = content if isinstance(content, bytes) else content.rstrip("\n") + "\n"
    return put(folder, f"{safe_name(table.name)}.{ending}", content=text)


def _rendered(tables: list[Table], form: str, arguments: Namespace) -> str | bytes:
    from retable.bench.report import STYLES, as_csv, as_parquet, latex, markdown, styles, terminal
    from retable.bench.report.as_json import tables_to_json
    from retable.bench.report.sheet import Print

    if form == "json":
        return json.dumps(tables_to_json(tables), indent=2, ensure_ascii=False)
    if form == "parquet":
        return as_parquet.render(tables)
    if form == "latex":
        fields = ("caption", "label", "baseline", "transpose", "width")
        look = Print(**{field: getattr(arguments, field) for field in fields})
        return latex.document(tables, look=look) if arguments.document else latex.render(tables, look)
    if form == "terminal" and arguments.output:
        return terminal.render(tables, columns=0, colour=False)
    if form in STYLES:
        return styles.render(tables, form)
    return {"terminal": terminal, "markdown": markdown, "csv": as_csv}[form].render(tables)
