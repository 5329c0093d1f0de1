"""What a few-shot data set is: a pool that little is drawn from, what is left of it to choose an epoch by, and a test list.

Labels are int64 (N,), one of K classes, or float32 (N, K), several at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from retable.bench.datasets.draws import Draws
from retable.bench.datasets.labels import Score, one_hot, score
from retable.bench.errors import BenchError

if TYPE_CHECKING:
    import numpy as np

    from retable.bench.datasets.images import Images


@dataclass(frozen=True, kw_only=True, eq=False)
class Rows:
    """Rows of a list: an image may stand in several. `source` holds the images, `chosen` (N,) which of them each row shows."""

    source: Images
    chosen: np.ndarray
    labels: np.ndarray
    augments: bool = False

    def __len__(self) -> int:
        return len(self.chosen)

    def images(self, indices: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
        """uint8 (N, C, H, W) of these rows; `rng` asks for the training view where the source has one."""
        return self.source.images(self.chosen[indices], rng)


@dataclass(frozen=True, kw_only=True, eq=False)
class Draw:
    """What one method is tuned on, and what its epochs are judged on by the score `chooses`."""

    name: str
    train: Rows
    validation: Rows
    multi_label: bool
    chooses: Score

    def judge(self, probabilities_NK: np.ndarray) -> float:
        """The score on the validation list, higher is better. Raises BenchError where it has none."""
        found = score(self.chooses, probabilities_NK, self.validation.labels)
        if found != found:
            raise BenchError(
                f"the validation list of {self.name} has no label to take an AUC of: no epoch can be chosen"
            )
        return found


@dataclass(frozen=True, kw_only=True, eq=False)
class FewShotData:
    """A loaded few-shot data set.

    `reports` is the score that it is judged by, `chooses` the one that an epoch is chosen by. `draws(shots, seed)` gives the
    name, the training rows and the validation rows of a draw; equal arguments, equal rows. `held_out` is the whole test list.
    """

    name: str
    num_classes: int
    image_shape: tuple[int, int, int]
    reports: Score
    chooses: Score
    shots: tuple[int, ...]
    held_out: Rows
    draws: Callable[[int, int], tuple[str, Rows, Rows]]

    @property
    def multi_label(self) -> bool:
        return self.held_out.labels.ndim > 1

    def draw(self, shots: int, seed: int) -> Draw:
        name, train, validation = self.draws(shots, seed)
        return Draw(name=name, train=train, validation=validation, multi_label=self.multi_label, chooses=self.chooses)


def check_shots(shots: Sequence[int]) -> None:
    """Raises BenchError unless there are numbers of shots, each once and at least 1."""
    if not shots or min(shots) < 1 or len(set(shots)) != len(shots):
        raise BenchError(f"`shots` must be different numbers of at least 1, not {list(shots)}")


def drawn_rows(labels: np.ndarray, studies: Sequence[str] | None, shots: int, draws: Draws) -> np.ndarray:
    """Rows (int64) of a pool, label by label: `shots` images that have it, or, with `studies`, all such images of `shots` studies.

    An image that is drawn for several labels stands there several times, as in the published lists. Raises BenchError for a
    label that too few have.
    """
    import numpy as np

    present_NK = labels > 0 if labels.ndim > 1 else one_hot(labels, int(labels.max()) + 1) > 0
    names = np.arange(len(labels)).astype(str) if studies is None else np.asarray(studies)
    found: list[np.ndarray] = []
    for k, present_N in enumerate(present_NK.T):
        units = list(dict.fromkeys(names[present_N].tolist()))
        if len(units) < shots:
            what = "images" if studies is None else "studies"
            raise BenchError(f"{shots} shots need so many {what} of label {k}, and the pool has {len(units)}")
        taken = [units.pop(draws.below(len(units))) for _ in range(shots)]
        found += [np.flatnonzero(present_N & (names == unit)) for unit in taken]
    return np.concatenate(found)


def split_pool(pool: Rows, studies: Sequence[str] | None, name: str, limit: int) -> Callable[[int, int], tuple]:
    """`draws` of a pool without published lists: what is drawn, and the first `limit` of what is not, in the pool's order."""
    import numpy as np

    def draws(shots: int, seed: int) -> tuple[str, Rows, Rows]:
        drawn = drawn_rows(pool.labels, studies, shots, Draws(name, shots, seed))
        rest = np.setdiff1d(np.arange(len(pool)), drawn)[:limit]
        train, validation = (
            Rows(source=pool.source, chosen=pool.chosen[rows], labels=pool.labels[rows], augments=augments)
            for rows, augments in ((drawn, pool.augments), (rest, False))
        )
        return f"{name}, {shots} shots, seed {seed}", train, validation

    return draws
