"""ISIC 2018, task 3: dermoscopic images of seven classes as the challenge gives them (arXiv 1902.03368; HAM10000, 1803.10417)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from retable import contents
from retable.bench.datasets.few_shot import check_shots
from retable.bench.errors import BenchError, MissingDataError

if TYPE_CHECKING:
    from retable.bench.datasets.few_shot import FewShotData, Rows

CLASSES = ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")


@dataclass(frozen=True, kw_only=True)
class Isic2018:
    """Folders `ISIC2018_Task3_{Training,Validation,Test}_{Input,GroundTruth}` below `$BENCH_DATA/<root>`; 10015, 193, 1512 images.

    The paper does not say what its epochs are chosen on; here it is the challenge's validation part. Draws are by class, of
    `shots` images of the training part.
    """

    NAME: ClassVar[str] = "isic-2018"

    root: str = "ISIC2018"
    size: int = 224
    shots: tuple[int, ...] = (1, 5, 10)

    PARTS: ClassVar[tuple[str, ...]] = ("Training", "Validation", "Test")

    def __post_init__(self) -> None:
        check_shots(self.shots)
        if self.size < 1:
            raise BenchError(f"`size` must be at least 1, not {self.size}")

    def digest(self) -> str:
        """SHA-256 over the tables of labels, and names and contents of the images. Raises MissingDataError, BenchError."""
        total = sha256()
        for part in self.PARTS:
            total.update(f"{part} {sha256(self._table(part).read_bytes()).hexdigest()}\n".encode())
            files = [file for file, _ in self._lines(part)]
            for file in files:
                path = self._images(part) / file
                if not path.is_file():
                    raise MissingDataError(f"the image {path} does not exist: put all images of ISIC 2018 task 3 there")
            total.update(contents.files_digest(self._images(part), files).encode())
        return total.hexdigest()

    def load(self) -> FewShotData:
        """Reads the tables; images are read when they are asked for. Raises MissingDataError, BenchError."""
        from retable.bench.datasets.draws import Draws
        from retable.bench.datasets.few_shot import FewShotData, Rows, drawn_rows

        pool, validation, test = (self._rows(part) for part in self.PARTS)

        def draws(shots: int, seed: int) -> tuple[str, Rows, Rows]:
            rows = drawn_rows(pool.labels, None, shots, Draws("isic-2018", shots, seed))
            train = Rows(source=pool.source, chosen=pool.chosen[rows], labels=pool.labels[rows], augments=True)
            return f"isic-2018, {shots} shots, seed {seed}", train, validation

        return FewShotData(
            name="ISIC 2018 task 3, test",
            num_classes=len(CLASSES),
            image_shape=(3, self.size, self.size),
            reports="accuracy",
            chooses="accuracy",
            shots=self.shots,
            held_out=test,
            draws=draws,
        )

    @property
    def _folder(self) -> Path:
        return Path(os.environ.get("BENCH_DATA", "data")) / self.root

    def _images(self, part: str) -> Path:
        return self._folder / f"ISIC2018_Task3_{part}_Input"

    def _table(self, part: str) -> Path:
        name = f"ISIC2018_Task3_{part}_GroundTruth"
        path = self._folder / name / f"{name}.csv"
        if not path.is_file():
            raise MissingDataError(f"ISIC 2018 is missing, {path} does not exist: extract the folders of task 3 there")
        return path

    def _lines(self, part: str) -> list[tuple[str, int]]:
        import csv

        path = self._table(part)
        with path.open(newline="", encoding="utf-8") as file:
            table = csv.DictReader(file)
            if not {"image", *CLASSES} <= set(table.fieldnames or ()):
                raise BenchError(f"{path} must have the columns image, {', '.join(CLASSES)}")
            found = []
            for number, line in enumerate(table, 2):
                marked = [k for k, name in enumerate(CLASSES) if line[name] in ("1", "1.0")]
                others = sum(line[name] in ("0", "0.0") for name in CLASSES)
                if (len(marked), others) != (1, len(CLASSES) - 1):
                    raise BenchError(f"{path}:{number}: one of the seven classes must be 1 and the others 0")
                found.append((f"{line['image']}.jpg", marked[0]))
        if not found:
            raise BenchError(f"{path} lists no images")
        return found

    def _rows(self, part: str) -> Rows:
        import numpy as np

        from retable.bench.datasets.few_shot import Rows
        from retable.bench.datasets.listed_images import ListedImages

        lines = self._lines(part)
        files = tuple(file for file, _ in lines)
        source = ListedImages(folder=self._images(part), files=files, size=self.size).checked()
        labels = np.array([label for _, label in lines], dtype=np.int64)
        return Rows(source=source, chosen=np.arange(len(lines)), labels=labels)
