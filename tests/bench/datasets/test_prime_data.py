"""MNIST's files, small event digits, and frames of equally many events."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retable.bench.datasets.event_digits import EventDigits
from retable.bench.datasets.events import Events, encode_nmnist, to_frames
from retable.bench.datasets.frames_by_count import NMnistByCount, to_frames_by_count
from retable.bench.datasets.mnist import Mnist
from retable.bench.datasets.small_event_digits import SmallEventDigits, binned
from retable.bench.errors import BenchError, MissingDataError


def idx(array: np.ndarray) -> bytes:
    head = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    return head + array.astype(np.uint8).tobytes()


def write_mnist(folder: Path, zipped: bool = False) -> dict[str, np.ndarray]:
    """Four files of 20 and 10 images; returns the pixels of both parts."""
    folder.mkdir(parents=True)
    rng, written = np.random.default_rng(0), {}
    for prefix, count in (("train", 20), ("t10k", 10)):
        written[prefix] = rng.integers(0, 256, (count, 28, 28)).astype(np.uint8)
        files = {"images-idx3": written[prefix], "labels-idx1": np.arange(count) % 10}
        for kind, array in files.items():
            content, name = idx(array), f"{prefix}-{kind}-ubyte"
            (folder / f"{name}.gz" if zipped else folder / name).write_bytes(
                gzip.compress(content) if zipped else content
            )
    return written


def test_mnist_is_read_from_its_files_plain_or_zipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    written = write_mnist(tmp_path / "mnist")
    write_mnist(tmp_path / "zipped", zipped=True)
    plain, zipped = Mnist(size=28).load(), Mnist(size=28, root="zipped").load()
    for split, prefix in (("train", "train"), ("held_out", "t10k")):
        found = getattr(plain, split)
        images = found.images(np.arange(len(found)))
        assert np.array_equal(images, np.repeat(written[prefix][:, None], 3, axis=1))
        assert np.array_equal(images, getattr(zipped, split).images(np.arange(len(found))))
        assert found.labels.tolist() == [i % 10 for i in range(len(found))]
    assert Mnist().digest() == Mnist(root="zipped").digest()
    large = Mnist(size=32).load()
    assert large.image_shape == (3, 32, 32)
    flat = np.full((1, 28, 28), 77, np.uint8)
    (tmp_path / "mnist" / "t10k-images-idx3-ubyte").write_bytes(idx(np.repeat(flat, 10, axis=0)))
    assert (Mnist(size=32).load().held_out.images(np.arange(10)) == 77).all()


def test_files_of_mnist_that_are_missing_or_broken_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    for verb in ("digest", "load"):
        with pytest.raises(MissingDataError, match=r"mnist/train-images-idx3-ubyte does not exist: put train-images"):
            getattr(Mnist(), verb)()
    folder = tmp_path / "mnist"
    write_mnist(folder)
    images, labels = folder / "train-images-idx3-ubyte", folder / "train-labels-idx1-ubyte"
    genuine = images.read_bytes()
    for content, sentence in (
        (genuine[:-1], "is cut off: it says 20 entries"),
        (labels.read_bytes(), "is no MNIST file of images-idx3"),
        (b"", "is no MNIST file of images-idx3"),
    ):
        images.write_bytes(content)
        with pytest.raises(BenchError, match=rf"train-images-idx3-ubyte {sentence}"):
            Mnist().load()
    images.write_bytes(idx(np.zeros((3, 28, 28))))
    with pytest.raises(BenchError, match="the labels of the part train do not belong to its images"):
        Mnist().load()
    with pytest.raises(BenchError, match="cannot be 20"):
        Mnist(size=20)


def test_small_event_digits_hold_every_event_of_the_large_ones() -> None:
    small, large = (kind(train=20, held_out=10).load() for kind in (SmallEventDigits, EventDigits))
    assert small.image_shape == (10, 2, 18, 18)
    for split in ("train", "held_out"):
        few, many = (getattr(data, split).images(np.arange(10)).astype(int) for data in (small, large))
        assert np.array_equal(few.sum((3, 4)), many.sum((3, 4)))
        assert np.array_equal(few[..., 5, 5], many[..., 9:11, 9:11].sum((3, 4)))  # pixels move by the border of one
        assert np.array_equal(getattr(small, split).labels, getattr(large, split).labels)
    assert SmallEventDigits().digest() == EventDigits().digest()
    counted = SmallEventDigits(train=20, held_out=10, held_out_by="counts").load()
    assert np.array_equal(counted.train.images(np.arange(20)), small.train.images(np.arange(20)))
    by_count, by_time = (data.held_out.images(np.arange(10)).astype(int).sum((2, 3, 4)) for data in (counted, small))
    assert np.array_equal(by_count.sum(1), by_time.sum(1))
    assert (np.ptp(by_count, 1) <= 1).all()
    assert (np.ptp(by_time, 1) > 100).all()
    with pytest.raises(BenchError, match="multiple of 10"):
        SmallEventDigits(train=15)


def test_counts_of_four_pixels_stay_within_a_byte() -> None:
    frames = np.full((1, 2, 4, 4), 100, np.uint8)
    assert (binned(frames) == 255).all()
    assert (binned(frames // 4) == 100).all()


def recording(count: int, seed: int = 0) -> Events:
    rng = np.random.default_rng(seed)
    places: dict[str, Any] = {"x": (34, np.int16), "y": (34, np.int16), "p": (2, np.int8)}
    drawn = {name: rng.integers(0, high, count).astype(kind) for name, (high, kind) in places.items()}
    return Events(t=np.sort(rng.integers(0, 300_000, count)).astype(np.int64), **drawn)


@given(count=st.integers(0, 300), steps=st.integers(1, 12))
@settings(deadline=None, max_examples=40)
def test_frames_by_count_share_the_events_equally(count: int, steps: int) -> None:
    events = recording(count)
    frames = to_frames_by_count(events, steps).astype(int)
    each = frames.sum((1, 2, 3))
    assert each.sum() == count
    assert each.max() - each.min() <= 1
    assert np.array_equal(frames.sum(0), to_frames(events, steps).astype(int).sum(0))


def test_n_mnist_by_count_trains_by_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    for part in ("Train", "Test"):
        for digit in range(10):
            folder = tmp_path / "n-mnist" / part / str(digit)
            folder.mkdir(parents=True)
            (folder / "00001.bin").write_bytes(encode_nmnist(recording(100, seed=digit)))
    data = NMnistByCount(steps=4).load()
    first = np.arange(1)
    assert np.array_equal(data.train.images(first)[0], to_frames(recording(100), 4))
    assert np.array_equal(data.held_out.images(first)[0], to_frames_by_count(recording(100), 4))
    (tmp_path / "n-mnist" / "Test" / "0" / "00001.bin").write_bytes(bytes([40, 0, 0, 0, 0]))
    with pytest.raises(BenchError, match=r"00001.bin is no recording of N-MNIST: an event at \(40, 0\) is off"):
        data.held_out.images(first)
