"""Suites as a command line names them, and what is remembered of files that were read before."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from retable.bench import registry
from retable.bench.errors import BenchError, DeclarationError, nearest
from retable.bench.kept import kept, kept_by_modules

if TYPE_CHECKING:
    from retable.bench.suite import Suite

T = TypeVar("T")


def load(arguments: Namespace) -> Suite:
    """The suite and profile that a command names."""
    return load_suite(find_suite(arguments.suite), arguments.profile, tuple(arguments.overrides))


def find_suite(name: str) -> Path:
    """A suite file by path, or by its bare name in suites/."""
    path = Path(name)
    if path.suffix != ".yaml" and (Path("suites") / f"{name}.yaml").is_file():
        path = Path("suites") / f"{name}.yaml"
    if not path.is_file():
        hint = nearest(path.stem, names()) or "; `bench list` names those in suites/"
        raise BenchError(f"no suite file {name}{hint}")
    return path


def names() -> list[str]:
    """The suites in suites/."""
    return sorted(path.stem for path in Path("suites").glob("*.yaml"))


def load_suite(path: Path, profile: str, overrides: tuple[str, ...] = ()) -> Suite:
    """A suite at a profile, remembered by the content of its file."""

    def read() -> Suite:
        from retable.bench.declare import reader

        suite = reader.load_suite(path, profile, overrides)
        if suite.profile.of:
            raise BenchError(
                f"the profile {profile!r} rehearses {suite.profile.of!r} on made-up files: `bench rehearse {suite.name}` runs "
                "it, and its numbers are shown nowhere"
            )
        return suite

    content = _digest(path)
    if registry.extended() or not content:
        return read()
    how = [str(path), "\n".join((profile, *overrides)), content]
    return kept("suites", how, read, write=_pickled, read=_unpickled)


def summary(path: Path) -> dict[str, Any]:
    """What `bench list` tells of a suite."""

    def make() -> dict[str, Any]:
        from retable.bench.declare.reader import load_suite

        suite = load_suite(path, "mini")
        return {
            "suite": suite.name,
            "title": suite.title,
            "arxiv": suite.arxiv,
            "profiles": list(suite.profiles),
            "reported_rows": sum(bool(entry.reported) for entry in suite.entries),
            "measured_rows": sum(entry.method is not None for entry in suite.entries),
            "cases": len(suite.cases()),
            "claims": len(suite.claims),
        }

    return _read_before("summaries", path, make)


def fault(path: Path) -> str:
    """The first sentence about a suite that is not as it should be at every profile, or the empty text."""

    def make() -> str:
        from retable.bench.declare.reader import check_suite

        check_suite(path)
        return ""

    try:
        return _read_before("checks", path, make)
    except DeclarationError as error:
        return str(error)


def _read_before(sort: str, path: Path, make: Callable[[], T]) -> T:
    """Until the file changes, a module that was loaded for it, or the names of components; what others bring may change unseen."""
    content = _digest(path)
    if registry.extended() or not content:
        return make()
    names = [repr(registry.built_in(kind)) for kind in registry.KINDS]
    return kept_by_modules(sort, [str(path), content, *names], make)


def _digest(path: Path) -> str:
    """Of a file's content; empty where it cannot be read."""
    with suppress(OSError):
        return sha256(path.read_bytes()).hexdigest()
    return ""


def _pickled(suite: Suite) -> bytes:
    import pickle

    return pickle.dumps(suite)


def _unpickled(content: bytes) -> Suite:
    """Only nouns of a declaration can come out of a file, whatever was put there."""
    import io
    import pickle

    from retable.bench import suite as nouns

    class Nouns(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            found = getattr(nouns, name, None)
            if module != nouns.__name__ or not hasattr(found, "__dataclass_fields__"):
                raise pickle.UnpicklingError(f"{module}.{name} is no part of a suite")
            return found

    read = Nouns(io.BytesIO(content)).load()
    if not isinstance(read, nouns.Suite):
        raise pickle.UnpicklingError("not a suite")
    return read
