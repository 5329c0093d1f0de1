"""Tables as CSV, one line a cell: what a spreadsheet or a data frame reads."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from io import StringIO
from typing import Any

from retable.bench.report.flat import COLUMNS, flat
from retable.bench.report.table import Table

_FORMULA = ("=", "+", "-", "@")


def render(tables: Sequence[Table]) -> str:
    """Numbers in full; what is absent is an empty field, with its reason in a field of its own.

    A text that a spreadsheet would take for a formula gets an apostrophe before it (JSON and Parquet keep it as it is).
    """
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in flat(tables):
        writer.writerow([_field(value) for value in row.values()])
    return text.getvalue()


def _field(value: Any) -> Any:
    if isinstance(value, list):
        return " ".join(value)
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
