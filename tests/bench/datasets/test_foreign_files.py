"""Data folders as people have them: read rightly, or named before anything is trained."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from retable import contents
from retable.bench.datasets import pixels
from retable.bench.datasets.coco import Coco
from retable.bench.datasets.event_times import WRAP, in_order
from retable.bench.datasets.files import listed
from retable.bench.datasets.gen1 import Gen1
from retable.bench.datasets.imagenet import ImageNet
from retable.bench.datasets.pixels import read_rgb
from retable.bench.datasets.prophesee import encode_boxes, open_recording, read_boxes
from retable.bench.datasets.texts.glue import LAYOUTS, Glue
from retable.bench.datasets.texts.glue import read as read_glue
from retable.bench.errors import BenchError, MissingDataError
from tests.bench.datasets.test_gen1 import BOXES

HEAD = b"% Data file containing CD events.\n% Version 2\n% Height 240\n% Width 304\n"
KIND = b"\x00\x08"
PLACE_2, PLACE_1 = 10 | 20 << 14 | 1 << 28, 10 | 20 << 9 | 1 << 17


@pytest.fixture(autouse=True)
def _data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / ".cache"))
    return tmp_path


def dat(times: list[int], word: int = PLACE_2, head: bytes = HEAD) -> bytes:
    return head + KIND + b"".join(struct.pack("<II", t, word) for t in times)


def long_recording() -> np.ndarray:
    return np.sort(np.random.default_rng(0).integers(0, 60_000_000, 20_000))


# Times


@pytest.mark.parametrize("stray", [0, 2**32 - 1, 2**31 + 5])
@pytest.mark.parametrize("as_file", [False, True])
def test_one_stray_time_costs_one_event(tmp_path: Path, stray: int, as_file: bool) -> None:
    times = long_recording()
    wanted = int(((times >= 20_000_000) & (times < 20_250_000)).sum())
    times[len(times) // 2 if stray == 0 else -1] = stray
    (tmp_path / "a_td.dat").write_bytes(dat(times.tolist()))
    source = tmp_path / "a_td.dat" if as_file else dat(times.tolist())
    for _ in range(2):  # the second time from memory
        assert len(open_recording(source).between(20_000_000, 20_250_000)) == wanted


def test_a_late_event_gets_the_latest_time_before_it() -> None:
    recording = open_recording(dat([0, 10, 20, 15, 40]))
    assert recording.between(0, 100).t.tolist() == [0, 10, 20, 20, 40]
    assert recording.between(16, 21).t.tolist() == [20, 20]
    assert recording.between(11, 20).t.tolist() == []


def test_a_stray_time_far_ahead_would_hide_the_rest_and_is_refused() -> None:
    times = long_recording()
    times[100] = 1_500_000_000
    with pytest.raises(
        BenchError, match=r"x_td is not in the order of time: event 101 of 20000 is at \d+ us, after 1500"
    ):
        open_recording(dat(times.tolist()), "x_td")


def test_the_clock_of_32_bits_begins_again() -> None:
    times = [WRAP - 30, WRAP - 20, WRAP - 5, 3, 9]
    ahead = [*range(0, WRAP - 30, WRAP // 5), *times]
    late = [*ahead[:-1], WRAP - 2, 9]  # of before the wrap
    assert open_recording(dat(ahead)).between(WRAP - 20, WRAP + 9).t.tolist() == [WRAP - 20, WRAP - 5, WRAP + 3]
    assert open_recording(dat(late)).between(WRAP, 2 * WRAP).t.tolist() == [WRAP + 3, WRAP + 3, WRAP + 9]
    with pytest.raises(BenchError, match="nothing tells where it begins"):
        open_recording(dat([WRAP - 1, 0, 5, 9]))


@given(st.lists(st.integers(0, WRAP - 1), max_size=60))
def test_times_never_fall(times: list[int]) -> None:
    array = np.array(times, np.uint32)
    try:
        found = in_order(array, "x")
    except BenchError:
        return
    assert (np.diff(found) >= 0).all()
    assert (found[np.argsort(times, kind="stable")] == sorted(times)).all() or sorted(times) != times


# Headers


@pytest.mark.parametrize(
    ("content", "place"),
    [
        (dat([5]), (10, 20, 1)),
        (dat([5], PLACE_1, HEAD.replace(b"Version 2", b"Version 1")), (10, 20, 1)),
        (dat([5], PLACE_1, HEAD.replace(b"Version 2", b"Version 1.0")), (10, 20, 1)),
        (dat([5], head=b"% " + b"x" * 100_000 + b"\n" + HEAD), (10, 20, 1)),
        (dat([5], head=HEAD.replace(b"\n", b"\r\n")), (10, 20, 1)),
    ],
)
def test_headers_of_any_length_and_both_versions(content: bytes, place: tuple[int, int, int]) -> None:
    events = open_recording(content).between(0, 9)
    assert (events.x[0], events.y[0], events.p[0]) == place


@pytest.mark.parametrize("version", [b"3", b"0", b"two"])
def test_other_versions_are_refused(version: bytes) -> None:
    with pytest.raises(BenchError, match=rf"is of version {version.decode()}, not 1 or 2"):
        open_recording(dat([5], head=HEAD.replace(b"Version 2", b"Version " + version)))


def test_a_version_that_the_header_hides_shows_in_places_off_the_sensor() -> None:
    with pytest.raises(BenchError, match=r"event 0 at \(10250, 8\), off its sensor of 304x240"):
        open_recording(dat([5], PLACE_1)).check(304, 240)


def test_a_box_file_that_begins_like_an_archive() -> None:
    with pytest.raises(BenchError, match="cannot be read as an array of boxes"):
        read_boxes(b"PK\x03\x04 a broken archive", "a_bbox.npy")


# Folders


def test_hidden_files_are_not_data_and_broken_links_are_named(tmp_path: Path) -> None:
    for name in ("a.JPEG", "._a.JPEG", ".DS_Store", "deep/b.JPEG", "deep/._b.JPEG", ".git/c.JPEG"):
        (tmp_path / "f" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "f" / name).write_text("")
    (tmp_path / "f" / "deep" / "up").symlink_to("..")
    assert listed(tmp_path / "f") == ["a.JPEG"]
    assert listed(tmp_path / "f", deep=True) == ["a.JPEG", "deep/b.JPEG"]
    (tmp_path / "f" / "z.JPEG").symlink_to("/nowhere/z.JPEG")
    with pytest.raises(MissingDataError, match=r"z\.JPEG is a link that leads nowhere: put /nowhere/z\.JPEG there"):
        listed(tmp_path / "f")


def gen1(root: Path) -> None:
    for part in ("train", "test"):
        (root / "gen1" / part).mkdir(parents=True)
        (root / "gen1" / part / "a_td.dat").write_bytes(dat([1, 2, 500_000]))
        (root / "gen1" / part / "a_bbox.npy").write_bytes(encode_boxes(BOXES))


def imagenet(root: Path) -> None:
    for part in ("train", "val"):
        folder = root / "imagenet" / part / "n00000001"
        folder.mkdir(parents=True)
        for name in "ab":
            Image.new("RGB", (40, 40)).save(folder / f"{name}.JPEG")


def coco(root: Path) -> None:
    for part in ("train2017", "val2017"):
        write_coco(root / "coco", part)


def write_coco(root: Path, part: str, names: tuple[str, ...] = ("a.jpg", "b.jpg"), change: Any = None) -> None:
    content: dict[str, Any] = {
        "images": [{"id": i + 1, "file_name": name, "width": 40, "height": 30} for i, name in enumerate(names)],
        "annotations": [{"id": 1, "image_id": 2, "category_id": 3, "bbox": [1, 2, 10, 5], "area": 50}],
        "categories": [{"id": 7, "name": "y"}, {"id": 3, "name": "x"}],
    }
    if change:
        change(content)
    for name in names:
        file = root / part / name.replace("\\", "/")
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 30), (len(name), 9, 9)).save(file)
    (root / "annotations").mkdir(exist_ok=True)
    (root / "annotations" / f"instances_{part}.json").write_text(json.dumps(content))


IMAGENET = ImageNet(size=32, reference=None, classes=1)
FOLDERS = [
    (gen1, Gen1(), "gen1/test/a_td.dat"),
    (imagenet, IMAGENET, "imagenet/val/n00000001/a.JPEG"),
    (coco, Coco(size=32), "coco/val2017/a.jpg"),
]


@pytest.mark.parametrize(("make", "dataset", "file"), FOLDERS, ids=["gen1", "imagenet", "coco"])
def test_content_decides_whatever_name_size_and_time_say(
    tmp_path: Path, make: Callable[[Path], None], dataset: Any, file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = contents.time.time_ns
    monkeypatch.setattr(contents.time, "time_ns", lambda: now() + 60 * 10**9)  # all of it is remembered
    make(tmp_path)
    before = dataset.digest()
    assert dataset.digest() == before
    path = tmp_path / file
    status, content = path.stat(), bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert dataset.digest() != before
    path.with_name("._" + path.name).write_bytes(b"left behind")
    content[-1] ^= 1
    path.write_bytes(content)
    assert dataset.digest() == before
    dataset.load()


@pytest.mark.parametrize(("make", "dataset", "file"), FOLDERS, ids=["gen1", "imagenet", "coco"])
def test_a_bad_file_is_named_when_the_data_are_loaded(
    tmp_path: Path, make: Callable[[Path], None], dataset: Any, file: str
) -> None:
    make(tmp_path)
    (tmp_path / file).write_bytes(b"no such thing")
    with pytest.raises(BenchError, match=Path(file).name):
        dataset.load()


# Images


def test_16_bit_grey_is_scaled(tmp_path: Path) -> None:
    ramp = (np.arange(64) * 1040).reshape(8, 8)
    for name, kind in (("a.png", "<u2"), ("a.tif", "<u2"), ("b.tif", ">u2")):
        Image.fromarray(ramp.astype(kind)).save(tmp_path / name)
        pixels_HW = np.asarray(read_rgb(tmp_path / name))[..., 1]
        assert np.array_equal(pixels_HW, ramp // 257), name
    (tmp_path / "a.pgm").write_bytes(b"P5 8 8 65535\n" + ramp.astype(">u2").tobytes())
    assert np.array_equal(np.asarray(read_rgb(tmp_path / "a.pgm"))[..., 0], ramp // 257)


@pytest.mark.parametrize(("kind", "mode"), [(np.int32, "whole numbers .mode I"), (np.float32, "numbers .mode F")])
def test_images_without_a_scale_are_refused(tmp_path: Path, kind: Any, mode: str) -> None:
    Image.fromarray(np.arange(64).reshape(8, 8).astype(kind)).save(tmp_path / "x.tif")
    with pytest.raises(BenchError, match=rf"x\.tif holds .*{mode}"):
        read_rgb(tmp_path / "x.tif")


def test_images_of_a_byte_a_channel_stay_as_pillow_turns_them(tmp_path: Path) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8, 3)).astype(np.uint8))
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA"):
        image.convert(mode).save(tmp_path / f"{mode}.png")
        with Image.open(tmp_path / f"{mode}.png") as stored:
            assert np.array_equal(np.asarray(read_rgb(tmp_path / f"{mode}.png")), np.asarray(stored.convert("RGB")))


@pytest.mark.parametrize("sides", [(30, 9000), (9000, 30)])
def test_images_that_no_resizing_can_hold_are_named(tmp_path: Path, sides: tuple[int, int]) -> None:
    Image.new("L", sides).save(tmp_path / "thin.png")
    with pytest.raises(BenchError, match=rf"thin\.png has {sides[0]}x{sides[1]} pixels: too many, or too narrow"):
        read_rgb(tmp_path / "thin.png")


def test_an_image_that_unpacks_without_end_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("L", (60, 60)).save(tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(BenchError, match=r"bomb\.png cannot be read as an image: .*exceeds limit"):
        read_rgb(tmp_path / "bomb.png")
    with pytest.raises(BenchError, match=r"bomb\.png"):
        pixels.check_images([tmp_path / "bomb.png"])


# COCO as other tools write it


@pytest.mark.parametrize(
    "names",
    [("s/a.jpg", "s/b.jpg"), ("s\\a.jpg", "./b.jpg"), ("a.bmp", "b.webp"), ("a.tif", "b.TIFF"), ("x.gif", "y.jp2")],
)
def test_images_lie_where_their_names_say(tmp_path: Path, names: tuple[str, ...]) -> None:
    for part in ("train2017", "val2017"):
        write_coco(tmp_path / "coco", part, names)
    held_out = Coco(size=32).load().held_out
    seen = held_out.images(np.arange(2))[:, 0, 16, 16].astype(int)
    assert abs(seen - [len(name) for name in names]).max() <= 2


def shifted(value: Callable[[int], Any]) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        for image in content["images"]:
            image["id"] = value(image["id"])
        for row in content["annotations"]:
            row["image_id"] = value(row["image_id"])

    return change


def named_classes(content: dict[str, Any]) -> None:
    for row in content["categories"]:
        row["id"] = row["name"]
    content["annotations"][0]["category_id"] = "x"


@pytest.mark.parametrize(
    ("change", "ids", "classes"),
    [
        (None, [1, 2], ("x", "y")),
        (shifted(lambda i: i + 2**62), [2**62 + 1, 2**62 + 2], ("x", "y")),
        (shifted(lambda i: i + 2**63), [1, 2], ("x", "y")),
        (shifted(lambda i: f"img{i}"), [1, 2], ("x", "y")),
        (shifted(float), [1, 2], ("x", "y")),
        (shifted(lambda i: f"{i:04d}"), [1, 2], ("x", "y")),
        (named_classes, [1, 2], ("y", "x")),
    ],
)
def test_identities_of_any_kind(tmp_path: Path, change: Any, ids: list[int], classes: tuple[str, ...]) -> None:
    for part in ("train2017", "val2017"):
        write_coco(tmp_path / "coco", part, change=change)
    data = Coco(size=32).load()
    assert data.held_out.image_ids.tolist() == ids
    assert data.class_names == classes
    (row,) = data.held_out.boxes(np.array([1]))[0]
    assert data.class_names[int(row[0])] == "x"
    assert data.held_out.ground_truth["annotations"][0]["image_id"] == ids[1]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (shifted(lambda i: i + 0.5), "1.5 is no whole number"),
        (shifted(lambda i: float("nan")), "nan is no whole number"),
        (shifted(lambda i: None), "None is no number"),
        (lambda c: c["images"][0].update(width=40.5), "40.5 is no whole number"),
        (lambda c: c["images"][0].update(file_name="../secret.jpg"), "at ../secret.jpg, outside the folder"),
        (lambda c: c["images"][0].update(file_name="/etc/a.jpg"), "at /etc/a.jpg, outside the folder"),
    ],
)
def test_identities_and_places_that_are_none(tmp_path: Path, change: Any, sentence: str) -> None:
    for part in ("train2017", "val2017"):
        write_coco(tmp_path / "coco", part, change=change)
    with pytest.raises(BenchError, match=sentence):
        Coco(size=32).load()


def test_a_byte_order_mark_does_no_harm(tmp_path: Path) -> None:
    coco(tmp_path)
    file = tmp_path / "coco" / "annotations" / "instances_val2017.json"
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert len(Coco(size=32).load().held_out) == 2


# GLUE


def glue(root: Path, task: Any, lines: list[str]) -> Any:
    path = root / "x.tsv"
    path.write_text("\n".join(lines) + "\n")
    return read_glue(path, LAYOUTS[task])


def test_a_tab_too_many_is_named(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"x\.tsv:3: more fields than 2: a sentence may hold a tab"):
        glue(tmp_path, "sst-2", ["sentence\tlabel", "good\t1", "a\t1\t0"])
    with pytest.raises(BenchError, match=r"x\.tsv:1: more fields than 4"):
        glue(tmp_path, "cola", ["gj04\t1\t\tHe said\tso."])
    assert len(glue(tmp_path, "sst-2", ["sentence\tlabel", "good\t1\t", "bad\t0"])) == 2


@pytest.mark.parametrize("label", ["nan", "inf", "-1", "5.1", ""])
def test_a_rating_is_a_number_within_its_range(tmp_path: Path, label: str) -> None:
    head = "sentence1\tsentence2\tscore"
    with pytest.raises(BenchError, match=rf"x\.tsv:2: the label is '{label}', not a number from 0 to 5"):
        glue(tmp_path, "sts-b", [head, f"a\tb\t{label}"])
    assert glue(tmp_path, "sts-b", [head, "a\tb\t0", "a\tb\t5.000"]).labels.tolist() == [0, 5]


def test_glue_files_are_known_by_content(tmp_path: Path) -> None:
    folder = tmp_path / "glue" / "SST-2"
    folder.mkdir(parents=True)
    for name in ("train.tsv", "dev.tsv"):
        (folder / name).write_text("sentence\tlabel\ngood\t1\n")
    before = Glue().digest()
    (folder / "dev.tsv").write_text("sentence\tlabel\nevil\t1\n")
    assert Glue().digest() != before
