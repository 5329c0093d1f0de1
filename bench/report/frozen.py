"""A suite's results as the files of a published version: its tables and its verdicts."""

from __future__ import annotations

from retable.bench.judge.claims import judge
from retable.bench.judge.results import Environments, Results
from retable.bench.report import as_csv, markdown, terminal
from retable.bench.report.as_json import judgements_to_json
from retable.bench.report.table import build_tables
from retable.bench.suite import Suite
from retable.bench.versions.freeze import pretty


def render(suite: Suite, results: Results, environment: Environments) -> dict[str, str]:
    """Texts by file name."""
    tables, judgements = build_tables(suite, results, environment), judge(suite, results)
    text = terminal.render(tables, columns=0, colour=False)
    verdicts = terminal.render_judgements(judgements, columns=0, colour=False)
    return {
        "table.txt": f"{text}\n\n{verdicts}\n",
        "table.md": f"{markdown.render(tables)}\n\n{markdown.render_judgements(judgements)}\n",
        "table.csv": as_csv.render(tables),
        "verdicts.json": pretty(judgements_to_json(judgements)),
    }
