"""Plug-ins: a user's file or module that registers components, with the files beside it importable."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from hashlib import sha256
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from retable.bench.errors import BenchError

PREFIX = "retable_plugin_"


class Beside:
    """Finds modules in a plug-in's folder, but none that Python or an installed package has: a file may be called json.py."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if path is not None or "." in name or name in sys.stdlib_module_names:
            return None
        spec = PathFinder.find_spec(name, [str(self.folder)])
        if spec is None or PathFinder.find_spec(name, _installations()) is not None:
            return None
        return spec


def declared(folder: Path) -> list[str]:
    """Plug-ins that a project's pyproject.toml lists: `[tool.retable]`, `plugins = ["mine.py", "a_module"]`.

    That of the folder, or of the nearest one above it; files are found beside it. Raises BenchError.
    """
    for place in (folder, *folder.parents):
        file = place / "pyproject.toml"
        if file.is_file():
            return [str(place / name) if name.endswith(".py") else name for name in _listed(file)]
    return []


def _listed(file: Path) -> list[str]:
    text = file.read_text(encoding="utf-8", errors="replace")
    if "tool.retable" not in text:  # the TOML reader is slower than the light verbs may be
        return []
    import tomllib

    try:
        table = tomllib.loads(text).get("tool", {}).get("retable", {})
    except tomllib.TOMLDecodeError as error:
        raise BenchError(f"{file} is not TOML: {error}") from error
    names = table.get("plugins", [])
    if unknown := sorted(set(table) - {"plugins"}):
        raise BenchError(f"{file}: [tool.retable] has no {unknown[0]!r}; it has plugins")
    if not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise BenchError(f"{file}: plugins of [tool.retable] is a list of files and modules")
    return names


def load_plugin(path: str) -> None:
    """Run a Python file, whatever its name, or import a module; their decorators register components.

    Raises BenchError in one sentence for whatever goes wrong in it, an exit included.
    """
    try:
        if path.endswith(".py"):
            _run(Path(path).resolve())
        else:
            importlib.import_module(path)
    except (Exception, SystemExit) as error:
        text = f"{error}" if isinstance(error, BenchError) else f"{type(error).__name__}: {error}"
        raise BenchError(f"plugin {path} cannot be loaded: {text}") from error


def _run(file: Path) -> None:
    name = PREFIX + sha256(str(file).encode()).hexdigest()[:12]
    _look_beside(file.parent)
    spec = spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    _refuse_namesakes(file)


def _look_beside(folder: Path) -> None:
    """For the whole process: a method may import its helper only when it fits."""
    if not any(isinstance(finder, Beside) and finder.folder == folder for finder in sys.meta_path):
        sys.meta_path.insert(0, Beside(folder))


def _refuse_namesakes(file: Path) -> None:
    """A helper of one plug-in must not be served to another one that has its own of the same name."""
    for finder in sys.meta_path:
        if not isinstance(finder, Beside) or finder.folder == file.parent:
            continue
        for name in {path.stem for path in finder.folder.glob("*.py")} & {
            path.stem for path in file.parent.glob("*.py")
        }:
            loaded = getattr(sys.modules.get(name), "__file__", None)
            if loaded and Path(loaded).parent in (finder.folder, file.parent):
                raise BenchError(
                    f"{finder.folder / name}.py and {file.parent / name}.py are both importable as {name!r}; rename one"
                )


def _installations() -> list[str]:
    """The folders on the path that hold installed packages."""
    return [entry for entry in sys.path if Path(entry).name in ("site-packages", "dist-packages")]
