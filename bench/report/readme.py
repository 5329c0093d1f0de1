"""What a command writes between two marks of a README; the rest of the file is its author's."""

from __future__ import annotations

from retable.bench.errors import BenchError

BEGIN, END = "<!-- scorecard: written by `bench list --verdicts --into README.md` -->", "<!-- end of the scorecard -->"


def put_between(text: str, content: str, name: str, marks: tuple[str, str] = (BEGIN, END)) -> str:
    """The text with the scorecard, or what other marks enclose, in its place. Raises BenchError for a file without them."""
    before, begin, rest = text.partition(marks[0])
    _, end, after = rest.partition(marks[1])
    if not begin or not end:
        what = marks[1].removeprefix("<!-- end of ").removesuffix(" -->")
        raise BenchError(f"{name} has no place for {what}: it needs the lines {marks[0]} and {marks[1]}")
    return f"{before}{begin}\n{content.strip()}\n{end}{after}"
