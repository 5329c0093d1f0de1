"""Event data: the published formats, frames, the simulated camera, and what is said when something is wrong."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retable.bench.datasets import event_camera, event_digits, mnist5k
from retable.bench.datasets.event_digits import EventDigits, recorded, simulate
from retable.bench.datasets.events import Events, NMnist, decode_nmnist, encode_nmnist, framed, to_frames
from retable.bench.datasets.fixed import array_digest
from retable.bench.errors import BenchError, MissingDataError

SMALL = EventDigits(steps=4, train=20, held_out=10)


def events_of(rows: list[tuple[int, int, int, int]]) -> Events:
    """From (t, x, y, p) in any order."""
    t, x, y, p = (list(column) for column in zip(*sorted(rows), strict=True)) if rows else ([], [], [], [])
    return Events(t=np.array(t, np.int64), x=np.array(x, np.int16), y=np.array(y, np.int16), p=np.array(p, np.int8))


def same(a: Events, b: Events) -> bool:
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in "txyp")


recordings = st.lists(
    st.tuples(st.integers(0, 2**23 - 1), st.integers(0, 33), st.integers(0, 33), st.integers(0, 1)), max_size=60
).map(events_of)


@given(events=recordings, steps=st.integers(1, 12))
def test_frames_hold_every_event_once_and_in_order(events: Events, steps: int) -> None:
    frames = to_frames(events, steps)
    assert (frames.dtype, frames.shape) == (np.uint8, (steps, 2, 34, 34))
    assert frames.sum() == len(events)
    assert frames[:, 1].sum() == events.p.sum()
    assert np.array_equal(frames.sum(0, dtype=int), to_frames(events, 1)[0])
    if len(events):
        assert frames[0].any()
        assert frames[-1].any() or events.t[-1] == events.t[0] or events.t[-1] - events.t[0] < steps


def test_frames_cut_time_into_equal_shares() -> None:
    events = events_of([(100, 1, 0, 1), (149, 2, 0, 0), (150, 3, 0, 1), (199, 4, 0, 1)])
    frames = to_frames(events, 2, height=2, width=5)
    assert np.argwhere(frames).tolist() == [[0, 0, 0, 2], [0, 1, 0, 1], [1, 1, 0, 3], [1, 1, 0, 4]]


def test_a_full_counter_stays_full() -> None:
    assert to_frames(events_of([(i, 3, 3, 1) for i in range(300)]), 1)[0, 1, 3, 3] == 255


@given(size=st.integers(2, 60).map(lambda half: 2 * half))
def test_framing_keeps_the_centre(size: int) -> None:
    frames = np.random.default_rng(0).integers(0, 9, (2, 2, 34, 34)).astype(np.uint8)
    small, large = sorted((framed(frames, size), frames), key=lambda array: array.shape[-1])
    assert framed(frames, size).shape == (2, 2, size, size)
    assert np.array_equal(framed(large, small.shape[-1]), small)
    assert framed(frames, size).sum() <= frames.sum()


@given(events=recordings)
def test_nmnist_bytes_come_back(events: Events) -> None:
    assert same(decode_nmnist(encode_nmnist(events)), events)


def test_nmnist_bytes_are_the_published_layout() -> None:
    # x 5, y 7, rising, 0x012345 us; then falling at the largest time
    content = bytes([5, 7, 0x81, 0x23, 0x45, 33, 0, 0x7F, 0xFF, 0xFF])
    events = events_of([(0x012345, 5, 7, 1), (2**23 - 1, 33, 0, 0)])
    assert encode_nmnist(events) == content
    assert same(decode_nmnist(content), events)


def test_row_240_moves_the_clock() -> None:
    content = bytes([1, 2, 0, 0, 9, 0, 240, 0, 0, 0, 3, 4, 0x80, 0, 1, 0, 240, 0, 0, 0, 5, 6, 0, 0, 0])
    assert same(decode_nmnist(content), events_of([(9, 1, 2, 0), (8193, 3, 4, 1), (16384, 5, 6, 0)]))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"1234", "x.bin has 4 bytes, which is no whole number"),
        (b"".join(bytes([1, 1, 0, 0, t]) for t in (9, 8, 7)), "x.bin is not in the order of time: event 1 of 3"),
    ],
)
def test_a_broken_recording_is_named(content: bytes, sentence: str) -> None:
    with pytest.raises(BenchError, match=sentence):
        decode_nmnist(content, "x.bin")


@pytest.mark.parametrize("row", [(2**23, 1, 1, 0), (0, 256, 1, 0), (0, 1, 240, 0)])
def test_what_the_format_cannot_hold_is_refused(row: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="N-MNIST's format"):
        encode_nmnist(events_of([row]))


@pytest.mark.parametrize("row", [(-1, 1, 1, 0), (0, -1, 1, 0), (0, 1, 1, 2)])
def test_impossible_events_are_refused(row: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="events need"):
        events_of([row])


# The simulated camera


def test_what_the_event_digits_hold() -> None:
    data = EventDigits(steps=5, size=32, train=100, held_out=50).load()
    assert (data.name, data.num_classes, data.image_shape) == ("event-digits", 10, (5, 2, 32, 32))
    for split, count in ((data.train, 10), (data.held_out, 5)):
        frames = split.images(np.arange(len(split)))
        assert (frames.dtype, frames.shape) == (np.uint8, (10 * count, 5, 2, 32, 32))
        assert np.bincount(split.labels).tolist() == [count] * 10
        assert (np.diff(split.labels) != 0).mean() > 0.5, "classes are mixed"
        events = frames.sum((1, 2, 3, 4), dtype=int)
        assert 1000 < events.min() < events.max() < 12000
        assert 0.4 < frames[:, :, 1].sum() / frames.sum() < 0.6


def test_no_digit_is_in_both_parts_and_more_digits_do_not_change_the_first() -> None:
    small, large = (EventDigits(steps=1, train=n, held_out=10).load() for n in (10, 30))
    train, held_out = (
        {frames.tobytes() for frames in split.images(np.arange(len(split)))} for split in (large.train, large.held_out)
    )
    assert {frames.tobytes() for frames in small.train.images(np.arange(10))} < train
    assert not train & held_out


def test_the_events_are_the_same_on_every_machine() -> None:
    data = SMALL.load()
    splits = (data.train, data.held_out)
    found = array_digest(*(array for split in splits for array in (split.images(np.arange(len(split))), split.labels)))
    assert found == "7ad75ab001dadcc864fb27226736c40e6742b8a2de9e432e89f3829f78250959"


def test_the_digest_follows_the_simulation_and_the_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    first = SMALL.digest()
    assert EventDigits(steps=9).digest() == first
    monkeypatch.setattr(event_digits, "VERSION", "event-digits-x")
    second = SMALL.digest()
    monkeypatch.setattr(mnist5k, "SHA256", "0" * 64)
    assert len({first, second, SMALL.digest()}) == 3
    recorded.cache_clear()
    event_digits._digits.cache_clear()
    with pytest.raises(BenchError, match="differs from the pinned data"):
        SMALL.load()


def integrated(events: Events) -> np.ndarray:
    """Rising minus falling events of each pixel, (34, 34)."""
    signed = np.zeros((34, 34), int)
    np.add.at(signed, (events.y, events.x), 2 * events.p.astype(int) - 1)
    return signed


def test_a_pixel_rests_after_an_event() -> None:
    for events in recorded("train", 20)[0][:5]:
        place = events.y.astype(int) * 34 + events.x
        for pixel in np.unique(place):
            assert (np.diff(events.t[place == pixel]) >= event_digits.TICKS).all()
        assert events.t[0] >= 0
        assert events.t[-1] <= 3 * event_digits.SACCADE * event_digits.TICKS


def test_a_blank_picture_is_silent_and_light_only_fires_where_it_passes() -> None:
    digits = np.zeros((2, 28, 28), np.uint8)
    digits[1, 14, 14] = 255
    silent, dot = simulate(digits, np.array([0, 1]))
    assert len(silent) == 0
    assert len(dot) > 0
    assert (dot.x.min(), dot.x.max()) >= (14, 14)
    assert dot.x.max() <= 14 + 6 + 1
    assert dot.y.max() <= 14 + 6 + 1


def test_a_slow_edge_fires_as_often_as_its_contrast_has_thresholds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without mismatch and with a slow saccade the refractory time loses little: log(1 + 1/ambient) / threshold events."""
    monkeypatch.setattr(event_digits, "MISMATCH", 0.0)
    monkeypatch.setattr(event_digits, "SACCADE", 4000)
    monkeypatch.setattr(event_digits, "CORNERS", ((0, 0), (3, 0)))
    digits = np.zeros((1, 28, 28), np.uint8)
    digits[0, :, 14:] = 255
    (events,) = simulate(digits, np.array([0]))
    steps = math.log(1 + 1 / event_camera.AMBIENT) / event_camera.THRESHOLD
    count = integrated(events)[3:25, 14:17]
    assert (count < 0).all(), "the dark half moves over the bright one"
    assert (abs(abs(count) - steps) <= 1.2).all()
    swept = integrated(events)[3:25, 2:13]
    assert not swept.any()


