"""The YAML that suites may use: what scalars mean, what is refused, and that every value knows its line."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from retable.bench.declare.strict_yaml import MAX_BYTES, MAX_DEPTH, load, loads, scalar
from retable.bench.errors import BenchError, DeclarationError


def value(text: str) -> Any:
    return loads(text.encode(), "x.yaml").plain()


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("1e-3", 0.001),
        ("2.5E4", 25000.0),
        ("1e5", 100000.0),
        (".5", 0.5),
        ("1.", 1.0),
        ("-0", 0),
        ("+7", 7),
        ("0x1F", 31),
        ("0o17", 15),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("no", "no"),
        ("yes", "yes"),
        ("on", "on"),
        ("off", "off"),
        ("y", "y"),
        ("10:30", "10:30"),
        ("012", "012"),
        ("1_000", "1_000"),
        ("2024-01-02", "2024-01-02"),
        ("1.2.3", "1.2.3"),
        ("e5", "e5"),
        ("nan", "nan"),
        ("=", "="),
        ("'1'", "1"),
        ('"true"', "true"),
        ("|\n  1\n", "1\n"),
    ],
)
def test_scalars_follow_yaml_1_2(text: str, meaning: Any) -> None:
    found = value(f"key: {text}\n")["key"]
    assert found == meaning
    assert type(found) is type(meaning)


@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**63), 2**63 - 1))
def test_numbers_come_back_as_written(number: float | int) -> None:
    found = scalar(repr(number))
    assert found == number
    assert type(found) is type(number)
    if isinstance(number, float):
        assert math.copysign(1, number) == math.copysign(1, found)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", [".inf", "-.INF", ".nan", "1e999", str(2**63), "0x" + "f" * 17, "9" * 5000])
def test_numbers_that_nothing_can_hold_are_refused(text: str) -> None:
    with pytest.raises(DeclarationError, match=r"^x\.yaml:2: the number .{3,80}$"):
        value(f"a: 1\nb: {text}\n")


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.text(st.characters(codec="ascii", exclude_categories=["Cc"])),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.from_regex(r"[a-z]{1,8}", fullmatch=True), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(st.dictionaries(st.text(max_size=8, alphabet="ab: #'-\""), plain), st.none() | st.integers(0, 4))
def test_json_is_read_as_json(document: dict[str, Any], indent: int | None) -> None:
    assert value(json.dumps(document, indent=indent)) == document


def test_every_value_knows_its_line() -> None:
    root = loads(b"a:\n  b:\n    - 1\n    - x: 2\n      y:\n        [3,\n         4]\nc:\n\n  5\n", "x.yaml")
    lines = {
        ("a",): 1,
        ("a", "b"): 2,
        ("a", "b", 0): 3,
        ("a", "b", 1, "x"): 4,
        ("a", "b", 1, "y"): 5,
        ("a", "b", 1, "y", 1): 7,
        ("c",): 8,
    }
    assert {path: root.find(path).line for path in lines} == lines
    assert root.find(("a", "b", 1, "z", 0)).line == 4, "the last node on the way"
    assert root.find(("a", "b", 0)).where == "x.yaml:3"


def test_the_text_as_written_is_kept() -> None:
    assert loads(b"fid: 3.60", "x.yaml").value["fid"].text == "3.60"


@pytest.mark.parametrize(
    ("content", "line", "fragment"),
    [
        (b"\xef\xbb\xbfa: 1\n", 1, "byte order mark"),
        (b"\xff\xfea\x00:\x00", 1, "0xff is not UTF-8"),
        (b"a: 1\nb: \xe4\n", 2, "0xe4 is not UTF-8"),
        (b"a: 1\nb: \x00\n", 2, "U+0000"),
        (b"a: 1\n\n# \x1b[31m\n", 3, "U+001B"),
        ("a: 1\nb: \u2028\n".encode(), 2, "U+2028"),
        (b"a: 1\n  \tb: 2\n", 2, "a tab indents"),
        (b'a: "\\x07"\n', 1, "U+0007"),
        (b"", 1, "empty"),
        (b"a: 1\n...\nb: 2\n", 3, ""),
        (b"{" * 50_000, 1, "deeper than"),
        (b"- " * 50_000, 1, "deeper than"),
        (b"x" * (MAX_BYTES + 1), 1, "larger than 1 MB"),
    ],
)
def test_refused_with_its_line(content: bytes, line: int, fragment: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        loads(content, "x.yaml")
    assert str(caught.value).startswith(f"x.yaml:{line}: ")
    assert fragment in str(caught.value)
    assert "\n" not in str(caught.value)


def test_depth_up_to_the_limit_is_read() -> None:
    assert value("[" * MAX_DEPTH + "]" * MAX_DEPTH)


@pytest.mark.parametrize("marked", [True, False])
def test_a_parser_with_a_limit_of_its_own_does_not_choose_the_words(
    monkeypatch: pytest.MonkeyPatch, marked: bool
) -> None:
    """Some parsers refuse what they have read ahead before they show the first event of it."""

    def refusing(text: str, Loader: Any) -> Any:
        mark = yaml.Mark("x", len(text) - 1, text.count("\n"), 0, None, None)
        raise yaml.MarkedYAMLError(problem="no more of these", problem_mark=mark) if marked else yaml.YAMLError("no")

    monkeypatch.setattr(yaml, "parse", refusing)
    with pytest.raises(DeclarationError, match=rf"^x\.yaml:2: nested deeper than {MAX_DEPTH} levels$"):
        loads(b"a:\n" + b"[" * (MAX_DEPTH + 2), "x.yaml")
    with pytest.raises(DeclarationError, match="not valid YAML"):
        loads(b"a:\n" + b"[]" * (MAX_DEPTH + 2), "x.yaml")


def test_line_ends_of_windows_are_read() -> None:
    assert loads(b"a: 1\r\nb:\r\n  c: 2\r\n", "x.yaml").find(("b", "c")).line == 3


@given(st.binary(max_size=200) | st.text(alphabet="ab:-[]{}#&*!|>'\"%@`,?\n\t 01", max_size=200).map(str.encode))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    message = None
    try:
        loads(content, "x.yaml")
    except DeclarationError as error:
        message = str(error)
    assert message is None or (message.startswith("x.yaml:") and "\n" not in message)


@pytest.mark.parametrize("name", ["absent.yaml", ".", "nul\0.yaml", "n" * 5000])
def test_a_file_that_cannot_be_read(tmp_path: Path, name: str) -> None:
    with pytest.raises(BenchError) as caught:
        load(f"{tmp_path}/{name}")
    assert "\n" not in str(caught.value)


def test_a_large_file_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "large.yaml"
    with path.open("wb") as file:
        file.truncate(1 << 40)  # sparse: reading it would take minutes
    with pytest.raises(DeclarationError, match="larger than 1 MB"):
        load(path)


def test_both_parsers_of_pyyaml_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    text = b"a: {b: [1, x, 'y z', null]}\nc: |\n  two\n  lines\nd: >-\n  folded\n  text\n"
    fast = loads(text, "x.yaml")
    monkeypatch.delattr(yaml, "CSafeLoader")
    assert loads(text, "x.yaml") == fast
    for bad in (
        b"a: &x 1",
        b"a: *x",
        b"a: !t 1",
        b"a: [1",
        b"a: b: c",
        b"a: 1\na: 2",
        b"%YAML 1.2\n---\na: 1",
        b"[" * 999,
    ):
        with pytest.raises(DeclarationError, match=r"^x:"):
            loads(bad, "x")
