"""A generated citation graph: a degree-corrected stochastic block model with bags of words. It is no real graph.

A node has a weight of Pareto's law of the exponent 2.5, at most 20. An edge's first end is drawn by weight; with the
probability `homophily` the other end is of the same class, else of another one, again by weight. Each class has 60 topic
words of 500: a node has each topic word with `topic`, every other word with 0.01; a share `wrong` of the nodes have the topic
of another class.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from retable.bench.errors import BenchError

if TYPE_CHECKING:
    import numpy as np

    from retable.bench.datasets.draws import Draws
    from retable.bench.datasets.graphs.graph import GraphData

SHARES = (30, 25, 20, 15, 10)
"""Of the classes, in per cent."""
WORDS, TOPIC_WORDS = 500, 60
EXPONENT, HEAVIEST = 2.5, 20
LEVELS, UNIT = 1024, 64
"""Weights are whole numbers of 1/64, drawn from so many quantiles of the law."""
TEN_THOUSAND = 10_000
BACKGROUND = 100
"""Chance of a word that is not of the topic, of ten thousand."""
PER_CLASS, VALIDATION = 20, 300
VERSION = 1


@dataclass(frozen=True, kw_only=True)
class BlockModel:
    """`nodes` in five classes of unequal size, `degree` edges a node on average; 20 labels a class, 300 for validation.

    The rest, at most 1,000, are test nodes. `homophily`, `topic` and `wrong` are read to four digits.
    """

    nodes: int = 1500
    degree: float = 4.0
    homophily: float = 0.8
    topic: float = 0.12
    wrong: float = 0.2
    seed: int = 0

    NAME: ClassVar[str] = "block-model"

    def __post_init__(self) -> None:
        if not 500 <= self.nodes <= 1_000_000:
            raise BenchError(f"`nodes` must be from 500 to 1,000,000, not {self.nodes}")
        if not 0 < self.degree <= 20:
            raise BenchError(f"`degree` must be above 0 and at most 20, not {self.degree}")
        if self.seed < 0:
            raise BenchError(f"`seed` must be at least 0, not {self.seed}")
        for name in ("homophily", "topic", "wrong"):
            if not 0 <= getattr(self, name) <= 1:
                raise BenchError(f"`{name}` must lie between 0 and 1, not be {getattr(self, name)}")

    def digest(self) -> str:
        """Of everything that the graph follows from."""
        from hashlib import sha256

        return sha256(f"block-model {VERSION} {self}".encode()).hexdigest()

    def load(self) -> GraphData:
        """The same graph on every machine."""
        import numpy as np

        from retable.bench.datasets.draws import Draws
        from retable.bench.datasets.graphs.graph import GraphData, drawn_split

        bounds = np.cumsum([0, *SHARES]) * self.nodes // 100
        labels = np.repeat(np.arange(len(SHARES)), np.diff(bounds))
        rest = self.nodes - PER_CLASS * len(SHARES) - VALIDATION
        key = ("block-model", self.seed)
        train, validation, test = drawn_split(labels, PER_CLASS, VALIDATION, min(rest, 1000), *key, "split")
        return GraphData(
            name="block-model",
            features=self._words(labels, Draws(*key, "words")),
            edges=self._edges(labels, Draws(*key, "edges")),
            labels=labels,
            train=train,
            validation=validation,
            test=test,
            num_classes=len(SHARES),
            split=f"drawn with the seed {self.seed}",
        )

    def _edges(self, labels: np.ndarray, draws: Draws) -> np.ndarray:
        """nodes * degree / 2 different edges without loops, int64 (2, E)."""
        import numpy as np

        total = np.concatenate([[0], np.cumsum(weights(len(labels), draws))])
        first = np.searchsorted(labels, np.arange(len(SHARES) + 1))
        wanted, found = round(self.nodes * self.degree / 2), np.zeros(0, np.int64)
        while len(found) < wanted:
            count = 2 * (wanted - len(found)) + 16
            u = by_weight(total, np.zeros(count, np.int64), np.full(count, self.nodes), draws)
            start, end = first[labels[u]], first[labels[u] + 1]
            same = draws.many(count, TEN_THOUSAND) < round(self.homophily * TEN_THOUSAND)
            v = np.where(same, by_weight(total, start, end, draws), by_weight_outside(total, start, end, draws))
            keys = np.minimum(u, v) * self.nodes + np.maximum(u, v)
            _, place = np.unique(np.concatenate([found, keys[u != v]]), return_index=True)
            found = np.concatenate([found, keys[u != v]])[np.sort(place)][:wanted]
        return np.stack(np.divmod(found, self.nodes))

    def _words(self, labels: np.ndarray, draws: Draws) -> np.ndarray:
        """Bags of words, float32 (N, 500) of 0 and 1."""
        import numpy as np

        topics = np.zeros((len(SHARES), WORDS), bool)
        for topic in topics:
            topic[np.argsort(draws.many(WORDS, 1 << 32), kind="stable")[:TOPIC_WORDS]] = True
        astray = draws.many(len(labels), TEN_THOUSAND) < round(self.wrong * TEN_THOUSAND)
        other = (labels + 1 + draws.many(len(labels), len(SHARES) - 1)) % len(SHARES)
        about = topics[np.where(astray, other, labels)]
        chance = np.where(about, round(self.topic * TEN_THOUSAND), BACKGROUND)
        return (draws.many(about.size, TEN_THOUSAND).reshape(about.shape) < chance).astype(np.float32)


def weights(count: int, draws: Draws) -> np.ndarray:
    """int64 (count,): weights by Pareto's law in 1/64."""
    import numpy as np

    quantiles = (np.arange(LEVELS) + 0.5) / LEVELS
    law = np.rint(UNIT * np.minimum((1 - quantiles) ** (-1 / EXPONENT), HEAVIEST)).astype(np.int64)
    return law[draws.many(count, LEVELS)]


def by_weight(total: np.ndarray, start: np.ndarray, end: np.ndarray, draws: Draws) -> np.ndarray:
    """A node from `start` to `end` - 1 for each pair, by weight; `total` are the sums of the weights before each node."""
    import numpy as np

    reach = total[end] - total[start]
    return np.searchsorted(total, total[start] + draws.many(len(start), 1 << 32) * reach // (1 << 32), side="right") - 1


def by_weight_outside(total: np.ndarray, start: np.ndarray, end: np.ndarray, draws: Draws) -> np.ndarray:
    """A node before `start` or from `end` on, by weight."""
    import numpy as np

    inside = total[end] - total[start]
    place = draws.many(len(start), 1 << 32) * (total[-1] - inside) // (1 << 32)
    return np.searchsorted(total, np.where(place < total[start], place, place + inside), side="right") - 1