@settings(max_examples=8, deadline=None)
@given(numbers=st.lists(st.integers(0, 2**31), min_size=1, max_size=4))
def test_a_recording_depends_on_its_picture_and_number_alone(numbers: list[int]) -> None:
    rng = np.random.default_rng(0)
    digits = rng.integers(0, 256, (len(numbers), 28, 28)).astype(np.uint8)
    together = simulate(digits, np.array(numbers))
    for i, number in enumerate(numbers):
        (alone,) = simulate(digits[i : i + 1], np.array([number]))
        assert same(alone, together[i])


def test_thresholds_differ_between_pixels_as_stated() -> None:
    values = np.stack([event_digits.pixel_thresholds(number) for number in range(20)]) / event_camera.UNIT
    assert values.mean() == pytest.approx(0.2, abs=0.001)
    assert values.std() == pytest.approx(0.03, abs=0.001)
    assert np.array_equal(event_digits.pixel_thresholds(3), event_digits.pixel_thresholds(3))


def test_rendering_is_bilinear_and_moves_by_whole_pixels() -> None:
    digits = np.random.default_rng(0).integers(0, 256, (2, 28, 28)).astype(np.uint8)
    assert np.array_equal(event_digits.render(digits, 512, 1536)[:, 6:34, 2:30], digits.astype(int) * 16)
    halfway = event_digits.render(digits, 128, 0)
    between = (digits[:, :, :-1].astype(int) + digits[:, :, 1:]) * 8
    assert np.array_equal(halfway[:, :28, 1:28], between)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: EventDigits(steps=0), "`steps` of at least 1, not 0"),
        (lambda: EventDigits(size=33), "even `size`"),
        (lambda: EventDigits(train=15), "`train` to be a multiple of 10, not 15"),
        (lambda: EventDigits(held_out=0), "`held_out` to be a multiple of 10, not 0"),
        (lambda: EventDigits(train=10, held_out=1000).load(), r"`held_out` can be at most \d+"),
        (lambda: NMnist(steps=0), "`steps` of at least 1"),
    ],
)
def test_impossible_parameters(make: Any, sentence: str) -> None:
    with pytest.raises(BenchError, match=sentence):
        make()


