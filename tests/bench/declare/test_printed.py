"""Numbers as papers print them keep their value, their spread and their text."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retable.bench.declare.printed import PATTERN, printed
from retable.bench.declare.reader import load_suite
from retable.bench.errors import DeclarationError
from retable.bench.plugins import load_plugin
from tests.bench.conftest import SUITE, TINY, Bench


@pytest.mark.parametrize(
    ("text", "value", "spread", "bound"),
    [
        ("92.1 ± 0.3", 92.1, 0.3, None),
        ("92.1±0.3%", 92.1, 0.3, None),
        ("92.1% ± 0.3%", 92.1, 0.3, None),
        ("92.1 +/- 0.3", 92.1, 0.3, None),
        ("92.1 +- 0.3", 92.1, 0.3, None),
        (r"92.1 \pm 0.3", 92.1, 0.3, None),
        ("92.1 (±0.3)", 92.1, 0.3, None),
        ("92.1%", 92.1, None, None),
        ("92.1 %", 92.1, None, None),
        ("<0.1", 0.1, None, "<"),
        ("> 90%", 90.0, None, ">"),
        ("≤ 5", 5.0, None, "<="),
        (">=5", 5.0, None, ">="),
        ("~12", 12.0, None, "~"),
        ("≈1.3M", 1.3e6, None, "~"),
        ("\u22123.2", -3.2, None, None),
        ("\u20133.2 ± 1", -3.2, 1.0, None),
        ("-3.2", -3.2, None, None),
        ("+3.2", 3.2, None, None),
        ("1,234", 1234.0, None, None),
        ("12,345,678.5", 12345678.5, None, None),
        ("1\u202f234\u202f567", 1234567.0, None, None),
        ("1 234", 1234.0, None, None),
        ("1'234", 1234.0, None, None),
        ("1.3B", 1.3e9, None, None),
        ("1.3 ± 0.1M", 1.3e6, 0.1e6, None),
        ("1.3M ± 0.1M", 1.3e6, 0.1e6, None),
        ("(1.3", None, None, None),
        ("1.3 (±0.1) M", 1.3e6, 0.1e6, None),
        ("1.2e-3", 1.2e-3, None, None),
        ("1.2 × 10⁻³", 1.2e-3, None, None),
        ("1.2·10^\u22123", 1.2e-3, None, None),
        ("3×10^6 ± 2×10^5", 3e6, 2e5, None),
        ("1.5 × 10^10", 1.5e10, None, None),
        (".5", 0.5, None, None),
        ("92.1*", 92.1, None, None),
        ("6.95†", 6.95, None, None),
        ("1,23", None, None, None),
        ("0,5", None, None, None),
        ("12,34,567", None, None, None),
        ("92.1 ±", None, None, None),
        ("± 0.3", None, None, None),
        ("1.2.3", None, None, None),
        ("--5", None, None, None),
        ("5 ms", None, None, None),
        ("nan", None, None, None),
        ("1e999", None, None, None),
        ("٣", None, None, None),
    ],
)
def test_what_papers_print(text: str, value: Any, spread: Any, bound: Any) -> None:
    if value is None:
        assert not re.fullmatch(PATTERN, text)
        return
    assert re.fullmatch(PATTERN, text)
    found = printed(text)
    assert (found.value, found.spread, found.bound, found.text) == (value, spread, bound, text)


def test_what_is_not_found_has_no_value() -> None:
    assert printed("not found").value is None


@given(st.from_regex(PATTERN, fullmatch=True).filter(lambda text: text != "not found"))
def test_whatever_matches_is_a_number(text: str) -> None:
    found = printed(text)
    assert isinstance(found.value, float)
    assert found.value == found.value
    assert (found.spread is not None) == bool(re.search(r"±|\+/?-|\\pm", text[1:]))


def test_a_suite_keeps_them(bench: Bench) -> None:
    load_plugin(str(TINY))
    file = bench.suite
    file.write_text(SUITE.replace("reported: {weight: 3.5}", 'reported: {weight: "1,234 ± 5"}'))
    (cited,) = [entry for entry in load_suite(file).entries if entry.name == "cited"]
    assert (cited.reported["weight"].value, cited.reported["weight"].spread) == (1234.0, 5.0)
    assert cited.reported["weight"].text == "1,234 ± 5"
    for wrong in ("1,234", '"1,23"', "92.1 ms"):
        file.write_text(SUITE.replace("reported: {weight: 3.5}", f"reported: {{weight: {wrong}}}"))
        with pytest.raises(DeclarationError, match=r"tiny\.yaml:\d+"):
            load_suite(file)
