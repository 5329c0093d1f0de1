"""Digest of the sources behind a component: its module, all that it imports, and the data files that this code names.

Files count by content, wherever they lie and whatever they are called: comments, blank lines, formatting and a move change
nothing; one token, one byte of a data file does. Nothing is imported: files are read as text. The closure holds everything
outside the standard library and installed packages; of Retable itself the reference code and the component folders, so that
a change in the harness does not invalidate results.
"""

from __future__ import annotations

import ast
import io
import sys
import tokenize
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

from retable.bench.kept import kept

COMPONENT_FOLDERS = tuple(f"retable.bench.{name}" for name in ("tasks", "metrics", "datasets", "accountant"))
OWN = ("retable.models", *COMPONENT_FOLDERS)
"""What of Retable belongs to keys."""
MOST_FILES = 1000
"""Of a folder that code names."""
_SILENT = {tokenize.COMMENT, tokenize.NL, tokenize.ENCODING, tokenize.ENDMARKER, tokenize.TYPE_COMMENT}


@cache
def source_digest(module: str) -> str:
    """SHA-256 over the contents of a module's sources and of the data files they name.

    Of Retable's own it is remembered for as long as none of its files is touched.
    """
    if module.partition(".")[0] == "retable":
        return kept("sources", [module], lambda: _source_digest(module))
    return _source_digest(module)


def _source_digest(module: str) -> str:
    closure = _closure(module)
    total = sha256()
    for part in sorted(_content(name, path, closure) for name, path in closure.items()):
        total.update(f"{part}\n".encode())
    for part in sorted(sha256(path.read_bytes()).hexdigest() for path in _data(closure)):
        total.update(f"data {part}\n".encode())
    return total.hexdigest()


def source_files(module: str) -> list[Path]:
    """The files that `source_digest` reads."""
    closure = _closure(module)
    return sorted({*closure.values(), *_data(closure)})


def token_digest(source: str) -> str:
    """SHA-256 of Python source without comments, blank lines and spacing inside lines."""
    return _digest((kind, text) for _, kind, text in _tokens(source))


@dataclass(frozen=True)
class Import:
    """One import statement: its lines, the modules it may load, and what it reads of them and calls it.

    `alone` says that nothing else stands on its lines.
    """

    first: int
    last: int
    modules: tuple[str, ...]
    bound: str
    alone: bool


def _content(name: str, path: Path, closure: dict[str, Path]) -> str:
    """Digest of a file in which an import from the closure stands for what it leads to, not for where that lies."""
    inside = _inside(path, name, closure)
    led = {
        one.first: " ".join(_alone(closure[m], _inside(closure[m], m, closure)) for m in one.modules if m in closure)
        for one in inside
    }
    return _digest(_without(path, inside, led))


@cache
def _alone(path: Path, inside: tuple[Import, ...]) -> str:
    """Digest of a file but for where its imports from the closure lead."""
    return _digest(_without(path, inside, {}))


def _inside(path: Path, module: str, closure: dict[str, Path]) -> tuple[Import, ...]:
    return tuple(one for one in _imports(module, path) if one.alone and any(name in closure for name in one.modules))


def _digest(tokens: Iterable[tuple[str, str]]) -> str:
    return sha256("".join(f"{kind}:{text}\n" for kind, text in tokens).encode()).hexdigest()


def _without(path: Path, imports: Sequence[Import], led: Mapping[int, str]) -> Iterator[tuple[str, str]]:
    """A file's tokens; each of `imports` is one token with what it binds and what it leads to."""
    replaced = {line: one for one in imports for line in range(one.first, one.last + 1)}
    told = 0
    for line, kind, text in _lines(path):
        one = replaced.get(line)
        if one is None or kind in ("INDENT", "DEDENT"):
            yield kind, text
        elif one.first != told:
            told = one.first
            yield "IMPORT", f"{one.bound} {led.get(one.first, '')}"


@cache
def _lines(path: Path) -> tuple[tuple[int, str, str], ...]:
    return tuple(_tokens(path.read_text(encoding="utf-8")))


