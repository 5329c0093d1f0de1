"""Gen1: Prophesee's file formats, the frames and labels of both protocols, and what is said about broken files."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retable.bench.datasets.events import Events
from retable.bench.datasets.gen1 import GROUND, WINDOW, Gen1, View, counted, drawn, split_of
from retable.bench.datasets.prophesee import (
    BOX_FIELDS,
    GEN1_BOXES,
    encode_boxes,
    encode_dat,
    open_recording,
    read_boxes,
)
from retable.bench.errors import BenchError, MissingDataError
from tests.parity.conftest import Golden
from tests.parity.spikeyolo_data import ADAPTERS

GOLDENS = Path(__file__).parents[2] / "parity" / "goldens" / "spikeyolo"
HEADER = b"% Data file containing CD events.\n% Version 2\n% Height 240\n% Width 304\n"


def events_of(rows: list[tuple[int, int, int, int]]) -> Events:
    """From (t, x, y, p) in any order."""
    columns = list(zip(*sorted(rows), strict=True)) or [(), (), (), ()]
    return Events(**{name: np.array(column, kind) for (name, kind), column in zip(KINDS, columns, strict=True)})


KINDS = (("t", "int64"), ("x", "int16"), ("y", "int16"), ("p", "int8"))
moments = st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 303), st.integers(0, 239), st.integers(0, 1))
recordings = st.lists(moments, max_size=50).map(events_of)


def boxes_of(*rows: tuple[float, ...]) -> np.ndarray:
    """From (t, x, y, w, h, class, track)."""
    return np.array([tuple(row) for row in rows], BOX_FIELDS)


BOXES = boxes_of(
    (400_000, 10, 10, 60, 40, 0, 1),
    (600_000, 280, -8, 50, 40, 0, 2),
    (600_000, 100, 100, 12, 14, 1, 3),
    (600_000, 50, 60, 20, 60, 1, 4),
)


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    rng = np.random.default_rng(0)
    for part in ("train", "test"):
        folder = tmp_path / "gen1" / part
        folder.mkdir(parents=True)
        for name in ("17-03-30_a", "17-04-06_b"):
            times = rng.integers(0, 700_000, 3000)
            rows = np.stack(
                [times, rng.integers(0, 304, 3000), rng.integers(0, 240, 3000), rng.integers(0, 2, 3000)], 1
            )
            (folder / f"{name}_td.dat").write_bytes(encode_dat(events_of([tuple(row) for row in rows]), 304, 240))
            (folder / f"{name}_bbox.npy").write_bytes(encode_boxes(BOXES))
    return tmp_path / "gen1"


def test_what_a_folder_holds(tree: Path) -> None:
    data = Gen1(steps=5).load()
    assert (data.class_names, data.category_ids) == (("car", "pedestrian"), (0, 1))
    assert (len(data.train), len(data.held_out), data.image_shape) == (4, 4, (5, 3, 320, 320))
    frames = data.held_out.images(np.array([0, 3]))
    assert (frames.dtype, frames.shape) == (np.uint8, (2, 5, 3, 320, 320))
    assert (frames[:, :, :, :33] == 114).all()
    assert (frames[:, :, :, 286:] == 114).all()
    assert (frames[:, :, 0] == frames[:, :, 2]).all()
    assert [len(rows) for rows in data.held_out.boxes(np.arange(4))] == [1, 3, 1, 3]
    assert len(Gen1(protocol="perot").load().train) == 2
    assert Gen1(protocol="perot", frames="counts").load().image_shape == (4, 2, 320, 320)
    assert Gen1().digest() == Gen1(steps=2).digest()


@pytest.mark.parametrize("name", ["gen1_encoding_T4", "gen1_transform"])
def test_the_official_frames_and_labels(name: str) -> None:
    ADAPTERS[name.removesuffix("_T4")](Golden(GOLDENS / f"{name}.npz"))


def test_the_protocols_differ_as_they_say() -> None:
    rows = [(350_001, 5, 5, 1), (350_001, 9, 9, 0), (599_999, 5, 5, 0), (600_000, 7, 7, 1)]
    source = (encode_dat(events_of(rows), 304, 240), encode_boxes(BOXES), "made")
    official, perot = (
        split_of([source], View(size=304, steps=2, protocol=protocol, frames="drawn"))
        for protocol in ("official", "perot")
    )
    assert (official.stamps.tolist(), perot.stamps.tolist()) == ([400_000, 600_000], [600_000])
    backwards, forwards = official.images(np.array([1]))[0, :, 0], perot.images(np.array([0]))[0, :, 0]
    assert (backwards[0, 0] == 114).all()
    assert (forwards[0, 0] == GROUND).all()
    assert np.array_equal(backwards[::-1, 32:272], forwards[:, 32:272])
    frames = forwards[:, 32:272]
    assert np.argwhere(frames == 255).tolist() == [[0, 5, 5]]
    assert np.argwhere(frames == 0).tolist() == [[0, 9, 9], [1, 5, 5]]
    assert official.ground_truth["annotations"][1]["bbox"] == [50, 60, 20, 60]
    assert [row["bbox"] for row in official.ground_truth["annotations"][3:]] == [[279, 0, 50, 40]]
    assert [row["bbox"] for row in perot.ground_truth["annotations"]] == [[280, 0, 24, 32], [50, 60, 20, 60]]


def test_the_last_box_of_a_track_counts_and_flat_ones_do_not() -> None:
    view = View(size=320, steps=1, protocol="official", frames="drawn")
    rows = boxes_of((9, 1, 1, 5, 5, 0, 1), (9, 2, 2, 5, 5, 0, 1), (9, 3, 3, 0, 5, 0, 2), (9, 4, 4, 5, 5, 1, 3))
    assert view.labels(rows).tolist() == [[1, 4, 4, 5, 5], [0, 2, 2, 5, 5]]


@pytest.mark.parametrize("protocol", ["official", "perot"])
def test_a_window_that_begins_before_the_recording(protocol: Any) -> None:
    """The official one begins with the recording, so that events after the stamp are in it."""
    view = View(size=304, steps=1, protocol=protocol, frames="drawn")
    dat = encode_dat(events_of([(50_000, 1, 1, 1), (200_000, 2, 2, 1)]), 304, 240)
    frame = view.sample(dat, 100_000, "made")[0, 0, 32:272]
    assert len(np.argwhere(frame == 255)) == (2 if protocol == "official" else 1)


@given(events=recordings, steps=st.integers(1, 6), start=st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_frames_show_the_events_of_their_bins(events: Events, steps: int, start: int) -> None:
    width = WINDOW // steps
    part = open_recording(encode_dat(events, 304, 240)).between(start, start + steps * width)
    counts = counted(part, start, steps, 240, 304)
    frames = drawn(part, start, steps, 240, 304)
    assert counts.sum() == len(part) == ((events.t >= start) & (events.t < start + steps * width)).sum()
    assert np.array_equal(frames != GROUND, counts.any(1))
    assert np.array_equal(frames[counts[:, 0] == 0] == 255, counts[:, 1][counts[:, 0] == 0] > 0)


@given(rows=st.lists(st.tuples(*[st.floats(-50, 300, width=32)] * 4), min_size=1, max_size=5))
def test_boxes_can_be_restored(rows: list[tuple[float, ...]]) -> None:
    boxes = boxes_of(*((600_000, *row, 0, track) for track, row in enumerate(rows)))
    for protocol in ("official", "perot"):
        split = split_of(
            [(b"", encode_boxes(boxes), "made")], View(size=320, steps=1, protocol=protocol, frames="drawn")
        )  # type: ignore[arg-type]
        for index in range(len(split)):
            there = split.restore(index, split.boxes(np.array([index]))[0][:, 1:], (320, 320))
            truth = split.objects.boxes[split.objects.of(index)]
            kept = (truth[:, 2] > 1e-3) & (truth[:, 3] > 1e-3)
            if kept.all():
                np.testing.assert_allclose(there[:, :2], truth[:, :2], atol=1e-3)


# The files


@given(events=recordings)
def test_events_come_back(events: Events) -> None:
    found = open_recording(encode_dat(events, 304, 240)).between(0, 2**32)
    assert all(np.array_equal(getattr(found, name), getattr(events, name)) for name in "txyp")


def test_the_bytes_are_the_published_layout(tmp_path: Path) -> None:
    content = HEADER + bytes([0, 8]) + bytes([1, 2, 0, 0]) + (303 | 239 << 14 | 1 << 28).to_bytes(4, "little")
    (tmp_path / "a_td.dat").write_bytes(content)
    for source in (content, tmp_path / "a_td.dat"):
        recording = open_recording(source)
        events = recording.between(0, 10**6)
        assert (recording.width, recording.height) == (304, 240)
        assert [getattr(events, name).tolist() for name in "txyp"] == [[513], [303], [239], [1]]
        assert len(recording.between(514, 10**6)) == 0
    assert isinstance(open_recording(tmp_path / "a_td.dat").records, np.memmap)
    assert len(open_recording(HEADER + bytes([12, 8])).between(0, 9)) == 0


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (encode_dat(events_of([(1, 1, 1, 1), (2, 1, 1, 1)]), 304, 240)[:-3], "cut off: 5 bytes follow its 1 events"),
        (b"", "does not begin with header lines"),
        (b"\x00\x08" + bytes(16), "does not begin with header lines"),
        (HEADER, "cut off: it ends within its header"),
        (HEADER + b"\x00", "cut off: it ends within its header"),
        (HEADER + bytes([14, 8]), "events of kind 14 and 8 bytes"),
        (HEADER + bytes([0, 16]), "events of kind 0 and 16 bytes"),
    ],
)
def test_broken_recordings(tmp_path: Path, content: bytes, sentence: str) -> None:
    path = tmp_path / "x_td.dat"
    path.write_bytes(content)
    with pytest.raises(BenchError, match=rf"x_td\.dat .*{sentence}"):
        open_recording(path).between(0, 9)


def test_events_out_of_order_or_off_the_sensor(tree: Path) -> None:
    path = tree / "test" / "17-03-30_a_td.dat"
    late, early = (np.array([(t, 1)], [("t", "<u4"), ("word", "<u4")]).tobytes() for t in (500_000, 400_000))
    path.write_bytes(HEADER + bytes([0, 8]) + early + late + early * 2)
    with pytest.raises(
        BenchError, match=r"17-03-30_a_td\.dat is not in the order of time: event 2 of 4 is at 400000 us"
    ):
        Gen1().load()
    path.write_bytes(encode_dat(events_of([(400_000, 310, 5, 1)]), 400, 240))
    with pytest.raises(BenchError, match="of a sensor of 400x240 pixels, not 304x240"):
        Gen1().load()
    path.write_bytes(path.read_bytes().replace(b"Width 400", b"Width 304"))
    with pytest.raises(BenchError, match=r"has event 0 at \(310, 5\), off its sensor"):
        Gen1().load()
    with pytest.raises(ValueError, match="holds events up to"):
        encode_dat(events_of([(1, 310, 1, 1)]), 304, 240)


def npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def test_boxes_of_both_layouts() -> None:
    published = np.load(io.BytesIO(encode_boxes(BOXES)))
    assert (published.dtype.itemsize, published.dtype.names[0]) == (40, "ts")
    newer = np.zeros(4, [("t", "<i8"), *((a, "<f4") for a in "xywh"), ("class_id", "<u4"), ("track_id", "<u4")])
    for field in newer.dtype.names:
        newer[field] = BOXES[field][::-1]
    assert np.array_equal(read_boxes(encode_boxes(BOXES)), BOXES)
    assert sorted(read_boxes(npy(newer)).tolist()) == sorted(BOXES.tolist())


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "be read as an array of boxes"),
        (encode_boxes(BOXES)[:-9], "be read as an array of boxes"),
        (npy(np.array([{"x": 1}], object)), "be read as an array of boxes"),
        (npy(np.zeros((3, 7))), "no boxes: their t is missing"),
        (npy(np.zeros(3, [("t", "i8"), ("x", "f4")])), r"no boxes: their y is missing \(it has t, x\)"),
        (npy(np.full(1, np.nan, np.dtype(GEN1_BOXES)["x"])), "no boxes"),
        (encode_boxes(boxes_of((1, np.nan, 1, 1, 1, 0, 1))), "boxes whose x is no finite number"),
        (encode_boxes(boxes_of((1, 1, 1, 1, 1, 5, 1))), r"a box of class 5; Gen1 has 0 \(car\) and 1"),
    ],
)
def test_broken_boxes(tree: Path, content: bytes, sentence: str) -> None:
    (tree / "train" / "17-04-06_b_bbox.npy").write_bytes(content)
    with pytest.raises(BenchError, match=rf"17-04-06_b_bbox\.npy .*{sentence}"):
        Gen1().load()


def test_a_recording_without_boxes_gives_no_samples(tree: Path) -> None:
    (tree / "train" / "17-04-06_b_bbox.npy").write_bytes(encode_boxes(BOXES[:0]))
    assert len(Gen1().load().train) == 2


def test_what_is_missing_is_named(tree: Path) -> None:
    first = Gen1().digest()
    (tree / "train" / "new_td.dat").write_bytes(b"%")
    with pytest.raises(MissingDataError, match=r"train/new_bbox\.npy is missing: put its recordings at"):
        Gen1().load()
    (tree / "train" / "new_bbox.npy").write_bytes(encode_boxes(BOXES))
    assert Gen1().digest() != first
    for file in (tree / "test").iterdir():
        file.unlink()
    with pytest.raises(MissingDataError, match=r"holds no \*_td\.dat"):
        Gen1().digest()
    with pytest.raises(MissingDataError, match="Gen1 is missing"):
        Gen1(root="elsewhere").digest()


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"steps": 0}, "`steps` to be from 1 to 250000, not 0"),
        ({"size": 16}, "`size` to be at least 32; it is 16"),
        ({"size": 256, "frames": "counts"}, "at least 304, the sensor's longer side"),
    ],
)
def test_impossible_frames(parameters: Any, sentence: str) -> None:
    with pytest.raises(BenchError, match=sentence):
        Gen1(**parameters)


def test_the_window_is_a_parameter() -> None:
    source = encode_dat(events_of([(100_000, 5, 5, 1), (399_000, 7, 7, 1)]), 304, 240), encode_boxes(BOXES[:1]), "made"
    wide = split_of(
        [source], View(size=304, steps=1, protocol="perot", frames="drawn", judged="labels", window=301_000)
    )
    assert len(wide) == 0, "the first stamp lies before half a second"
    official = {"size": 304, "steps": 1, "protocol": "official", "frames": "counts"}
    seen = [split_of([source], View(**official, window=w)).images(np.array([0])).sum() for w in (250_000, 301_000)]
    assert [int(total) for total in seen] == [1, 2]


def test_the_tools_judge_what_they_judge() -> None:
    """The official loop cuts labels and detections to the sensor; the benchmark's tool leaves out small detections and 0.5 s."""
    boxes = boxes_of((500_000, 10, 10, 60, 40, 0, 1), (600_000, 280, 10, 50, 40, 0, 2))
    source = b"", encode_boxes(boxes), "made"
    common = {"size": 304, "steps": 1, "frames": "drawn"}
    plain, released = (
        split_of([source], View(**common, protocol="official", judged=judged)) for judged in ("labels", "tool")
    )
    assert plain.ground_truth["annotations"][1]["bbox"] == [279, 10, 50, 40], "moved inside by its centre"
    assert released.ground_truth["annotations"][1]["bbox"] == [279, 10, 25, 40]
    wide = np.array([[0.0, 0.0, 400.0, 100.0]])
    assert plain.restore(0, wide, (304, 304))[0, 2] > 304 == released.restore(0, wide, (304, 304))[0, 2]
    lenient, tool = (
        split_of([source], View(**common, protocol="perot", judged=judged)) for judged in ("labels", "tool")
    )
    assert (lenient.stamps.tolist(), tool.stamps.tolist()) == ([500_000, 600_000], [600_000])
    small = np.array([[0.0, 0.0, 9.0, 100.0], [0.0, 0.0, 20.0, 20.0], [0.0, 0.0, 30.0, 30.0]])
    assert tool.counts(small).tolist() == [False, False, True]
    assert lenient.counts(small).all()
