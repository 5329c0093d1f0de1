"""Digest of the sources behind a component: its module, all that it imports, and the data files that this code names.

Files count by content, wherever they lie and whatever they are called: comments, blank lines, formatting and a move change
nothing; one token, one byte of a data file does. Nothing is imported: files are read as text. The closure holds everything
outside the standard library and installed packages; of Retable itself the reference code and the component folders, so that
a change in the harness does not invalidate results.
"""

from __future__ import annotations

import ast
import io
import json
import sys
import tokenize
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

from retable.bench.kept import kept_by_files, remembered, stamp

COMPONENT_FOLDERS = tuple(f"retable.bench.{name}" for name in ("tasks", "metrics", "datasets", "accountant"))
OWN = ("retable.models", *COMPONENT_FOLDERS)
"""What of Retable belongs to keys."""
MOST_FILES = 1000
"""Of a folder that code names."""
_SILENT = {tokenize.COMMENT, tokenize.NL, tokenize.ENCODING, tokenize.ENDMARKER, tokenize.TYPE_COMMENT}


@cache
def source_digest(module: str) -> str:
    """SHA-256 over the contents of a module's sources and of the data files they name.

    Of Retable's own it is remembered for as long as none of these is touched, nor any file comes or goes.
    """

    def make() -> tuple[str, list[str]]:
        return _source_digest(module), [__file__, *map(str, source_files(module))]

    return kept_by_files("sources", [module], make) if module.partition(".")[0] == "retable" else make()[0]


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
class Source:
    """What is read of one file: its tokens (line, kind, text), its imports, and the strings that may name a file beside it."""

    tokens: tuple[tuple[int, str, str], ...]
    imports: tuple[Import, ...]
    names: tuple[str, ...]


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
        one.first: " ".join(_alone(m, closure[m], _inside(closure[m], m, closure)) for m in one.modules if m in closure)
        for one in inside
    }
    return _digest(_without(_source(name, path).tokens, inside, led))


@cache
def _alone(name: str, path: Path, inside: tuple[Import, ...]) -> str:
    """Digest of a file but for where its imports from the closure lead."""
    return _digest(_without(_source(name, path).tokens, inside, {}))


def _inside(path: Path, module: str, closure: dict[str, Path]) -> tuple[Import, ...]:
    return tuple(
        one for one in _source(module, path).imports if one.alone and any(name in closure for name in one.modules)
    )


def _digest(tokens: Iterable[tuple[str, str]]) -> str:
    return sha256("".join(f"{kind}:{text}\n" for kind, text in tokens).encode()).hexdigest()


def _without(
    tokens: Iterable[tuple[int, str, str]], imports: Sequence[Import], led: Mapping[int, str]
) -> Iterator[tuple[str, str]]:
    """A file's tokens; each of `imports` is one token with what it binds and what it leads to."""
    replaced = {line: one for one in imports for line in range(one.first, one.last + 1)}
    told = 0
    for line, kind, text in tokens:
        one = replaced.get(line)
        if one is None or kind in ("INDENT", "DEDENT"):
            yield kind, text
        elif one.first != told:
            told = one.first
            yield "IMPORT", f"{one.bound} {led.get(one.first, '')}"


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
        waiting += [other for one in _source(name, path).imports for other in one.modules]
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
def _source(module: str, path: Path) -> Source:
    """A file as read; of Retable's own it is remembered until that file is touched."""
    if module.partition(".")[0] == "retable":
        depends_on = [sys.version, module, *(repr(stamp(str(file), file.stat())) for file in (path, Path(__file__)))]
        source = remembered("files", depends_on, lambda: _read(module, path), write=_packed, read=_unpacked)
    else:
        source = _read(module, path)
    imports = (replace(one, modules=tuple(map(_own_name, one.modules))) for one in source.imports)
    return replace(source, imports=tuple(imports))


def _read(module: str, path: Path) -> Source:
    text = path.read_text(encoding="utf-8")
    nodes = list(ast.walk(ast.parse(text)))
    return Source(tuple(_tokens(text)), tuple(_imports(module, path, nodes)), tuple(sorted(_named(nodes))))


def _packed(source: Source) -> bytes:
    return json.dumps([source.tokens, [list(vars(one).values()) for one in source.imports], source.names]).encode()


def _unpacked(content: bytes) -> Source:
    tokens, imports, names = json.loads(content)
    unpacked = (Import(first, last, tuple(modules), bound, alone) for first, last, modules, bound, alone in imports)
    return Source(tuple(map(tuple, tokens)), tuple(unpacked), tuple(names))


def _imports(module: str, path: Path, nodes: Iterable[ast.AST]) -> Iterator[Import]:
    """The import statements anywhere in a file; `from a import b` may load both `a` and `a.b`."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    lines = path.read_bytes().splitlines()
    for node in nodes:
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
        yield Import(node.lineno, last, tuple(modules), bound, alone=not beside.strip())


def _own_name(module: str) -> str:
    """`models.x` as a plug-in may call `retable.models.x`."""
    top = module.partition(".")[0]
    own = top in ("bench", "models") and getattr(sys.modules.get(top), "__name__", top) != top
    return f"retable.{module}" if own else module


def _data(closure: dict[str, Path]) -> set[Path]:
    """Files beside the sources that these name as a string, or as `folder / "name"`; all files of a folder so named."""
    found: set[Path] = set()
    for name, path in closure.items():
        for named in _source(name, path).names:
            place = path.parent / named
            if place.suffix != ".py" and place.is_file():
                found.add(place)
            elif place.is_dir() and not (place / "__init__.py").exists() and place != path.parent:
                inside = sorted(file for file in place.rglob("*") if file.is_file() and file.suffix != ".pyc")
                found.update(inside[:MOST_FILES])
    return found


def _named(nodes: Iterable[ast.AST]) -> set[str]:
    """Strings that may be a file's name relative to the source: plain ones, and those joined by `/`."""
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            names.add(node.value)
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            names.add("/".join(reversed(list(_joined(node)))))
    return {name for name in names if 0 < len(name) < 200 and name.isprintable() and not name.startswith(("/", ".."))}


def _joined(node: ast.expr) -> Iterator[str]:
    while isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
        if not (isinstance(node.right, ast.Constant) and isinstance(node.right.value, str)):
            return
        yield node.right.value
        node = node.left
