"""Tables and verdicts as the templates take them: texts, sort keys, and what a click on a cell tells."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from retable.bench.judge.judgement import Judgement
from retable.bench.judge.predicate import compared, predicate
from retable.bench.judge.words import comes_again, evidence, explain, said
from retable.bench.report.energy import by_rule
from retable.bench.report.grid import caption, floors
from retable.bench.report.numbers import NOT_FOUND, measured, not_measured, number, reported
from retable.bench.report.table import Cell, Row, Table, legend
from retable.bench.suite import Column


@dataclass(frozen=True, kw_only=True)
class CellView:
    """One cell: `sort` orders its column (None comes last), `opens` is the id of what a click shows."""

    text: str
    sort: float | None = None
    look: str = ""
    note: int = 0
    opens: str = ""
    label: str = ""


@dataclass(frozen=True, kw_only=True)
class RowView:
    entry: str
    label: str
    group: str
    measured: bool
    cells: list[CellView]


@dataclass(frozen=True, kw_only=True)
class ColumnView:
    """A heading with its sub-headings: the paper's value and ours, or none."""

    label: str
    parts: list[str]


@dataclass(kw_only=True)
class TableView:
    name: str
    caption: str
    columns: list[ColumnView]
    rows: list[RowView]
    groups: list[str]
    notes: list[str]
    remarks: list[str]
    cells: dict[str, Any] = field(default_factory=dict)
    """What a click on each cell tells, by its id."""


def table_view(table: Table) -> TableView:
    """A cell's id is made of the names of table, row and metric, so that a link to it holds from version to version."""
    view = TableView(
        name=table.name,
        caption=caption(table),
        columns=[ColumnView(label=column.label, parts=_parts(column)) for column in table.columns],
        rows=[],
        groups=list(dict.fromkeys(row.group for row in table.rows if row.group)),
        notes=[],
        remarks=[],
    )
    for row in table.rows:
        cells = []
        for column in table.columns:
            cells += _cells(view, table, row, column, _unique(f"cell-{table.name}-{row.entry}-{column.metric}", view))
        any_measured = any(row.cells[column.metric].value is not None for column in table.columns)
        view.rows.append(RowView(entry=row.entry, label=row.label, group=row.group, measured=any_measured, cells=cells))
    view.remarks = [*floors(table), *legend(table, "bold", "underlined"), *([table.note] if table.note else [])]
    return view


def _unique(text: str, view: TableView) -> str:
    """Letters, digits, dots, dashes; a metric that two columns show has a number the second time."""
    name = re.sub(r"[^A-Za-z0-9.]+", "-", text).strip("-")
    found, number = name, 1
    while found in view.cells:
        number += 1
        found = f"{name}-{number}"
    return found


def _parts(column: Column) -> list[str]:
    return {"both": ["paper", "here"], "reported": ["paper"], "measured": []}[column.show]


def _cells(view: TableView, table: Table, row: Row, column: Column, identity: str) -> list[CellView]:
    cell = row.cells[column.metric]
    found = []
    if column.show in ("reported", "both"):
        unknown = cell.reported is not None and cell.reported.value is None
        note = _note(view, NOT_FOUND) if unknown else 0
        value = cell.reported.value if cell.reported else None
        found.append(CellView(text=reported(cell), sort=value, look="paper unknown" if unknown else "paper", note=note))
    if column.show in ("measured", "both"):
        text = measured(cell, column)
        opens = identity if text else ""
        if opens:
            view.cells[identity] = _told(table, row, column, cell, text)
        absent = cell.value is None and bool(cell.reason)
        found.append(
            CellView(
                text=text,
                sort=cell.value,
                look=" ".join(filter(None, ("here", cell.mark, "absent" if absent else ""))),
                note=_note(view, not_measured(cell.reason) if absent else cell.reason) if cell.reason else 0,
                opens=opens,
                label=f"{row.label}, {column.label}: {'not measured' if absent else text}"
                f"{f', {cell.mark}' if cell.mark else ''}",
            )
        )
    return found


def _note(view: TableView, reason: str) -> int:
    if reason not in view.notes:
        view.notes.append(reason)
    return view.notes.index(reason) + 1


def _told(table: Table, row: Row, column: Column, cell: Cell, text: str) -> dict[str, Any]:
    facts = {
        "Value": text if cell.value is None else f"{number(cell.value, column.format)} (in full: {cell.value!r})",
        "Interval": "" if cell.half_width is None else f"± {cell.half_width:.6g} (half-width of the mean's interval)",
        "Seeds": (f"{cell.n}, exact: seeds cannot change it" if cell.exact else str(cell.n)) if cell.n else "",
        "The paper reports": cell.reported.text if cell.reported else "",
        "Not measured" if cell.value is None else "Not complete": cell.reason,
        "Better": {"higher": "higher", "lower": "lower", "none": ""}[cell.direction],
        "Real against real": "" if cell.floor is None else f"{cell.floor:.6g}",
        "Measured on": cell.basis,
        "Profile": table.profile,
    }
    return {
        "title": f"{row.label}: {column.label}",
        "metric": column.metric,
        "facts": {name: fact for name, fact in facts.items() if fact},
        "records": list(cell.records),
        "compare": urlencode({"a": f"{row.entry}@", "m": column.metric}) if cell.value is not None else "",
        "command": f"bench show {table.suite}/{row.entry}/{table.profile}" if cell.records else "",
    }


