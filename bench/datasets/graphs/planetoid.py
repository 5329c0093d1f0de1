"""Planetoid's files of a citation graph, `ind.NAME.{x,y,tx,ty,allx,ally,graph,test.index}` (arXiv 1603.08861), and its split."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from retable.bench.errors import BenchError, MissingDataError

if TYPE_CHECKING:
    from retable.bench.datasets.graphs.graph import GraphData

PICKLED = ("x", "y", "tx", "ty", "allx", "ally", "graph")
SUFFIXES = (*PICKLED, "test.index")
VALIDATION = 500


@dataclass(frozen=True, kw_only=True)
class Planetoid:
    """A folder below `$BENCH_DATA/<root>` with Planetoid's own files and the public split. Pickles are read, not run."""

    name: Literal["cora", "citeseer", "pubmed"] = "cora"
    root: str = "planetoid"

    NAME: ClassVar[str] = "planetoid"

    def digest(self) -> str:
        """SHA-256 over the eight files. Raises MissingDataError."""
        from hashlib import sha256

        total = sha256()
        for suffix in SUFFIXES:
            total.update(f"{suffix} {sha256(self._file(suffix)).hexdigest()}\n".encode())
        return total.hexdigest()

    def load(self) -> GraphData:
        """Raises MissingDataError, BenchError naming the file that cannot be read."""
        return read(self.name, self._file)

    def _file(self, suffix: str) -> bytes:
        folder = Path(os.environ.get("BENCH_DATA", "data")) / self.root
        path = folder / f"ind.{self.name}.{suffix}"
        if not path.is_file():
            raise MissingDataError(
                f"{path} is missing: put Planetoid's files ind.{self.name}.{{{','.join(SUFFIXES)}}} into {folder}"
            )
        return path.read_bytes()


def read(name: str, file: Callable[[str], bytes]) -> GraphData:
    """The graph of the eight files, which `file` gives by suffix, with the public split.

    Rows of `tx` belong to the nodes of `test.index`; nodes of its range that it leaves out are isolated, have no words and no
    label (class 0 stands there), and are in no part of the split. Raises BenchError for files that do not fit together.
    """
    import numpy as np

    from retable.bench.datasets.graphs.graph import GraphData
    from retable.bench.datasets.graphs.pickled import matrix, neighbours

    where = {suffix: f"ind.{name}.{suffix}" for suffix in SUFFIXES}
    y, tx, ty, allx, ally = (matrix(file(part), where[part]) for part in ("y", "tx", "ty", "allx", "ally"))
    test = np.sort(np.array(file("test.index").split(), np.int64))
    nodes = int(test[-1]) + 1
    if len(tx) != len(test) or int(test[0]) != len(allx) or tx.shape[1] != allx.shape[1]:
        raise BenchError(f"{where['tx']}, {where['allx']} and {where['test.index']} do not belong together")
    features = np.zeros((nodes, allx.shape[1]), np.float32)
    classes = np.zeros((nodes, ally.shape[1]), np.float32)
    listed = np.array(file("test.index").split(), np.int64)
    for whole, known, rest in ((features, allx, tx), (classes, ally, ty)):
        whole[: len(known)], whole[listed] = known, rest
    return GraphData(
        name=name,
        features=features,
        edges=neighbours(file("graph"), where["graph"]),
        labels=classes.argmax(1).astype(np.int64),
        train=np.arange(len(y)),
        validation=np.arange(len(y), len(y) + VALIDATION),
        test=test,
        num_classes=classes.shape[1],
        split="Planetoid's public split",
    )
