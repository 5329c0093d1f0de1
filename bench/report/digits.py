"""Numbers for print: as many digits as their interval allows, units that keep them short."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from retable.bench.report.numbers import number

MOST = 5
"""Digits of a value, however narrow its interval."""
TINY = 1e-4
"""Below it a number by itself is written with a power of ten."""
SHORT = 0.02, 1e5
"""Between them a column's numbers need no power of ten in its head."""
_UNIT = re.compile(r"(?P<open>\(|^)(?P<prefix>[nµumkMGT]?)(?P<unit>[JWs])(?P<rest>(?:/[^),]*)?)(?=\)|,)")
_PREFIXES = {"n": -9, "µ": -6, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12}
_SI = ((1e9, "B"), (1e6, "M"), (1e3, "k"))


@dataclass(frozen=True, kw_only=True)
class Digits:
    """A number as texts: of its mean, of its half-width (empty: none, or none that its digits show), and a power of ten."""

    mean: str
    half: str = ""
    power: int = 0


@dataclass(frozen=True, kw_only=True)
class Scale:
    """What a column is multiplied with before print, and its head then; `power` has no unit to go into."""

    label: str
    factor: float = 1.0
    power: int = 0


def digits(value: float, half: float | None, form: str) -> Digits:
    """Half-widths have two digits where they begin with 1 or 2, one elsewhere, and means end where these end.

    Without a half-width (exact, one seed) a value has its column's format.
    """
    power = 0
    if 0 < abs(value) < TINY and form not in ("si",) and not form.endswith(("%", "e", "E")):
        power = math.floor(math.log10(abs(value)))
        value, half = value / 10.0**power, None if half is None else half / 10.0**power
        form = ".2f"
    if not half or form.endswith("%"):
        text = number(value, form)
        return Digits(mean=f"{value:.0f}" if form.endswith("g") and "e+" in text else text, power=power)
    letter = ""
    if form == "si":
        size, letter = next(((size, letter) for size, letter in _SI if abs(value) >= size), (1.0, ""))
        value, half = value / size, half / size
    places = min(_places(half), MOST - 1 - math.floor(math.log10(abs(value))) if value else MOST)
    mean = _fixed(value, places)
    shown = "" if round(half, places) == 0 else _fixed(half, places)
    return Digits(mean=f"{mean}{letter}", half=f"{shown}{letter}" if shown else "", power=power)


def _places(half: float) -> int:
    """Decimals that a half-width gives."""
    exponent = math.floor(math.log10(half))
    return -exponent + (1 if round(half / 10.0**exponent, 1) < 3 else 0)


def _fixed(value: float, places: int) -> str:
    text = f"{round(value, places):.{max(places, 0)}f}"
    return text.removeprefix("-") if not text.strip("-0.") else text


def scale(label: str, values: Sequence[float]) -> Scale:
    """Another prefix of the unit in the head where the numbers are small or large, else a power of ten."""
    sizes = [abs(value) for value in values if value and math.isfinite(value)]
    if not sizes or 0.1 <= (middle := median(sizes)) < 1000:
        return Scale(label=label)
    thousands = 3 * math.floor(math.log10(middle) / 3)
    if (unit := _UNIT.search(label)) is not None:
        wanted = _PREFIXES[unit["prefix"]] + thousands
        for prefix, exponent in _PREFIXES.items():
            if exponent == wanted:
                shown = f"{unit['open']}{prefix}{unit['unit']}{unit['rest']}"
                head = f"{label[: unit.start()]}{shown}{label[unit.end() :]}"
                return Scale(label=head, factor=10.0**-thousands)
        return Scale(label=label)
    if SHORT[0] <= middle < SHORT[1]:
        return Scale(label=label)
    return Scale(label=label, factor=10.0**-thousands, power=thousands)
