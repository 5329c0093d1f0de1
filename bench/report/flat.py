"""Tables as rows of plain values, a row a cell: what CSV and Parquet files hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from retable.bench.report.escape import clean
from retable.bench.report.table import Table

COLUMNS: dict[str, type] = {
    "suite": str,
    "table": str,
    "profile": str,
    "entry": str,
    "label": str,
    "group": str,
    "metric": str,
    "reported": float,
    "reported_text": str,
    "measured": float,
    "half_width": float,
    "seeds": int,
    "mark": str,
    "reason": str,
    "records": list,
}
"""Names of the columns with the types of their values; None is what is absent."""


def flat(tables: Sequence[Table]) -> Iterator[dict[str, Any]]:
    """Numbers in full, texts cleaned, records as a list of keys."""
    for table in tables:
        for row in table.rows:
            for metric, cell in row.cells.items():
                reported = (cell.reported.value, cell.reported.text) if cell.reported else (None, None)
                measured = (cell.value, cell.half_width, cell.n or None, cell.mark, cell.reason, list(cell.records))
                names = (table.suite, table.name, table.profile, row.entry, row.label, row.group, metric)
                fields = (clean(field) if isinstance(field, str) else field for field in (*names, *reported, *measured))
                yield dict(zip(COLUMNS, fields, strict=True))
