"""`bench` and `models` as other names of `retable.bench` and `retable.models`, for whoever has no folders of these names.

A module has one object whatever it is called: two copies of the registry would each know half of the components.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType

TOPS = ("bench", "models")


class Below:
    """Finds `bench.x` as `retable.bench.x` where `bench` is Retable's; stands before the finders that read folders."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        top, _, rest = name.partition(".")
        if top not in TOPS or not rest or getattr(sys.modules.get(top), "__name__", "") != f"retable.{top}":
            return None
        return _same(name)


class Last:
    """Finds `bench` itself where no folder on the path has that name."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        return _same(name) if name in TOPS else None


class Same:
    """Loads a module by importing it under its own name."""

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = import_module(f"retable.{spec.name}")
        self._own = module.__spec__, module.__loader__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """It ran when it was imported; the import system has just given it the other name's spec."""
        module.__spec__, module.__loader__ = self._own

    def get_code(self, name: str) -> object:
        """What `python -m bench.x` runs."""
        spec = find_spec(f"retable.{name}")
        assert spec is not None
        return spec.loader.get_code(spec.name)  # type: ignore[union-attr]


def install() -> None:
    """Take part in every import from now on."""
    if Below not in sys.meta_path:
        sys.meta_path.insert(0, Below)
        sys.meta_path.append(Last)


def take_over(top: str) -> None:
    """Called by `bench/__init__.py` where the repository itself is on the path: from now on `bench` is `retable.bench`."""
    sys.modules[top] = import_module(f"retable.{top}")


def _same(name: str) -> ModuleSpec | None:
    own = find_spec(f"retable.{name}")
    if own is None:
        return None
    package = own.submodule_search_locations is not None
    return ModuleSpec(name, Same(), origin=own.origin, is_package=package)  # type: ignore[arg-type]
