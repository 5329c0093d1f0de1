"""Sentences of film reviews with the mean rating of twenty people or more: the data behind VADER (Hutto & Gilbert, 2014).

They are of the kind of SST-2 and they are not SST-2. The file lies in the source distribution of the package
`vaderSentiment` (MIT) alone, which is read as it was published and never installed.
"""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from retable.bench.datasets.fixed import fixed_order
from retable.bench.datasets.texts.labelled import rows
from retable.bench.errors import BenchError, MissingDataError

if TYPE_CHECKING:
    from retable.bench.datasets.texts.labelled import LabelledTextData, Sentences

ARCHIVE = "vaderSentiment-3.3.2.tar.gz"
SHA256 = "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9"
INNER = "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz"
MEMBER = "hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt"
HELD_OUT = 5
"""Every fifth sentence of a fixed order is held out."""


@dataclass(frozen=True, kw_only=True)
class MovieSnippets:
    """`sentiment`: the sign of ratings (-4 to 4) of at least `least` either way, 0 negative, 1 positive; `rating`: all of them.

    One sentence in five is held out, at most `train` and `held_out` of each kind are kept. Training sentences of any rating
    are there to pre-train on.
    """

    NAME: ClassVar[str] = "movie-snippets"

    task: Literal["sentiment", "rating"] = "sentiment"
    least: float = 0.8
    train: int | None = None
    held_out: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.least <= 4:
            raise BenchError(f"`least` must lie between 0 and 4, the largest rating, not be {self.least}")
        for name in ("train", "held_out"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise BenchError(f"`{name}` must be at least 1, not {value}")

    def digest(self) -> str:
        """SHA-256 of the published archive, checked by `load`. Raises MissingDataError."""
        archive()
        return SHA256

    def load(self) -> LabelledTextData:
        """Raises MissingDataError, BenchError for another archive."""
        import numpy as np

        from retable.bench.datasets.texts.labelled import LabelledTextData, Sentences

        pairs = read(archive())
        order = fixed_order(len(pairs), "movie-snippets")
        place = np.arange(len(order))

        def split(held_out: bool, most: int | None) -> Sentences:
            chosen = [pairs[i] for i in order[(place % HELD_OUT == 0) == held_out]]
            if self.task == "sentiment":
                chosen = [(rating, text) for rating, text in chosen if abs(rating) >= self.least and rating]
            chosen = chosen[:most]
            ratings = np.array([rating for rating, _ in chosen])
            labels = (ratings > 0).astype(np.int64) if self.task == "sentiment" else ratings
            return Sentences(first=tuple(text for _, text in chosen), labels=labels)

        return LabelledTextData(
            name="movie-snippets",
            train=split(False, self.train),
            held_out=split(True, self.held_out),
            num_classes=2 if self.task == "sentiment" else 1,
            unlabelled=tuple(pairs[i][1] for i in order[place % HELD_OUT != 0]),
        )


def archive() -> Path:
    """The source distribution below $BENCH_DATA (default `data/`). Raises MissingDataError."""
    folder = Path(os.environ.get("BENCH_DATA", "data")) / "packages"
    path = folder / ARCHIVE
    if not path.is_file():
        raise MissingDataError(
            f"movie-snippets are missing: `pip download --no-deps --no-binary :all: -d {folder} vaderSentiment==3.3.2` "
            f"brings {path} (`make setup` does it)"
        )
    return path


def read(path: Path, digest: str = SHA256) -> list[tuple[float, str]]:
    """(rating, sentence) in the order of the file. Raises BenchError for another archive than the published one."""
    content = path.read_bytes()
    if (found := sha256(content).hexdigest()) != digest:
        raise BenchError(f"{path} is not the published archive: its SHA-256 is {found}, not {digest}; delete it")
    table = member(member(content, INNER), MEMBER)
    return [(float(rating), sentence.strip()) for _, rating, sentence in rows(table, MEMBER)]


def member(archive: bytes, name: str) -> bytes:
    """One file of a compressed tar file."""
    import tarfile

    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        found = files.extractfile(name)
        assert found is not None
        return found.read()
