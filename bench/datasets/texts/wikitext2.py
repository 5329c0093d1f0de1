"""WikiText-2 raw v1 as it lies on disk: the original `wiki.<split>.raw`, or the hub's parquet files."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from retable import contents
from retable.bench.errors import BenchError, MissingDataError

if TYPE_CHECKING:
    from retable.bench.datasets.texts.text import TextData

ROWS = {"train": 36718, "test": 4358}
"""Lines of the two splits."""


@dataclass(frozen=True, kw_only=True)
class WikiText2:
    """Below `$BENCH_DATA/<root>`: `wiki.train.raw` and `wiki.test.raw`, or `train-*.parquet` and `test-*.parquet`.

    Lines are joined with two newlines, as the released code joins the hub's rows; a blank line is an empty row. `complete`
    asks for as many lines as the published splits have.
    """

    NAME: ClassVar[str] = "wikitext-2"

    root: str = "wikitext-2-raw-v1"
    complete: bool = True

    def digest(self) -> str:
        """SHA-256 over the files of both splits. Raises MissingDataError."""
        from hashlib import sha256

        files = [path for split in ROWS for path in self._files(split)]
        return sha256("".join(f"{path.name} {contents.file_digest(path)}\n" for path in files).encode()).hexdigest()

    def load(self) -> TextData:
        """Raises MissingDataError, BenchError for files with other numbers of lines."""
        from retable.bench.datasets.texts.text import TextData

        train, test = (self._joined(split) for split in ROWS)
        return TextData(name="wikitext-2", train=train, held_out=test)

    def _files(self, split: str) -> list[Path]:
        folder = Path(os.environ.get("BENCH_DATA", "data")) / self.root
        raw = folder / f"wiki.{split}.raw"
        found = [raw] if raw.is_file() else sorted(folder.glob(f"{split}-*.parquet"))
        if not found:
            raise MissingDataError(
                f"WikiText-2 is missing: put wiki.train.raw and wiki.test.raw of wikitext-2-raw-v1 (or its train-*.parquet "
                f"and test-*.parquet) into {folder}"
            )
        return found

    def _joined(self, split: str) -> str:
        rows: list[str] = []
        for path in self._files(split):
            rows += _raw_rows(path) if path.suffix == ".raw" else _parquet_rows(path)
        if self.complete and len(rows) != ROWS[split]:
            raise BenchError(f"WikiText-2's {split} split has {ROWS[split]} lines, not the {len(rows)} that were found")
        return "\n\n".join(rows)


def _raw_rows(path: Path) -> list[str]:
    """Lines with their newline; a blank line is the empty text."""
    with path.open(encoding="utf-8", newline="\n") as file:
        return [line if line.strip() else "" for line in file]


def _parquet_rows(path: Path) -> list[str]:
    try:
        from pyarrow import parquet
    except ModuleNotFoundError as error:
        raise MissingDataError("parquet files need pyarrow: `pip install 'retable[language]'` brings it") from error
    rows: list[str] = parquet.read_table(path, columns=["text"]).column("text").to_pylist()
    return rows