def test_a_digest_needs_no_heavy_import() -> None:
    code = """
import sys
from retable.bench.datasets.cifar import Cifar10, Cifar100
from retable.bench.datasets.event_digits import EventDigits
from retable.bench.datasets.events import NMnist
assert len(EventDigits().digest()) == 64, (Cifar10(), Cifar100(), NMnist())
print(*{"torch", "numpy", "mlxtend"} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


# N-MNIST as folders


@pytest.fixture
def nmnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """$BENCH_DATA with n-mnist/{Train,Test}/<digit>/*.bin, written from simulated recordings."""
    for part, name in (("train", "Train"), ("held_out", "Test")):
        for number, (events, label) in enumerate(
            zip(*recorded(part, {"train": 20, "held_out": 10}[part]), strict=True)
        ):
            folder = tmp_path / "n-mnist" / name / str(label)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{number:05d}.bin").write_bytes(encode_nmnist(events))
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    return tmp_path / "n-mnist"


def test_folders_give_the_frames_that_were_written(nmnist: Path) -> None:
    data, written = NMnist(steps=4).load(), SMALL.load()
    assert (len(data.train), len(data.held_out), data.image_shape) == (20, 10, (4, 2, 34, 34))
    assert data.train.labels.tolist() == [digit for digit in range(10) for _ in range(2)]
    for split, original in ((data.train, written.train), (data.held_out, written.held_out)):
        frames = original.images(np.argsort(original.labels, kind="stable"))
        assert np.array_equal(split.images(np.arange(len(split))), frames)
    assert data.train.images(np.array([], int)).shape == (0, 4, 2, 34, 34)


def test_the_folders_digest_is_of_names_and_contents(nmnist: Path) -> None:
    first = NMnist().digest()
    assert NMnist(steps=3).digest() == first
    file = next((nmnist / "Test" / "3").iterdir())
    file.rename(file.with_name("99999.bin"))
    assert NMnist().digest() != first


def test_what_is_missing_of_nmnist_is_said(nmnist: Path) -> None:
    for file in (nmnist / "Test" / "7").iterdir():
        file.unlink()
    with pytest.raises(MissingDataError, match=r"7 holds no \*.bin: put its recordings at"):
        NMnist().load()
    (nmnist / "Test" / "7").rmdir()
    with pytest.raises(MissingDataError, match=r"7 does not exist: put its recordings at"):
        NMnist().digest()


def test_a_broken_file_is_named_when_it_is_read(nmnist: Path) -> None:
    data = NMnist().load()
    file = nmnist / "Train" / data.train.files[0]
    file.write_bytes(bytes([200, 0, 0, 0, 0]))
    with pytest.raises(BenchError, match=rf"{file.name} is no recording of N-MNIST: an event at \(200, 0\)"):
        data.train.images(np.array([0]))
    file.write_bytes(b"abc")
    with pytest.raises(BenchError, match=f"{file.name} has 3 bytes"):
        data.train.images(np.array([0]))
