"""The scorecard between two marks of a README; the rest of the file is its author's."""

from __future__ import annotations

from retable.bench.errors import BenchError

BEGIN, END = "<!-- scorecard: written by `bench list --verdicts --into README.md` -->", "<!-- end of the scorecard -->"


def put_between(text: str, scorecard: str, name: str) -> str:
    """The text with the scorecard in its place. Raises BenchError for a file without the marks."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise BenchError(f"{name} has no place for the scorecard: it needs the lines {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{scorecard.strip()}\n{END}{after}"
