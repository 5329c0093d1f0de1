"""MedFMC as its challenge gives it: folders of images, and lists of the five published draws (Scientific Data 10, 574, 2023).

A line of a list is a file name and its labels: `name l1,l2,...` of ChestDR, `name l1 l2 l3 l4` of Endo, `name c` of ColonPath;
names may have blanks. Only test lists with labels can be scored: 1161, 881 and 3296 images.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from retable import contents
from retable.bench.datasets.few_shot import check_shots
from retable.bench.datasets.labels import Score
from retable.bench.errors import BenchError, MissingDataError

if TYPE_CHECKING:
    import numpy as np

    from retable.bench.datasets.few_shot import FewShotData, Rows

DRAWS = 5
TEST_LIST = "test_WithLabel.txt"


@dataclass(frozen=True)
class Part:
    """One of the three: its classes, how many labels a line has, what is reported and what an epoch is chosen by."""

    classes: int
    labels: int
    between: str
    reports: Score
    chooses: Score


PARTS = {
    "chest": Part(19, 19, ",", "map", "map"),
    "colon": Part(2, 1, " ", "accuracy", "accuracy"),
    "endo": Part(4, 4, " ", "map", "auc"),
}
"""The published configuration chooses Endo's epoch by AUC, and the paper reports its mAP."""


@dataclass(frozen=True, kw_only=True)
class MedFMC:
    """`part` below `$BENCH_DATA/<root>/<part>`: `images/`, `<part>_<K>-shot_{train,val}_exp<1 to 5>.txt`, test_WithLabel.txt.

    Repetitions choose among the five draws: the one that a seed gives, 1 + seed mod 5.
    """

    NAME: ClassVar[str] = "medfmc"

    part: Literal["chest", "colon", "endo"]
    root: str = "MedFMC"
    size: int = 224
    shots: tuple[int, ...] = (1, 5, 10)

    def __post_init__(self) -> None:
        check_shots(self.shots)
        if self.size < 1:
            raise BenchError(f"`size` must be at least 1, not {self.size}")

    def digest(self) -> str:
        """SHA-256 over the lists, and names and contents of their images. Raises MissingDataError, BenchError."""
        total = sha256()
        names: set[str] = set()
        for name in self._lists():
            content = self._list(name).read_bytes()
            total.update(f"{name} {sha256(content).hexdigest()}\n".encode())
            names |= {file for file, _ in self._lines(name)}
        for file in names:
            self._image(file)
        total.update(contents.files_digest(self._folder / "images", sorted(names)).encode())
        return total.hexdigest()

    def load(self) -> FewShotData:
        """Reads the lists; images are read when they are asked for. Raises MissingDataError, BenchError."""
        from retable.bench.datasets.few_shot import FewShotData

        part = PARTS[self.part]

        def draws(shots: int, seed: int) -> tuple[str, Rows, Rows]:
            exp = 1 + seed % DRAWS
            train, validation = (
                self._rows(self._name(shots, which, exp), augments=which == "train") for which in ("train", "val")
            )
            return self._name(shots, "train", exp), train, validation

        return FewShotData(
            name=f"MedFMC {self.part}, {TEST_LIST}",
            num_classes=part.classes,
            image_shape=(3, self.size, self.size),
            reports=part.reports,
            chooses=part.chooses,
            shots=self.shots,
            held_out=self._rows(TEST_LIST, augments=False),
            draws=draws,
        )

    def _name(self, shots: int, which: str, exp: int) -> str:
        return f"{self.part}_{shots}-shot_{which}_exp{exp}.txt"

    def _lists(self) -> list[str]:
        every = [
            (shots, which, exp) for shots in self.shots for which in ("train", "val") for exp in range(1, DRAWS + 1)
        ]
        return [TEST_LIST, *(self._name(*one) for one in every)]

    @property
    def _folder(self) -> Path:
        return Path(os.environ.get("BENCH_DATA", "data")) / self.root / self.part

    def _list(self, name: str) -> Path:
        path = self._folder / name
        if not path.is_file():
            raise MissingDataError(
                f"MedFMC is missing, {path} does not exist: put the lists there and images in images/"
            )
        return path

    def _image(self, file: str) -> Path:
        path = self._folder / "images" / file
        if not path.is_file():
            raise MissingDataError(f"the image {path} of a list does not exist: put all images of the lists there")
        return path

    def _lines(self, name: str) -> list[tuple[str, list[int]]]:
        path, part = self._list(name), PARTS[self.part]
        found = []
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if not line.strip():
                continue
            file, _, text = line.partition(".png ")
            words = text.strip().split(part.between.strip() or None)
            try:
                labels = [int(word) for word in words]
            except ValueError:
                labels = []
            most = 1 if part.labels > 1 else part.classes - 1
            if len(labels) != part.labels or not all(0 <= label <= most for label in labels):
                raise BenchError(f"{path}:{number}: a line is a .png file and {part.labels} labels from 0 to {most}")
            found.append((f"{file}.png", labels))
        if not found:
            raise BenchError(f"{path} lists no images")
        return found

    def _rows(self, name: str, *, augments: bool) -> Rows:
        import numpy as np

        from retable.bench.datasets.few_shot import Rows
        from retable.bench.datasets.listed_images import ListedImages

        lines = self._lines(name)
        files = tuple(file for file, _ in lines)
        labels: np.ndarray = np.array([label for _, label in lines])
        labels = labels.astype(np.float32) if PARTS[self.part].labels > 1 else labels[:, 0].astype(np.int64)
        source = ListedImages(folder=self._folder / "images", files=files, size=self.size).checked()
        return Rows(source=source, chosen=np.arange(len(files)), labels=labels, augments=augments)
