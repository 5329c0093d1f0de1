"""Writes the site: the scorecard, a folder a suite with its page, plots, samples and tables to download."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from retable.bench.report import as_csv, draw, latex
from retable.bench.report.as_json import judgements_to_json, tables_to_json
from retable.bench.report.chapter import Chapter
from retable.bench.report.document import document
from retable.bench.report.files import put, safe_name
from retable.bench.report.macros import macros
from retable.bench.report.page import render
from retable.bench.report.site.explore import explore
from retable.bench.report.site.pages import explore_page, index_page, suite_page


def write_site(chapters: Sequence[Chapter], folder: Path) -> Path:
    """Everything that `bench report` leaves in `folder`; returns the scorecard's path. Equal stores give equal bytes."""
    for chapter in chapters:
        _write_chapter(chapter, folder)
    put(folder, "tables.tex", content=document(chapters))
    put(folder, "numbers.tex", content=macros(chapters))
    return put(folder, "index.html", content=index_page(chapters))


def _write_chapter(chapter: Chapter, folder: Path) -> None:
    name = chapter.suite.name
    for plot in chapter.plots:
        if not plot.empty:
            for file, content in draw.draw(plot):
                put(folder, name, "plots", file, content=content)
            put(folder, name, "plots", "narrow", f"{safe_name(plot.name)}.svg", content=draw.draw_narrow(plot))
    for sample in chapter.samples:
        put(folder, name, "samples", sample.file, content=sample.content)
    data, shown = explore(chapter)
    for file, content in shown.items():
        put(folder, name, "samples", file, content=content)
    put(folder, name, "compare.html", content=explore_page(chapter, data))
    results = {"tables": tables_to_json(chapter.tables), "verdicts": judgements_to_json(chapter.judgements)}
    files = {
        "tables.csv": as_csv.render(chapter.tables),
        "results.json": json.dumps(results, ensure_ascii=False, allow_nan=False) + "\n",
        "tables.tex": "\n\n".join([latex.render(chapter.tables), latex.render_judgements(chapter.judgements)]) + "\n",
        "report.md": render(chapter.suite, chapter.tables, chapter.judgements, chapter.plots),
    }
    for file, text in files.items():
        put(folder, name, file, content=text)
    put(folder, name, "index.html", content=suite_page(chapter, list(files)))
