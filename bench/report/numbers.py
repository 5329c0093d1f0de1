"""Numbers as text: formats of columns, and the two texts of a cell."""

from __future__ import annotations

from retable.bench.report.table import Cell
from retable.bench.suite import Column

ABSENT = "—"
NOT_FOUND = "not found: what the paper reports here is not known to us"
_SI = ((1e9, "B"), (1e6, "M"), (1e3, "k"))


def number(value: float, form: str) -> str:
    """`value` in a column's format: a Python format spec, or `si` (147.6M)."""
    if form == "si":
        for size, letter in _SI:
            if abs(value) >= size:
                return f"{value / size:.4g}{letter}"
        return f"{value:.4g}"
    text = format(round(value) if form.endswith("d") else value, form)
    return text.removeprefix("-") if not text.strip("-0.") else text  # what rounds to zero has no sign


def size(count: int) -> str:
    """Bytes for people, and all of them: `23.5 GiB (25276514304 bytes)`."""
    for unit, power in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if count >= 2**power:
            return f"{count / 2**power:.3g} {unit} ({count} bytes)"
    return f"{count} bytes"


def fact(name: str, value: object) -> str:
    """A recorded fact as text; what is called memory or bytes is a size."""
    counts = isinstance(value, int) and not isinstance(value, bool)
    of_bytes = name.endswith(("memory", "bytes")) or name.startswith(("memory", "bytes"))
    return size(value) if counts and of_bytes else f"{value}"  # type: ignore[arg-type]


def measured(cell: Cell, column: Column) -> str:
    """Mean and half-width, ≥ before a lower bound; an em dash for what is absent, nothing where nothing was to be measured."""
    if cell.value is None:
        return ABSENT if cell.told else ""
    text = ("≥ " if cell.at_least else "") + number(cell.value, column.format)
    return text if cell.half_width is None else f"{text} ± {_half(cell.half_width, column.format)}"


def _half(width: float, form: str) -> str:
    """A half-width that its column's digits do not show is said to be below the last of them, and not to be zero."""
    text = number(width, form)
    if not width or text.strip("0.%") or form == "si":
        return text
    last = text.rindex("0")
    return f"<{text[:last]}1{text[last + 1 :]}"


def reported(cell: Cell) -> str:
    """The paper's own text."""
    return cell.reported.text if cell.reported else ""


def not_measured(reason: str) -> str:
    """The footnote of a number that is absent here."""
    return reason if reason.startswith("not measured") else f"not measured: {reason}"