def _tokens(source: str) -> Iterator[tuple[int, str, str]]:
    """Line, kind and text of every token that means something."""
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
                yield fstring_start[0], "STRING", _between(lines, fstring_start, token.end)
                fstring_start = None
        elif depth == 0 and token.type not in _SILENT:
            text = "" if token.type in (tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT) else token.string
            yield token.start[0], name, text


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
        if name in found or (path := _file_of(name)) is None:
            continue
        if name != module and not _belongs(name, path, module):
            continue
        found[name] = path
        waiting += [other for one in _imports(name, path) for other in one.modules]
    return found


def _belongs(name: str, path: Path, root: str) -> bool:
    top = name.partition(".")[0]
    if top == "retable":
        return f"{name}.".startswith(tuple(f"{own}." for own in OWN))
    if top == root.partition(".")[0]:
        return True
    installed = any(part in ("site-packages", "dist-packages") for part in path.parts)
    return not installed and top not in sys.stdlib_module_names


@cache
def _file_of(module: str) -> Path | None:
    """The source file of a dotted name, without importing it; None for names that are not modules of Python source."""
    top, *parts = module.split(".")
    if not parts:
        return _top_file(top)
    for folder in _top_folders(top):
        path = folder.joinpath(*parts)
        for candidate in (path.with_suffix(".py"), path / "__init__.py"):
            if candidate.is_file():
                return candidate
    return None


def _top_file(top: str) -> Path | None:
    file = getattr(sys.modules.get(top), "__file__", None)
    if file is None and top not in sys.stdlib_module_names:
        spec = find_spec(top)
        file = spec.origin if spec and spec.has_location else None
    return Path(file) if file and file.endswith(".py") else None


@cache
def _top_folders(top: str) -> tuple[Path, ...]:
    """Where a package's modules lie; several for one without an `__init__.py`."""
    if top in sys.stdlib_module_names:
        return ()
    loaded = sys.modules.get(top)
    places = getattr(loaded, "__path__", None)
    if loaded is None and (spec := find_spec(top)) is not None:
        places = spec.submodule_search_locations
    return tuple(Path(place) for place in places or ())


@cache
def _nodes(path: Path) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


@cache
def _imports(module: str, path: Path) -> tuple[Import, ...]:
    """The import statements anywhere in a file; `from a import b` may load both `a` and `a.b`."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    lines = path.read_bytes().splitlines()
    found = []
    for node in _nodes(path):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
            bound = ", ".join(alias.asname or alias.name.rpartition(".")[2] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, *([base] if base else [])])
            modules = [base, *(f"{base}.{alias.name}" for alias in node.names)]
            bound = ", ".join(f"{alias.name} as {alias.asname or alias.name}" for alias in node.names)
        else:
            continue
        last = node.end_lineno or node.lineno
        beside = lines[node.lineno - 1][: node.col_offset] + lines[last - 1][node.end_col_offset :].partition(b"#")[0]
        names = tuple(map(_own_name, modules))
        found.append(Import(node.lineno, last, names, bound, alone=not beside.strip()))
    return tuple(found)


def _own_name(module: str) -> str:
    """`models.x` as a plug-in may call `retable.models.x`."""
    top = module.partition(".")[0]
    own = top in ("bench", "models") and getattr(sys.modules.get(top), "__name__", top) != top
    return f"retable.{module}" if own else module


def _data(closure: dict[str, Path]) -> set[Path]:
    """Files beside the sources that these name as a string, or as `folder / "name"`; all files of a folder so named."""
    found: set[Path] = set()
    for path in closure.values():
        for named in _named(path):
            place = path.parent / named
            if place.suffix != ".py" and place.is_file():
                found.add(place)
            elif place.is_dir() and not (place / "__init__.py").exists() and place != path.parent:
                inside = sorted(file for file in place.rglob("*") if file.is_file() and file.suffix != ".pyc")
                found.update(inside[:MOST_FILES])
    return found


@cache
def _named(path: Path) -> frozenset[str]:
    """Strings that may be a file's name relative to the source: plain ones, and those joined by `/`."""
    names: set[str] = set()
    for node in _nodes(path):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            names.add(node.value)
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            names.add("/".join(reversed(list(_joined(node)))))
    return frozenset(
        name for name in names if 0 < len(name) < 200 and name.isprintable() and not name.startswith(("/", ".."))
    )


def _joined(node: ast.expr) -> Iterator[str]:
    while isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
        if not (isinstance(node.right, ast.Constant) and isinstance(node.right.value, str)):
            return
        yield node.right.value
        node = node.left
