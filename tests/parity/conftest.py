"""`pytest tests/parity --goldens DIR` holds the models against numeric fixtures of the papers' official code.

DIR is a folder of fixtures named after its paper (`aim/`), or a folder of such folders. A fixture's kind is the longest
adapter name that its file name starts with, so `ssd_scan_seed7.npz` is checked like `ssd_scan.npz`.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

PAPERS = tuple(sorted(path.stem.removesuffix("_adapters") for path in Path(__file__).parent.glob("*_adapters.py")))
Adapter = Callable[["Golden"], None]


class Golden:
    """One fixture: `config` and its arrays by prefix (`sd/`, `in/`, `out/`, `grad/`); of a JSON file `config` is all."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if path.suffix == ".json":
            self.arrays, self.config = {}, json.loads(path.read_text())
            return
        with np.load(path, allow_pickle=False) as archive:
            self.arrays = {name: archive[name] for name in archive.files if name != "config"}
            self.config: dict[str, Any] = json.loads(str(archive["config"])) if "config" in archive else {}

    def tensors(self, prefix: str) -> dict[str, Any]:
        """Torch tensors below a prefix, e.g. `tensors("sd/")`, with the prefix cut."""
        import torch

        return {
            name.removeprefix(prefix): torch.from_numpy(np.array(value))
            for name, value in self.arrays.items()
            if name.startswith(prefix) and value.dtype.kind != "U"
        }

    def part(self, prefix: str) -> dict[str, Any]:
        """The `config` of one case of several, e.g. `part("case00/")`."""
        config: dict[str, Any] = json.loads(str(self.arrays[f"{prefix}config"]))
        return config

    def sibling(self, kind: str, other: str) -> Golden:
        """The fixture of another kind with the same suffix, e.g. the encoder that belongs to a decoder."""
        name = self.path.name.replace(kind, other, 1)
        path = self.path.with_name(name)
        return Golden(path if path.exists() else self.path.with_name(f"{other}.npz"))


def adapters(paper: str) -> dict[str, Adapter]:
    """Fixture kind -> check, from `tests/parity/<paper>_adapters.py`."""
    table: dict[str, Adapter] = importlib.import_module(f"tests.parity.{paper}_adapters").ADAPTERS
    return table


def fixtures_below(folder: Path) -> list[tuple[str, Path]]:
    """(paper, file) for every fixture in `folder` or its sub-folders."""
    folders = [folder, *sorted(path for path in folder.glob("*") if path.is_dir())]
    return [
        (place.name, path)
        for place in folders
        for suffix in ("npz", "json")
        for path in sorted(place.glob(f"*.{suffix}"))
    ]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if {"paper", "fixture_path"} <= set(metafunc.fixturenames):
        folder = Path(metafunc.config.getoption("--goldens")).resolve()
        found = fixtures_below(folder)
        metafunc.parametrize(("paper", "fixture_path"), found, ids=[f"{paper}/{path.stem}" for paper, path in found])
