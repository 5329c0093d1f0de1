"""The part of YAML that suites may use, read so that every value knows the line it stands on.

Scalars follow the core schema of YAML 1.2 (`1e-3` is a number; `no` and `10:30` are texts, and so is `012`). Tags,
anchors, aliases, merge keys, directives, duplicate keys and several documents are refused: they surprise more than they
help, and some run code. The tree is built from the parser's events on an explicit stack.
"""

from __future__ import annotations

import math
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from retable.bench.errors import BenchError, DeclarationError

MAX_BYTES = 1_000_000
MAX_DEPTH = 32

_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]*)|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(
    r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)
_WORDS = {
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys(("null", "Null", "NULL", "~", ""), None),
}
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")
_TAB_INDENT = re.compile(r"^ *\t", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Node:
    """A value and where it stands: a dict or list of nodes, or a scalar with its text as written.

    The value of a mapping's key counts from the line of that key.
    """

    value: Any
    path: str
    line: int
    text: str = ""

    @property
    def where(self) -> str:
        return f"{self.path}:{self.line}"

    def error(self, sentence: str) -> DeclarationError:
        return DeclarationError(f"{self.where}: {sentence}")

    def plain(self) -> Any:
        """The value without its lines: dicts, lists and scalars."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value

    def find(self, path: tuple[str | int, ...]) -> Node:
        """The node at the end of `path`, or the last one on the way that exists."""
        node = self
        for step in path:
            try:
                node = node.value[step]
            except (KeyError, IndexError, TypeError):
                break
        return node


def load(path: str | Path) -> Node:
    """The one document of a file.

    Raises BenchError for a file that cannot be read, DeclarationError (`path:line: sentence`) for its content.
    """
    file = Path(path)
    try:
        status = file.stat()
        if not stat.S_ISREG(status.st_mode):
            raise BenchError(f"{path} is not a file")
        if status.st_size > MAX_BYTES:
            raise DeclarationError(f"{path}:1: the file is larger than {MAX_BYTES // 1_000_000} MB")
        with file.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise BenchError(f"{str(path)!r} cannot be read: {reason}") from error
    return loads(content, str(path))


def loads(content: bytes, path: str) -> Node:
    """As `load`, for the content of a file called `path`."""
    text = _decode(content, path)
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        return _compose(yaml.parse(text, Loader=loader), path)
    except yaml.MarkedYAMLError as error:
        mark, problem = error.problem_mark or error.context_mark, error.problem or ""
        _refuse_depth(text[: mark.index] if mark else text, path)
        if error.context_mark and "end of stream" in problem:  # the line to look at is where it began
            mark = error.context_mark
        began = f" {error.context}" if error.context else ""
        if error.context_mark and mark and error.context_mark.line != mark.line:
            began += f" that starts on line {error.context_mark.line + 1}"
        hint = " (a text that holds ': ' needs quotes)" if "mapping values" in problem else ""
        raise _fail(path, mark.line + 1 if mark else 1, f"not valid YAML: {problem}{began}{hint}") from error
    except yaml.YAMLError as error:
        _refuse_depth(text, path)
        raise _fail(path, 1, f"not valid YAML: {' '.join(str(error).split())}") from error


def scalar(text: str) -> str | int | float | bool | None:
    """What a plain scalar means. Raises ValueError for a number outside of 64 bits."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in "+-.0123456789":
        return text
    if _INT.fullmatch(text):
        number = int(text, 0) if len(text) < 80 else 1 << 64
        if not -(1 << 63) <= number < 1 << 63:
            raise ValueError(f"the number {shorten(text)} does not fit into 64 bits")
        return number
    if _FLOAT.fullmatch(text):
        value = math.nan if text[-1].isalpha() else float(text)
        if not math.isfinite(value):
            raise ValueError(f"the number {shorten(text)} is not finite")
        return value
    return text


def shorten(text: str, limit: int = 40) -> str:
    """`text`, cut for a message."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _decode(content: bytes, path: str) -> str:
    if len(content) > MAX_BYTES:
        raise _fail(path, 1, f"the file is larger than {MAX_BYTES // 1_000_000} MB")
    if content.startswith(b"\xef\xbb\xbf"):
        raise _fail(path, 1, "the file starts with a byte order mark; save it as UTF-8 without one")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise _fail(path, line, f"byte 0x{content[error.start]:02x} is not UTF-8") from error
    for pattern, sentence in (
        (_CONTROL, "the character U+{:04X} is not allowed"),
        (_TAB_INDENT, "a tab indents; use spaces"),
    ):
        if found := pattern.search(text):
            raise _fail(path, text.count("\n", 0, found.end()) + 1, sentence.format(ord(found[0][0])))
    return text


def _fail(path: str, line: int, sentence: str) -> DeclarationError:
    return DeclarationError(f"{path}:{line}: {sentence}")


def _too_deep(path: str, line: int) -> DeclarationError:
    return _fail(path, line, f"nested deeper than {MAX_DEPTH} levels")


def _refuse_depth(text: str, path: str) -> None:
    """The parser reads ahead and may refuse brackets before it has shown them: the sentence is ours all the same.

    Quotes are not looked at. The text is refused anyway, this only says why.
    """
    depth = 0
    for found in re.finditer(r"[\[\]{}]", text):
        depth += 1 if found[0] in "[{" else -1
        if depth > MAX_DEPTH:
            raise _too_deep(path, text.count("\n", 0, found.start()) + 1)


@dataclass
class _Open:
    """A mapping or list that has begun and not ended; `key` waits for its value."""

    node: Node
    key: Node | None = None
    first_lines: dict[str, int] = field(default_factory=dict)

    def add(self, node: Node) -> None:
        if isinstance(self.node.value, list):
            self.node.value.append(node)
        elif self.key is None:
            self.key = self._checked_key(node)
        else:
            self.node.value[self.key.text] = node
            self.key = None

    def _checked_key(self, node: Node) -> Node:
        if isinstance(node.value, dict | list):
            raise node.error("a key must be a word, not a list or mapping")
        if node.text == "<<":
            raise node.error("merge keys (`<<`) are not used in suites; use `extends`")
        if node.text in self.first_lines:
            raise node.error(f"the key {shorten(node.text)!r} is already on line {self.first_lines[node.text]}")
        self.first_lines[node.text] = node.line
        return node


def _compose(events: Iterator[Any], path: str) -> Node:
    from yaml import events as of

    root: Node | None = None
    stack: list[_Open] = []
    for event in events:
        kind, line = type(event), event.start_mark.line + 1
        place = stack[-1].key.line if stack and stack[-1].key else line
        if kind is of.ScalarEvent:
            _refuse_extras(event, path, line)
            node = Node(_scalar_value(event, path, line), path, place, event.value)
        elif kind is of.MappingStartEvent or kind is of.SequenceStartEvent:
            _refuse_extras(event, path, line)
            if len(stack) == MAX_DEPTH:
                raise _too_deep(path, line)
            stack.append(_Open(Node({} if kind is of.MappingStartEvent else [], path, place)))
            continue
        elif kind is of.MappingEndEvent or kind is of.SequenceEndEvent:
            node = stack.pop().node
        elif kind is of.AliasEvent:
            raise _fail(
                path, line, f"the alias *{event.anchor} is not allowed; use `extends`, or write the value again"
            )
        elif kind is of.DocumentStartEvent:
            if root is not None:
                raise _fail(path, line, "a second document starts; a suite file holds one")
            if event.version or event.tags:
                raise _fail(path, line, "directives (`%`) are not used in suites")
            continue
        else:
            continue
        if stack:
            stack[-1].add(node)
        else:
            root = node
    if root is None:
        raise _fail(path, 1, "the file is empty")
    return root


def _refuse_extras(event: Any, path: str, line: int) -> None:
    if event.anchor is not None:
        raise _fail(path, line, f"the anchor &{event.anchor} is not allowed; use `extends`, or write the value again")
    if event.tag is not None:
        tag = event.tag.replace("tag:yaml.org,2002:", "!!")
        raise _fail(path, line, f"the tag {shorten(tag)} is not allowed; a suite holds plain values")


def _scalar_value(event: Any, path: str, line: int) -> Any:
    if event.style:
        if found := _CONTROL.search(event.value):  # what an escape in double quotes stands for
            raise _fail(path, line, f"the character U+{ord(found[0]):04X} is not allowed")
        return event.value
    try:
        return scalar(event.value)
    except ValueError as error:
        raise _fail(path, line, str(error)) from error
