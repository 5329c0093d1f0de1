"""Miniatures of event-camera data: a few recordings of random events in the published files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from retable.bench.datasets.events import Events

SEED = 20240708
GEN1_SIDES = (304, 240)


def events(rng: np.random.Generator, count: int, width: int, height: int, microseconds: int) -> Events:
    import numpy as np

    from retable.bench.datasets.events import Events

    return Events(
        t=np.sort(rng.integers(0, microseconds, count)),
        x=rng.integers(0, width, count).astype(np.int16),
        y=rng.integers(0, height, count).astype(np.int16),
        p=rng.integers(0, 2, count).astype(np.int8),
    )


def nmnist(dataset: Any, root: Path) -> None:
    """`{Train,Test}/<digit>/*.bin`, 300 ms each."""
    import numpy as np

    from retable.bench.datasets.events import encode_nmnist

    rng = np.random.default_rng(SEED)
    for part, count in (("Train", 2), ("Test", 1)):
        for digit in range(10):
            folder = root / dataset.root / part / str(digit)
            folder.mkdir(parents=True, exist_ok=True)
            for number in range(count):
                (folder / f"{number:05d}.bin").write_bytes(encode_nmnist(events(rng, 600, 34, 34, 300_000)))


def gen1(dataset: Any, root: Path) -> None:
    """`{train,test}/*_td.dat` of two seconds with `*_bbox.npy`: a car and a pedestrian that move, partly off the sensor."""
    import numpy as np

    from retable.bench.datasets.prophesee import BOX_FIELDS, encode_boxes, encode_dat

    rng = np.random.default_rng(SEED)
    width, height = GEN1_SIDES
    for part in dataset.PARTS:
        folder = root / dataset.root / part
        folder.mkdir(parents=True, exist_ok=True)
        stem = f"17-04-13_15-05-43_{part}_0_2000000"
        recorded = events(rng, 20_000, width, height, 2_000_000)
        (folder / f"{stem}_td.dat").write_bytes(encode_dat(recorded, width, height))
        times = np.arange(600_000, 2_000_000, 250_000)
        boxes = np.zeros(2 * len(times), BOX_FIELDS)
        boxes["t"] = np.repeat(times, 2)
        boxes["x"], boxes["y"] = np.tile([-12, 150], len(times)) + boxes["t"] // 100_000, np.tile([100, 40], len(times))
        boxes["w"], boxes["h"] = np.tile([90, 30], len(times)), np.tile([60, 70], len(times))
        boxes["class_id"] = boxes["track_id"] = np.tile([0, 1], len(times))
        (folder / f"{stem}_bbox.npy").write_bytes(encode_boxes(boxes))


STAND_INS: Mapping[str, Callable[..., None]] = {"n-mnist": nmnist, "n-mnist-by-count": nmnist, "gen1": gen1}
