"""Tables and verdicts as GitHub Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from retable.bench.judge.judgement import Judgement
from retable.bench.judge.words import evidence, said
from retable.bench.report.escape import markdown as escape
from retable.bench.report.grid import Text, caption, grid
from retable.bench.report.table import Table, legend


def render(tables: Sequence[Table]) -> str:
    """One table after the other; best in bold, second in italics, footnotes below."""
    return "\n\n".join(_table(table) for table in tables)


def render_judgements(judgements: Sequence[Judgement]) -> str:
    """Verdicts as a table."""
    lines = [_row(["Verdict", "Claim", "Source", "Evidence"]), _row(["---"] * 4)]
    for judged in judgements:
        cells = (said(judged), judged.claim.text, judged.claim.source, evidence(judged))
        lines.append(_row([escape(cell) for cell in cells]))
    return "\n".join(lines)


def _table(table: Table) -> str:
    content = grid(table)
    grouped = any(group for group, _ in content.rows)
    header = [*(["Type"] if grouped else []), *content.header]
    lines = [f"**{escape(caption(table))}**", "", _row([escape(name) for name in header])]
    lines.append(_row(["---"] * (2 if grouped else 1) + ["---:"] * (len(content.header) - 1)))
    for group, texts in content.rows:
        lines.append(_row([*([escape(group)] if grouped else []), *map(_cell, texts)]))
    if content.notes:
        lines += ["", *[f"{index}. {escape(note)}" for index, note in enumerate(content.notes, 1)]]
    remarks = [*legend(table, "bold", "italics"), *([table.note] if table.note else [])]
    return "\n".join([*lines, *(["", "\\\n".join(map(escape, remarks))] if remarks else [])])


def _cell(text: Text) -> str:
    shown = escape(text.text)
    if text.mark and shown:
        shown = f"**{shown}**" if text.mark == "best" else f"*{shown}*"
    return f"{shown}<sup>{text.note}</sup>" if text.note else shown


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
