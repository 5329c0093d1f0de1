"""Patches of stained tissue, positive or negative: a small stand-in for ColonPath of MedFMC.

The image is scikit-image's `immunohistochemistry` (512x512, no known restrictions), one specimen. Its brown stain (DAB) is
unmixed, and a patch is positive where it has much of it. Training and test patches are of different halves, and shots count
blocks of the image, not patches; patches of one image are still no independent patients, and nothing clinical follows.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar

from retable.bench.datasets.few_shot import check_shots
from retable.bench.datasets.fixed import fixed_order, require_digest
from retable.bench.datasets.photo_patches import PHOTOGRAPHS, folder_of, read
from retable.bench.errors import BenchError

if TYPE_CHECKING:
    import numpy as np

    from retable.bench.datasets.few_shot import FewShotData, Rows

PICTURE = next(photograph for photograph in PHOTOGRAPHS if photograph.name == "immunohistochemistry")
SIDE, BLOCK = 512, 32
"""Of the image, and of the blocks that stand for studies, in pixels."""
DAB = 2
"""The stain's place behind haematoxylin and eosin in the unmixed image."""
MIDDLE = (40, 60)
"""Percentiles of the stain between which a patch is neither positive nor negative and is left out."""


@dataclass(frozen=True, kw_only=True)
class Tissue:
    """RGB patches of `size` pixels in steps of `step`; two classes. The left half is drawn from, the right half is the test list.

    `validation` patches of the left half at most choose an epoch, by accuracy, which is also what is reported.
    """

    NAME: ClassVar[str] = "tissue"

    size: int = 28
    step: int = 14
    validation: int = 64
    shots: tuple[int, ...] = (1, 5, 10)

    def __post_init__(self) -> None:
        check_shots(self.shots)
        if not 1 <= self.size <= BLOCK:
            raise BenchError(f"`size` must lie between 1 and {BLOCK}, not be {self.size}")
        if self.step < 1 or self.validation < 1:
            raise BenchError("`step` and `validation` must be at least 1")

    def digest(self) -> str:
        """Of the image, which `load` checks. Raises MissingDataError."""
        folder_of(PICTURE)
        return PICTURE.sha256

    def load(self) -> FewShotData:
        """Raises MissingDataError, BenchError where the package holds another image."""
        from retable.bench.datasets.few_shot import FewShotData, split_pool

        require_digest(PICTURE.sha256, "scikit-image's immunohistochemistry", _picture())
        pool, studies = self._half("left")
        test, _ = self._half("right")
        return FewShotData(
            name="tissue",
            num_classes=2,
            image_shape=(3, self.size, self.size),
            reports="accuracy",
            chooses="accuracy",
            shots=self.shots,
            held_out=test,
            draws=split_pool(pool, studies, "tissue", self.validation),
        )

    def _half(self, half: str) -> tuple[Rows, list[str]]:
        """The patches of a half that are clearly one or the other, in a fixed mixed order, and the block of each.

        The limits are percentiles of the left half alone.
        """
        import numpy as np

        from retable.bench.datasets.few_shot import Rows
        from retable.bench.datasets.images import ArraySplit

        low, high = np.percentile([amount for *_, amount in self._patches("left")], MIDDLE)
        patches = [patch for patch in self._patches(half) if not low < patch[3] < high]
        patches = [patches[i] for i in fixed_order(len(patches), f"tissue:{half}")]
        labels = np.array([int(amount >= high) for *_, amount in patches])
        source = ArraySplit(pixels=np.stack([patch for _, _, patch, _ in patches]), labels=labels)
        blocks = [f"{y // BLOCK},{x // BLOCK}" for y, x, _, _ in patches]
        return Rows(source=source, chosen=np.arange(len(patches)), labels=labels), blocks

    def _patches(self, half: str) -> list[tuple[int, int, np.ndarray, float]]:
        """(top, left, uint8 (3, size, size), mean of the stain) of all patches within a half."""
        picture, stain = _picture(), _stain()
        start = 0 if half == "left" else SIDE // 2
        return [
            (
                y,
                x,
                picture[:, y : y + self.size, x : x + self.size],
                float(stain[y : y + self.size, x : x + self.size].mean()),
            )
            for y in range(0, SIDE - self.size + 1, self.step)
            for x in range(start, start + SIDE // 2 - self.size + 1, self.step)
        ]


@lru_cache(maxsize=1)
def _picture() -> np.ndarray:
    return read(PICTURE)


@lru_cache(maxsize=1)
def _stain() -> np.ndarray:
    """How much DAB each pixel has, (512, 512)."""
    from skimage.color import rgb2hed

    unmixed: np.ndarray = rgb2hed(_picture().transpose(1, 2, 0))[..., DAB]
    return unmixed
