"""Numbers as papers print them: `92.1 ± 0.3`, `148M`, `<0.1`, `−3.2`, `1,234`, `1.2 × 10⁻³`, `92.1 %`, and `not found`."""

from __future__ import annotations

import re
from decimal import Decimal

from retable.bench.suite import Reported, Sense

SI = {"k": 3, "K": 3, "M": 6, "G": 9, "B": 9, "T": 12}
UNKNOWN = "not found"
_MINUS = "-\u2212\u2010\u2011\u2012\u2013"
_GAPS = ",' \u00a0\u2009\u202f"
_RAISED = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺", "0123456789-+")
_BOUNDS: dict[str, Sense] = {"<": "<", ">": ">", "≤": "<=", "<=": "<=", "≥": ">=", ">=": ">=", "~": "~", "≈": "~"}

_DIGITS = rf"([0-9]{{1,15}}|[0-9]{{1,3}}([{_GAPS}][0-9]{{3}}){{1,4}})(\.[0-9]{{1,15}})?|\.[0-9]{{1,15}}"
_POWER = rf"[eE][-+]?[0-9]{{1,2}}| ?[×·x] ?10(\^[{_MINUS}+]?[0-9]{{1,2}}|[⁻⁺]?[⁰¹²³⁴⁵⁶⁷⁸⁹]{{1,2}})"
_SIZE = rf"({_DIGITS})({_POWER})?( ?[kKMGBT])?( ?%)?"
_PLUS_MINUS = r"(±|\+/?-|\\pm)"
_SPREAD = rf" ?{_PLUS_MINUS} ?{_SIZE}| ?\({_PLUS_MINUS} ?{_SIZE}\)"
PATTERN = rf"{UNKNOWN}|([<>]=?|[≤≥~≈])? ?[{_MINUS}+]?({_SIZE})({_SPREAD})?( ?[kKMGBT])?( ?%)?[*†‡§]*"
"""What is understood, for Python and JSON Schema alike."""

_PARTS = re.compile(
    rf"(?P<bound>[<>]=?|[≤≥~≈])? ?(?P<sign>[{_MINUS}+])?(?P<value>{_SIZE})"
    rf"( ?\(?{_PLUS_MINUS} ?(?P<spread>{_SIZE})\)?)?(?P<unit> ?[kKMGBT])?( ?%)?[*†‡§]*"
)


def printed(text: str) -> Reported:
    """The number behind a text that `PATTERN` matches; its unit of per cent stays, `5 %` is 5.

    A unit behind the spread belongs to both. Decimal arithmetic keeps 1.3B from becoming 1300000000.0000002.
    """
    if text == UNKNOWN:
        return Reported(value=None, text=text)
    parts = _PARTS.fullmatch(text)
    assert parts is not None, f"{text!r} was not checked"
    value, spread = _size(parts["value"]), _size(parts["spread"]) if parts["spread"] else None
    last = SI.get((parts["unit"] or parts["spread"] or "").strip(" %)")[-1:], 0)
    if last and parts["value"].rstrip(" %")[-1] not in SI:  # 1.3 ± 0.1M
        value = value.scaleb(last)
    if parts["unit"] and spread is not None:
        spread = spread.scaleb(last)
    if parts["sign"] and parts["sign"] in _MINUS:
        value = -value
    return Reported(
        value=float(value),
        text=text,
        spread=None if spread is None else float(spread),
        bound=_BOUNDS[parts["bound"]] if parts["bound"] else None,
    )


def _size(text: str) -> Decimal:
    """A number without its sign: digits, a power of ten, an SI letter."""
    text = text.rstrip(" %")
    power = SI.get(text[-1], 0)
    digits = text.rstrip("kKMGBT ") if power else text
    found = re.fullmatch(rf"(?P<digits>{_DIGITS})(?P<power>{_POWER})?", digits)
    assert found is not None
    if raised := found["power"]:
        exponent = raised.lstrip("eE") if raised[0] in "eE" else raised.partition("10")[2].lstrip("^")
        power += int(exponent.translate(_RAISED).translate(str.maketrans(_MINUS, "-" * len(_MINUS))))
    return Decimal(re.sub(rf"[{_GAPS}]", "", found["digits"])).scaleb(power)
