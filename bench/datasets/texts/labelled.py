"""What loaded sentences with labels are, and how tab-separated files of them are read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from retable.bench.errors import BenchError

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, kw_only=True, eq=False)
class Sentences:
    """Sentences, or pairs of them where `second` is there, with their labels (N,): int64 classes, or float64 ratings."""

    first: tuple[str, ...]
    labels: np.ndarray
    second: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.first)


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelledTextData:
    """Fixed splits; `num_classes` 1 means a rating. `unlabelled` are training sentences to pre-train on, perhaps none.

    `parts` are further held-out sentences by name, which a task measures where it is told to.
    """

    name: str
    train: Sentences
    held_out: Sentences
    num_classes: int
    unlabelled: tuple[str, ...] = ()
    parts: Mapping[str, Sentences] = field(default_factory=dict)

    def held_out_by(self, part: str) -> LabelledTextData:
        """The same data, held out what `parts` has under this name, which ends the data's own. Raises BenchError."""
        if part not in self.parts:
            raise BenchError(
                f"{self.name} has no held-out part {part!r}, but {', '.join(self.parts) or 'only its first'}"
            )
        return replace(self, name=f"{self.name}-{part}", held_out=self.parts[part], parts={})


def rows(content: bytes, name: str) -> list[list[str]]:
    """The fields of every line of a tab-separated file; quotes are characters like any other. BenchError if not UTF-8."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BenchError(f"{name} is not UTF-8 text: {error.reason} at byte {error.start}") from error
    return [line.rstrip("\r").split("\t") for line in text.rstrip("\r\n").split("\n")]