@dataclass(frozen=True, kw_only=True)
class ClaimView:
    """A verdict as the pages show it; `sign` repeats in a glyph what the colour says."""

    name: str
    suite: str
    text: str
    source: str
    strength: str
    predicate: str
    verdict: str
    said: str
    word: str
    sign: str
    evidence: str
    expected: str
    as_expected: bool
    opens: str
    compare: str
    """The choice of the page that compares, for a claim about rows beside each other."""
    chart: Chart | None


def claim_view(judged: Judgement, suite: str, identity: str) -> ClaimView:
    """The claim with what it rests on; `identity` is that of its evidence in the page's data, where it has any."""
    sign, word = {"reproduced": ("✓", "yes"), "contradicted": ("✗", "no"), "not measured": ("○", "open")}[
        judged.verdict
    ]
    return ClaimView(
        name=judged.claim.name,
        suite=suite,
        text=judged.claim.text,
        source=judged.claim.source,
        strength=judged.claim.strength,
        predicate=predicate(judged.claim),
        verdict=judged.verdict,
        said=said(judged),
        word=word,
        sign=sign,
        evidence=evidence(judged),
        expected=str(judged.claim.expect) + (" again by other seeds" if judged.verdict == judged.expected else ""),
        as_expected=judged.as_expected,
        opens=identity if judged.evidence else "",
        compare=beside(judged),
        chart=chart(judged),
    )


def beside(judged: Judgement) -> str:
    """The first and the last of a claim's rows as the page that compares has them in its address; nothing for one row."""
    rows = dict.fromkeys(judged.claim.entries)
    if len(rows) < 2 or not judged.evidence:
        return ""
    first, *_, last = rows
    return urlencode({"a": f"{first}@", "b": f"{last}@", "m": judged.claim.metric})


def claim_told(judged: Judgement, suite: str) -> dict[str, Any]:
    """What a click on a claim's evidence tells."""
    claim = judged.claim
    facts = {
        "Claim": claim.text,
        "Source": claim.source,
        "Verdict": said(judged),
        "Evidence": explain(judged),
        "Independent repetition": _repetition(judged),
        "Strength": claim.strength,
        "Predicate": predicate(claim),
        "Weaker than": f"{claim.weakens}: {claim.because}" if claim.weakens else "",
        "Not controlled": claim.uncontrolled,
        "By energy rule": by_rule(judged.rules) if judged.rules else "",
        "Changed": judged.changed.sentence() if judged.changed else "",
        "Kind": f"{claim.kind} of {claim.metric}",
        "Rows": compared(claim),
        "Seeds needed": str(claim.min_seeds),
        "Expected": str(claim.expect) + (f": {claim.expect.because}" if claim.expect.because else ""),
    }
    facts = {name: fact for name, fact in facts.items() if fact}
    return {
        "title": claim.name,
        "metric": claim.metric,
        "facts": facts,
        "records": list(dict.fromkeys(judged.evidence)),
        "compare": beside(judged),
        "command": f"bench gate {suite}",
    }


def _repetition(judged: Judgement) -> str:
    return "exact: the same verdict" if judged.outlook and judged.outlook.exact else comes_again(judged)


WIDTH, HEIGHT, MARGIN = 150, 18, 6


@dataclass(frozen=True, kw_only=True)
class Chart:
    """An interval against its bound, in pixels of a small drawing: estimate, interval, where the bound begins and ends."""

    mean: float
    low: float
    high: float
    bound: tuple[float, float]


def chart(judged: Judgement) -> Chart | None:
    """None where there is no interval, or nothing to hold it against."""
    estimate = judged.estimate
    if estimate is None or estimate.low is None or estimate.high is None:
        return None
    low, high = _bounds(judged)
    marks = [estimate.low, estimate.high, *(limit for limit in (low, high) if limit is not None)]
    start, stop = min(marks), max(marks)
    room = (stop - start) * 0.15 or abs(start) * 0.1 or 1.0
    start, stop = start - room, stop + room

    def place(value: float | None, otherwise: float) -> float:
        if value is None:
            return otherwise
        share = (value - start) / (stop - start)
        return round(MARGIN + share * (WIDTH - 2 * MARGIN), 1)

    return Chart(
        mean=place(estimate.mean, 0),
        low=place(estimate.low, 0),
        high=place(estimate.high, 0),
        bound=(place(low, 0), place(high, WIDTH)),
    )


def _bounds(judged: Judgement) -> tuple[float | None, float | None]:
    bound = judged.claim.bound
    if bound is None:
        return 0.0, None
    if bound.equals is not None:
        return bound.equals - bound.tolerance, bound.equals + bound.tolerance
    return bound.at_least, bound.at_most
