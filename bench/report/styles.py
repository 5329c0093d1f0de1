"""Tables in the styles that tabulate knows: for terminals, wikis, reStructuredText and the like."""

from __future__ import annotations

import re
from collections.abc import Sequence

from retable.bench.report.escape import clean
from retable.bench.report.escape import markdown as escape_markdown
from retable.bench.report.grid import Text, caption, grid
from retable.bench.report.table import Table, legend

_MARKUP = {"rst": re.compile(r"[\\*`|_<>:\[\]]"), "mediawiki": re.compile(r"[|!\[\]{}<>&'=*#:;~_-]")}


def render(tables: Sequence[Table], style: str) -> str:
    """One after the other, each with its caption before and its notes after it; `*` marks the best measured value."""
    return "\n\n".join(_table(table, style) for table in tables)


def _table(table: Table, style: str) -> str:
    from tabulate import tabulate

    content = grid(table)
    grouped = any(group for group, _ in content.rows)
    header = [*(["Type"] if grouped else []), *content.header]
    rows = [[*([group] if grouped else []), *map(_cell, texts)] for group, texts in content.rows]
    body = tabulate(
        [[_escape(text, style) for text in row] for row in rows],
        headers=[_escape(text, style) for text in header],
        tablefmt=style,
        disable_numparse=True,
        colalign=["left"] * (2 if grouped else 1) + ["right"] * (len(content.header) - 1),
    )
    if style == "tsv":
        return body
    notes = [f"[{index}] {note}" for index, note in enumerate(content.notes, 1)]
    notes += [*legend(table, "*", ""), *([table.note] if table.note else [])]
    below = "\n".join(f"{'| ' if style == 'rst' else ''}{_escape(note, style)}" for note in notes)
    return "\n\n".join(part for part in (_escape(caption(table), style), body, below) if part)


def _cell(text: Text) -> str:
    return f"{text.text}{'*' if text.mark == 'best' else ''}{f' [{text.note}]' if text.note else ''}"


def _escape(text: str, style: str) -> str:
    """Text on one line that the style shows as it is."""
    text = clean(text)
    if style in ("github", "pipe"):
        return escape_markdown(text)
    if style == "orgtbl":
        return text.replace("|", r"\vert{}")
    if style == "rst":
        return _MARKUP["rst"].sub(r"\\\g<0>", text)
    if style == "mediawiki":
        return _MARKUP["mediawiki"].sub(lambda found: f"&#{ord(found[0])};", text)
    return text
