"""Generated graphs whose class is how their nodes mix: with their own kind, with anybody, with the other kind.

Nodes are of two kinds, each with words of its own, in equal numbers whatever the class; so a bag of all words of a graph says
nothing, and who is joined to whom says everything.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from retable.bench.errors import BenchError

if TYPE_CHECKING:
    import numpy as np

    from retable.bench.datasets.draws import Draws
    from retable.bench.datasets.graphs.graph import GraphData

OWN_KIND = (90, 50, 10)
"""By class: in how many of a hundred edges both ends are of one kind."""
WORDS = 16
HAS, BACKGROUND = 40, 5
"""Chances in per cent of a word of the own half of the words, and of the other half."""
LEAST, MOST = 12, 24
"""Nodes of a graph: an even number from the one to the other."""
EDGES_A_NODE = 2
VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Mixing:
    """`graphs` in three classes in turn; the first third trains, a sixth validates, the rest is the test."""

    graphs: int = 360
    seed: int = 0

    NAME: ClassVar[str] = "mixing"

    def __post_init__(self) -> None:
        if self.graphs < 36:
            raise BenchError(f"`graphs` must be at least 36, not {self.graphs}")
        if self.seed < 0:
            raise BenchError(f"`seed` must be at least 0, not {self.seed}")

    def digest(self) -> str:
        """Of everything that the graphs follow from."""
        from hashlib import sha256

        return sha256(f"mixing {VERSION} {self}".encode()).hexdigest()

    def load(self) -> GraphData:
        """The same graphs on every machine."""
        import numpy as np

        from retable.bench.datasets.draws import Draws
        from retable.bench.datasets.graphs.graph import GraphData

        draws = Draws("mixing", self.seed)
        labels = np.arange(self.graphs) % len(OWN_KIND)
        sizes = [2 * draws.between(LEAST // 2, MOST // 2) for _ in range(self.graphs)]
        before = np.cumsum([0, *sizes])
        edges = [
            start + links(size, OWN_KIND[label], draws)
            for start, size, label in zip(before, sizes, labels, strict=False)
        ]
        kinds = np.concatenate([np.arange(size) % 2 for size in sizes])
        own = np.arange(WORDS) // (WORDS // 2) == kinds[:, None]
        chance = np.where(own, HAS, BACKGROUND)
        features = (draws.many(own.size, 100).reshape(own.shape) < chance).astype(np.float32)
        places = np.arange(self.graphs)
        train, validation = self.graphs // 3, self.graphs // 2
        return GraphData(
            name="mixing",
            features=features,
            edges=np.concatenate(edges, 1),
            labels=labels,
            train=places[:train],
            validation=places[train:validation],
            test=places[validation:],
            num_classes=len(OWN_KIND),
            split=f"drawn with the seed {self.seed}",
            member=np.repeat(places, sizes),
        )


def links(size: int, own_kind: int, draws: Draws) -> np.ndarray:
    """int64 (2, E): edges of a graph whose nodes are of the kinds 0, 1, 0, 1, ..., repetitions and loops among them."""
    import numpy as np

    u = draws.many(EDGES_A_NODE * size, size)
    other = (draws.many(len(u), 100) >= own_kind).astype(np.int64)
    return np.stack([u, 2 * draws.many(len(u), size // 2) + (u + other) % 2])
