"""Digest of the sources behind a component: its module and what that imports, by token stream.

Comments, blank lines and formatting do not change it; one token does. Nothing is imported: files are read as text. The
closure stays within reference code (`models`, or the user's own package) and the component folders of `bench`, so that a
change in the harness does not invalidate results.
"""

from __future__ import annotations

import ast
import io
import sys
import tokenize
from collections.abc import Iterator
from functools import cache
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

COMPONENT_FOLDERS = (
    "retable.bench.tasks",
    "retable.bench.metrics",
    "retable.bench.datasets",
    "retable.bench.accountant",
)
_SILENT = {tokenize.COMMENT, tokenize.NL, tokenize.ENCODING, tokenize.ENDMARKER, tokenize.TYPE_COMMENT}


@cache
def source_digest(module: str) -> str:
    """SHA-256 over the token streams of a module and of the sources it imports, sorted by module name."""
    total = sha256()
    for name, path in sorted(_closure(module).items()):
        total.update(f"{name}={token_digest(path.read_text(encoding='utf-8'))}\n".encode())
    return total.hexdigest()


def source_files(module: str) -> list[Path]:
    """The files that `source_digest` reads."""
    return sorted(_closure(module).values())


def token_digest(source: str) -> str:
    """SHA-256 of Python source without comments, blank lines and spacing inside lines."""
    total = sha256()
    for kind, text in _tokens(source):
        total.update(f"{kind}:{text}\n".encode())
    return total.hexdigest()


def _tokens(source: str) -> Iterator[tuple[str, str]]:
    lines = source.splitlines(keepends=True)
    fstring_start: tuple[int, int] | None = None
    depth = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        name = tokenize.tok_name[token.type]
        if name == "FSTRING_START":  # Python 3.12 splits f-strings; older ones give one STRING
            depth += 1
            fstring_start = fstring_start or token.start
        elif name == "FSTRING_END":
            depth -= 1
            if depth == 0 and fstring_start is not None:
                yield "STRING", _between(lines, fstring_start, token.end)
                fstring_start = None
        elif depth == 0 and token.type not in _SILENT:
            text = "" if token.type in (tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT) else token.string
            yield name, text


def _between(lines: list[str], start: tuple[int, int], end: tuple[int, int]) -> str:
    (first, left), (last, right) = start, end
    if first == last:
        return lines[first - 1][left:right]
    return "".join([lines[first - 1][left:], *lines[first : last - 1], lines[last - 1][:right]])


def _closure(module: str) -> dict[str, Path]:
    found: dict[str, Path] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        path = _file_of(name)
        if name in found or path is None:
            continue
        found[name] = path
        waiting += [other for other in _imports(name, path) if _belongs(other, module)]
    return found


def _belongs(name: str, root: str) -> bool:
    top = name.partition(".")[0]
    if top == "retable":
        return name.startswith(("retable.models", *COMPONENT_FOLDERS))
    return top == root.partition(".")[0]


@cache
def _package_folder(top: str) -> Path | None:
    loaded = sys.modules.get(top)
    file = getattr(loaded, "__file__", None)
    if file is None:
        spec = find_spec(top)
        file = spec.origin if spec else None
    return None if file is None else Path(file)


def _file_of(module: str) -> Path | None:
    """The source file of a dotted name, without importing it; None for names that are not modules."""
    top, *parts = module.split(".")
    origin = _package_folder(top)
    if origin is None or origin.suffix != ".py":
        return None
    if not parts:
        return origin
    if origin.name != "__init__.py":
        return None
    path = origin.parent.joinpath(*parts)
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


def _imports(module: str, path: Path) -> set[str]:
    """Dotted names that a file imports anywhere in it; `from a import b` yields both `a` and `a.b`."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, *([base] if base else [])])
            names.add(base)
            names.update(f"{base}.{alias.name}" for alias in node.names)
    return names
