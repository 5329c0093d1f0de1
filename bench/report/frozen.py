"""A suite's results as the files of a published version: its tables and its verdicts."""

from __future__ import annotations

from bench.freeze import pretty
from bench.gate import judge
from bench.report import as_csv, markdown, terminal
from bench.report.as_json import judgements_to_json
from bench.results import Results
from bench.suite import Suite
from bench.table import build_tables


def render(suite: Suite, results: Results) -> dict[str, str]:
    """Texts by file name."""
    tables, judgements = build_tables(suite, results), judge(suite, results)
    text = terminal.render(tables, columns=0, colour=False)
    verdicts = terminal.render_judgements(judgements, columns=0, colour=False)
    return {
        "table.txt": f"{text}\n\n{verdicts}\n",
        "table.md": f"{markdown.render(tables)}\n\n{markdown.render_judgements(judgements)}\n",
        "table.csv": as_csv.render(tables),
        "verdicts.json": pretty(judgements_to_json(judgements)),
    }
