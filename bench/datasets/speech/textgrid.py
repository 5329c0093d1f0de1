"""Praat's TextGrids as the Montreal Forced Aligner writes them: the intervals of one tier."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from retable.bench.errors import BenchError

SILENT = ("", "sil", "sp", "spn")
"""What silence is called; spoken noise (`spn`) is cut at the ends as silence is."""
_VALUE = re.compile(r'"((?:[^"]|"")*)"|(?<![\w.])(-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)(?![\w.\]])')
"""Texts in quotes and numbers: names, brackets and `=` of the long format say nothing more than their order does."""


@dataclass(frozen=True, kw_only=True)
class Interval:
    """Seconds, and what is said in between."""

    start: float
    end: float
    text: str


def intervals(path: Path, tier: str = "phones") -> list[Interval]:
    """Those of the named tier, in a file of the long or the short format, UTF-8 or UTF-16. Raises BenchError."""
    content = path.read_bytes()
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        values = [
            float(number) if number else text.replace('""', '"')
            for text, number in _VALUE.findall(content.decode(encoding))
        ]
        found = _tiers(iter(values))
    except (ValueError, StopIteration, AssertionError, UnicodeDecodeError):
        raise BenchError(f"{path} is not a TextGrid that ends where it says") from None
    if tier not in found:
        raise BenchError(f"{path} has no tier {tier!r}; it has {', '.join(map(repr, found)) or 'none'}")
    return found[tier]


def _tiers(values: object) -> dict[str, list[Interval]]:
    """Header, times of the whole, then every tier: its class, name, times, and its intervals or points."""

    def take(kind: type) -> object:
        value = next(values)  # type: ignore[call-overload]
        assert isinstance(value, kind)
        return value

    def numbers(count: int) -> list[float]:
        return [float(take(float)) for _ in range(count)]  # type: ignore[arg-type]

    assert (take(str), take(str)) == ("ooTextFile", "TextGrid")
    numbers(2)
    tiers: dict[str, list[Interval]] = {}
    for _ in range(int(numbers(1)[0])):
        kind, name = str(take(str)), str(take(str))
        numbers(2)
        items: list[Interval] = []
        for _ in range(int(numbers(1)[0])):
            start, *rest = numbers(2 if kind == "IntervalTier" else 1)
            items.append(Interval(start=start, end=rest[0] if rest else start, text=str(take(str))))
        tiers[name] = items
    return tiers


def spoken(found: list[Interval]) -> list[Interval]:
    """From the first to the last interval that is no silence; silences in between stay."""
    said = [i for i, interval in enumerate(found) if interval.text not in SILENT]
    return found[said[0] : said[-1] + 1] if said else []
