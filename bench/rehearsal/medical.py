"""Miniatures of the few-shot image sets: every list and every draw, over a handful of pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from retable.bench.rehearsal.pictures import SEED, picture


def medfmc(dataset: Any, root: Path) -> None:
    """`<part>/images/*.png`, the lists of five draws a number of shots, and the test list; every label is there, and absent."""
    import numpy as np
    from PIL import Image

    from retable.bench.datasets.medfmc import DRAWS, PARTS, TEST_LIST

    part, rng = PARTS[dataset.part], np.random.default_rng(SEED)
    folder = root / dataset.root / dataset.part
    (folder / "images").mkdir(parents=True, exist_ok=True)
    lines = []
    for number in range(6):
        name = f"{dataset.part}_{number}.png"
        Image.fromarray(picture(rng, 96, 80 + 8 * number)).save(folder / "images" / name)
        labels = [(number + k) % 2 for k in range(part.labels)] if part.labels > 1 else [number % part.classes]
        lines.append(f"{name} {part.between.join(map(str, labels))}")
    text = "\n".join(lines) + "\n"
    (folder / TEST_LIST).write_text(text)
    for shots in dataset.shots:
        for which in ("train", "val"):
            for exp in range(1, DRAWS + 1):
                (folder / f"{dataset.part}_{shots}-shot_{which}_exp{exp}.txt").write_text(text)


def isic(dataset: Any, root: Path) -> None:
    """Images and the tables of classes, `most shots` a class to train on and one to judge."""
    import numpy as np
    from PIL import Image

    from retable.bench.datasets.isic import CLASSES

    rng = np.random.default_rng(SEED)
    for part in dataset.PARTS:
        images = root / dataset.root / f"ISIC2018_Task3_{part}_Input"
        table = root / dataset.root / f"ISIC2018_Task3_{part}_GroundTruth"
        for folder in (images, table):
            folder.mkdir(parents=True, exist_ok=True)
        lines = [",".join(("image", *CLASSES))]
        for number in range(len(CLASSES) * (max(dataset.shots) if part == "Training" else 1)):
            name = f"ISIC_{number:07d}"
            Image.fromarray(picture(rng, 90, 120)).save(images / f"{name}.jpg")
            lines.append(
                ",".join((name, *("1.0" if k == number % len(CLASSES) else "0.0" for k in range(len(CLASSES)))))
            )
        (table / f"{table.name}.csv").write_text("\n".join(lines) + "\n")


STAND_INS: Mapping[str, Callable[..., None]] = {"medfmc": medfmc, "isic-2018": isic}
