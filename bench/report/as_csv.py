"""Tables as CSV, one line a cell: what a spreadsheet or a data frame reads."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from io import StringIO

from bench.report.escape import clean
from bench.table import Table

HEADER = (
    "suite",
    "table",
    "profile",
    "entry",
    "label",
    "group",
    "metric",
    "reported",
    "reported_text",
    "measured",
    "half_width",
    "seeds",
    "mark",
    "reason",
    "records",
)


def render(tables: Sequence[Table]) -> str:
    """Numbers in full; what is absent is an empty field, with its reason in a field of its own."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    for table in tables:
        for row in table.rows:
            for metric, cell in row.cells.items():
                reported = (cell.reported.value, cell.reported.text) if cell.reported else (None, None)
                measured = (cell.value, cell.half_width, cell.n or None, cell.mark, cell.reason, " ".join(cell.records))
                names = (table.suite, table.name, table.profile, row.entry, row.label, row.group, metric)
                fields = (*names, *reported, *measured)
                writer.writerow([clean(field) if isinstance(field, str) else field for field in fields])
    return text.getvalue()
