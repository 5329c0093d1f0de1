"""Generated images with up to four findings on textured ground: a small stand-in for ChestDR and Endo of MedFMC.

They have the form of that task (several labels at once, absent from most images, shots counted by image or by study), and no
clinical content at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, ClassVar, Literal

from retable.bench.datasets.draws import Draws
from retable.bench.datasets.few_shot import check_shots
from retable.bench.errors import BenchError

if TYPE_CHECKING:
    import numpy as np

    from retable.bench.datasets.few_shot import FewShotData

FINDINGS = ("bright blob", "ring", "streak", "dark blob")
SHARE = 35
"""Per cent of the images that have a finding, each by itself."""
IN_STUDY = 4
LEAST = 12


@dataclass(frozen=True, kw_only=True)
class Findings:
    """RGB images of `size` pixels, `pool` to draw from and `test`. `validation` images of the pool at most choose an epoch.

    `like: chest` draws by image and chooses by mAP; `like: endo` draws by study, four images of one ground, and chooses by
    AUC. Both report mAP.
    """

    NAME: ClassVar[str] = "findings"

    size: int = 28
    pool: int = 400
    test: int = 400
    validation: int = 64
    shots: tuple[int, ...] = (1, 5, 10)
    like: Literal["chest", "endo"] = "chest"

    def __post_init__(self) -> None:
        check_shots(self.shots)
        if self.size < LEAST:
            raise BenchError(f"`size` must be at least {LEAST}, not {self.size}")
        if min(self.pool, self.test, self.validation) < 1:
            raise BenchError("`pool`, `test` and `validation` must be at least 1")

    def digest(self) -> str:
        """Over what the images are made from; how they are made is the source's business."""
        return sha256(f"findings {self.size} {self.pool} {self.test} {self.like}".encode()).hexdigest()

    def load(self) -> FewShotData:
        import numpy as np

        from retable.bench.datasets.few_shot import FewShotData, Rows, split_pool
        from retable.bench.datasets.images import ArraySplit

        def rows(part: str, count: int) -> Rows:
            pixels, labels = pictures(self.like, part, count, self.size)
            source = ArraySplit(pixels=pixels, labels=np.zeros(count, np.int64))
            return Rows(source=source, chosen=np.arange(count), labels=labels)

        pool = rows("pool", self.pool)
        name = f"findings like {self.like}"
        by_study = [str(i // IN_STUDY) for i in range(self.pool)] if self.like == "endo" else None
        return FewShotData(
            name=name,
            num_classes=len(FINDINGS),
            image_shape=(3, self.size, self.size),
            reports="map",
            chooses="map" if self.like == "chest" else "auc",
            shots=self.shots,
            held_out=rows("test", self.test),
            draws=split_pool(pool, by_study, name, self.validation),
        )


@lru_cache(maxsize=4)
def pictures(like: str, part: str, count: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """uint8 (count, 3, size, size) and labels float32 (count, 4); images of one study share their ground."""
    import numpy as np

    grounds = [_ground(Draws("findings", like, part, i, "ground"), size) for i in range(-(-count // IN_STUDY))]
    pixels, labels = [], []
    for i in range(count):
        draws = Draws("findings", like, part, i)
        ground = grounds[i // IN_STUDY] if like == "endo" else _ground(draws, size)
        present = [draws.chance(SHARE, 100) for _ in FINDINGS]
        pixels.append(_picture(ground, present, draws, size))
        labels.append(present)
    return np.stack(pixels), np.array(labels, dtype=np.float32)


def _ground(draws: Draws, size: int) -> np.ndarray:
    """A soft tint with a plane wave over it, (3, size, size)."""
    import numpy as np

    y, x = np.mgrid[:size, :size] / size
    tint = np.array([draws.between(95, 150) for _ in range(3)], dtype=np.float64)
    angle, waves, phase = (draws.below(1000) / 1000 for _ in range(3))
    wave = np.sin(2 * np.pi * ((1 + 3 * waves) * (x * np.cos(np.pi * angle) + y * np.sin(np.pi * angle)) + phase))
    return tint[:, None, None] + draws.between(6, 16) * wave


def _picture(ground: np.ndarray, present: Sequence[bool], draws: Draws, size: int) -> np.ndarray:
    import numpy as np

    marks = np.zeros((size, size))
    for name, there in zip(FINDINGS, present, strict=True):
        if there:
            marks += _mark(name, draws, size)
    noise = (draws.many(3 * size * size, 33) - 16.0).reshape(3, size, size)
    return (ground + marks + noise).clip(0, 255).astype(np.uint8)


def _mark(name: str, draws: Draws, size: int) -> np.ndarray:
    """What a finding adds to the grey levels, at a random place, size and turn."""
    import numpy as np

    radius = size * draws.between(90, 150) / 1000
    top, left = (draws.between(round(radius), size - round(radius)) for _ in range(2))
    y, x = np.mgrid[:size, :size].astype(np.float64)
    far = np.hypot(y - top, x - left)
    strength = draws.between(55, 85)
    if name == "ring":
        return strength * (abs(far - radius) < 0.9)
    if name == "streak":
        angle = np.pi * draws.below(1000) / 1000
        along = (x - left) * np.cos(angle) + (y - top) * np.sin(angle)
        across = (y - top) * np.cos(angle) - (x - left) * np.sin(angle)
        return strength * ((abs(across) < 0.9) & (abs(along) < 2 * radius))
    blob = strength * np.exp(-((far / radius) ** 2))
    return blob if name == "bright blob" else -blob
