"""What a loaded data set of graphs is: nodes with features, undirected edges, and labels of nodes or of whole graphs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

PARTS = ("train", "validation", "test")


@dataclass(frozen=True, kw_only=True, eq=False)
class GraphData:
    """Features float32 (N, C), edges int64 (2, E), each given once or more, either way; labels int64 from 0.

    Labels are of the N nodes, or where `member` int64 (N,) numbers the graph of every node, of the graphs. `train`,
    `validation` and `test` are the places of labels, without a common one; `split` says where they come from. Raises
    ValueError for arrays that do not fit.
    """

    name: str
    features: np.ndarray
    edges: np.ndarray
    labels: np.ndarray
    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    num_classes: int
    split: str
    member: np.ndarray | None = None

    def __post_init__(self) -> None:
        import numpy as np

        nodes = len(self.features)
        if self.features.dtype != "float32" or self.features.ndim != 2:
            raise ValueError(f"features must be float32 (N, C), not {self.features.dtype} {self.features.shape}")
        if self.edges.dtype != "int64" or self.edges.ndim != 2 or len(self.edges) != 2:
            raise ValueError(f"edges must be int64 (2, E), not {self.edges.dtype} {self.edges.shape}")
        if self.edges.size and not 0 <= self.edges.min() <= self.edges.max() < nodes:
            raise ValueError(f"edges must join nodes from 0 to {nodes - 1}")
        labelled = nodes if self.member is None else int(self.member.max(initial=-1)) + 1
        if self.labels.dtype != "int64" or self.labels.shape != (labelled,):
            raise ValueError(f"labels must be int64 ({labelled},), not {self.labels.dtype} {self.labels.shape}")
        places = np.concatenate([self.train, self.validation, self.test])
        if len(np.unique(places)) < len(places) or (places.size and not 0 <= places.min() <= places.max() < labelled):
            raise ValueError(f"train, validation and test must be different places from 0 to {labelled - 1}")

    def pairs(self) -> np.ndarray:
        """Undirected edges once each, int64 (2, E), the smaller node first; without loops."""
        import numpy as np

        low, high = self.edges.min(0), self.edges.max(0)
        keys = np.unique((low * len(self.features) + high)[low != high])
        return np.stack(np.divmod(keys, len(self.features)))

    def homophily(self) -> float | None:
        """Share of the edges that join nodes of one class; None for labels of graphs, or without edges."""
        u, v = self.pairs()
        return None if self.member is not None or not len(u) else float((self.labels[u] == self.labels[v]).mean())


def drawn_split(
    labels: np.ndarray, per_class: int, validation: int, test: int, *key: object
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Places of `per_class` labels of every class, of `validation` and of `test` others, in the order of a drawn permutation.

    Raises ValueError where there are too few.
    """
    import numpy as np

    from retable.bench.datasets.draws import Draws

    order = np.argsort(Draws(*key).many(len(labels), 1 << 32), kind="stable")
    of_class = [order[labels[order] == label] for label in range(int(labels.max()) + 1)]
    train = np.concatenate([places[:per_class] for places in of_class])
    rest = order[~np.isin(order, train)]
    if min(map(len, of_class)) < per_class or len(rest) < validation + test:
        raise ValueError(f"{len(labels)} labels are too few for {per_class} a class, {validation} and {test} more")
    return train, rest[:validation], rest[validation : validation + test]
