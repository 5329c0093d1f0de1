"""The two generated data sets for detection: what they hold, and that it does not change unnoticed."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retable.bench.datasets import event_scenes, scenes
from retable.bench.datasets.detection import DetectionData
from retable.bench.datasets.draws import Draws
from retable.bench.datasets.event_scenes import EventScenes, Mover, Scene, boxes_of, car, film, pedestrian, pictures
from retable.bench.datasets.fixed import array_digest
from retable.bench.datasets.gen1 import View, split_of
from retable.bench.datasets.prophesee import open_recording
from retable.bench.datasets.scenes import Scenes
from retable.bench.errors import BenchError
from retable.bench.metrics.mean_average_precision import MeanAveragePrecision
from retable.bench.tasks.detect import Detect
from tests.bench.blob_detector import oracle


@lru_cache
def composed() -> DetectionData:
    return Scenes(size=64, classes=3, train=60, held_out=40).load()


@lru_cache
def filmed(**parameters: Any) -> DetectionData:
    return EventScenes(train=4, held_out=2, **parameters).load()


def content(data: DetectionData) -> str:
    """A digest of all pixels and boxes."""
    arrays: list[np.ndarray] = []
    for split in (data.train, data.held_out):
        everything = np.arange(len(split))
        arrays += [split.images(everything), *split.boxes(everything)]
    return array_digest(*arrays)


def test_what_the_scenes_hold() -> None:
    data = composed()
    assert (data.num_classes, data.class_names) == (3, ("digit 0", "digit 1", "digit 2"))
    for split, count in ((data.train, 60), (data.held_out, 40)):
        images, rows = split.images(np.arange(count)), np.concatenate(split.boxes(np.arange(count)))
        assert (images.dtype, images.shape) == (np.uint8, (count, *data.image_shape))
        assert set(rows[:, 0]) == {0, 1, 2}
        assert (rows[:, 1:] >= 0).all()
        assert (rows[:, 1:] <= 64).all()
        counts = [len(found) for found in split.boxes(np.arange(count))]
        assert min(counts) == 0
        assert 3 <= max(counts) <= 4
        assert np.median(rows[:, 4] - rows[:, 2]) > 10
    crowds = [row for row in data.train.ground_truth["annotations"] if row["iscrowd"]]
    assert 2 <= len(crowds) <= 15


def test_a_box_is_tight_around_what_was_pasted() -> None:
    """On a black backdrop every pixel of an object is visible, and its box holds them all."""
    digits = scenes.sprites("held_out", 3)
    for number in range(12):
        blank = [[np.zeros((3, 64, 64), np.uint8)]]
        picture, found = scenes.compose(Draws("test", number), blank, digits, 64, 4)
        seen = picture.max(0) >= scenes.CONTRAST // 2
        inside = np.zeros_like(seen)
        for (x, y, width, height), *_ in found:
            here = np.s_[int(y) : int(y + height), int(x) : int(x + width)]
            inside[here] = True
            edges = seen[here][0], seen[here][-1], seen[here][:, 0], seen[here][:, -1]
            assert all(edge.any() for edge in edges), "each side of a box touches its object"
        assert (seen & ~inside).sum() <= 0.03 * seen.sum() + 8, "only the soft rim of an object is outside of its box"


def test_no_backdrop_and_no_digit_is_in_both_parts() -> None:
    for make in (lambda part: scenes.sprites(part, 2), lambda part: scenes.crops(part, 96)):
        train, held_out = (
            {array.tobytes() for group in make(part) for array in group} for part in ("train", "held_out")
        )
        assert train
        assert held_out
        assert not train & held_out


def test_more_scenes_do_not_change_the_first() -> None:
    few, many = (Scenes(size=64, train=n, held_out=1).load().train for n in (3, 6))
    assert np.array_equal(few.images(np.arange(3)), many.images(np.arange(3)))


def test_the_scenes_are_the_same_on_every_machine() -> None:
    assert content(composed()) == "4b31f937214cd2fb2f390f7a8929a1514c81db7ca2b9e42b729ee956bd3f540d"


def test_the_recordings_are_the_same_on_every_machine() -> None:
    assert content(filmed()) == "cd8e3f19f9573642e349aa74399e1f86ad15717481246b183226e7026bddc4e1"


def test_the_digests_follow_their_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    before = Scenes().digest(), EventScenes().digest()
    assert before == (Scenes(train=9).digest(), EventScenes(steps=2).digest())
    monkeypatch.setattr(scenes, "VERSION", "other")
    monkeypatch.setattr(event_scenes, "VERSION", "other")
    assert not set(before) & {Scenes().digest(), EventScenes().digest()}


@pytest.mark.parametrize(
    "make",
    [composed, filmed, lambda: filmed(protocol="perot"), lambda: filmed(protocol="perot", frames="counts")],
    ids=["scenes", "official", "perot", "counts"],
)
def test_an_oracle_of_the_boxes_scores_one_in_the_original_pixels(make: Any) -> None:
    data = make()
    evidence = Detect(account_samples=0, pictures=0).evidence(oracle(data), data, seed=0, device="cpu")
    assert MeanAveragePrecision().measure(evidence).value == 1


# The event camera


def test_what_the_recordings_hold() -> None:
    data = filmed()
    assert (data.class_names, data.category_ids, data.image_shape) == (("car", "pedestrian"), (0, 1), (4, 3, 96, 96))
    frames = data.train.images(np.arange(len(data.train)))
    assert frames.shape == (len(data.train), 4, 3, 96, 96)
    assert (frames[:, :, :, :10] == 114).all(), "the margin"
    assert ((frames < 60) | (frames > 200)).any((1, 2, 3, 4)).all(), "there is something in every sample"
    assert 8 < len(data.train) <= 16
    assert len(filmed(protocol="perot").train) < len(data.train)
    counts = filmed(protocol="perot", frames="counts")
    assert counts.image_shape == (4, 2, 96, 96)


def test_events_are_where_something_moves() -> None:
    texture = np.full((12, 24), 220, np.int32)
    mask, _ = car(12, 24)
    mover = Mover(alpha=mask, grey=texture, label=0, middle=(20 * 16, 30 * 16), speed=(20 * 16, 0))
    scene = Scene(background=np.full((84, 100), 40, np.int32), turn=0, movers=(mover,))
    events, boxes = film(scene, (1, 2))
    swept = (events.y >= 30) & (events.y < 43) & (events.x >= 9) & (events.x < 56)
    assert swept.mean() > 0.6
    assert 900 < (~swept).sum() < 1300, "noise: 4560 pixels, one event in four seconds each"
    front = events.p[(events.y == 36) & (events.x == 50)]
    assert front[:3].all(), "the bright front makes it brighter"
    assert boxes["x"].tolist() == [15, 20, 25, 30]
    assert set(zip(boxes["y"], boxes["w"], boxes["h"], strict=True)) == {(30, 24, 12)}
    still = Scene(background=scene.background, turn=0, movers=())
    assert len({picture.tobytes() for picture in pictures(still)}) == 1


def test_what_is_hidden_or_outside_has_no_box() -> None:
    mask, _ = pedestrian(24, 10)

    def standing(x: int) -> Mover:
        return Mover(alpha=mask, grey=mask, label=1, middle=(x * 16, 10 * 16), speed=(0, 0))

    def tracks(*movers: Mover) -> set[int]:
        scene = Scene(background=np.zeros((84, 100), np.int32), turn=0, movers=movers)
        return set(boxes_of(scene)["track_id"].tolist())

    assert tracks(standing(30), standing(31)) == {2}
    assert tracks(standing(30), standing(36)) == {1, 2}
    assert tracks(standing(-6), standing(-4), standing(72)) == {2}


def test_written_recordings_come_back(tmp_path: Path) -> None:
    event_scenes.write(tmp_path / "test", "held_out", 2)
    files = sorted((tmp_path / "test").glob("*_td.dat"))
    assert [file.name for file in files] == ["held_out-0000_td.dat", "held_out-0001_td.dat"]
    view = View(size=96, steps=4, protocol="official", frames="drawn", width=76, height=60)
    boxes = [file.with_name(file.name.replace("_td.dat", "_bbox.npy")) for file in files]
    split = split_of([(a, b, a.name) for a, b in zip(files, boxes, strict=True)], view)
    known = filmed().held_out
    assert np.array_equal(split.images(np.arange(len(split))), known.images(np.arange(len(known))))
    assert split.ground_truth == known.ground_truth
    recording = open_recording(files[0])
    assert (recording.width, recording.height) == (76, 60)
    assert int(recording.records["t"][-1]) <= 1_000_000


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Scenes(size=40), "`size` to be from 48 to 192, not 40"),
        (lambda: Scenes(classes=11), "`classes` to be from 1 to 10"),
        (lambda: Scenes(most=0), "`most` to be from 1 to 20"),
        (lambda: Scenes(held_out=0), "`held_out` to be at least 1"),
        (lambda: EventScenes(train=0), "`train` to be at least 1"),
        (lambda: EventScenes(steps=0), "`steps` to be from 1 to 250000"),
        (lambda: EventScenes(size=64, frames="counts"), "`size` to be at least 76, the sensor's longer side"),
    ],
)
def test_impossible_scenes(make: Any, sentence: str) -> None:
    with pytest.raises(BenchError, match=sentence):
        make()


def test_draws_are_even_and_named() -> None:
    draws = Draws("a", 1)
    counts = np.bincount([draws.between(2, 5) for _ in range(4000)], minlength=7)
    assert counts[[0, 1, 6]].sum() == 0
    assert counts[2:6].min() > 850
    assert [Draws("a", 1).below(10**9)] != [Draws("a", 2).below(10**9)]
    many = Draws("a").many(5000, 7)
    assert np.bincount(many).min() > 600
    assert many.max() == 6
    assert 0.2 < np.mean([draws.chance(1, 4) for _ in range(2000)]) < 0.3
