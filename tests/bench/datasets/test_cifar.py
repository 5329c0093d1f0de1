"""CIFAR in its published formats: Python batches of any pickle, the binary version, and what is refused."""

from __future__ import annotations

import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from retable.bench.datasets.cifar import Cifar10, Cifar100
from retable.bench.datasets.fixed import array_digest
from retable.bench.errors import BenchError, MissingDataError


class Python2Pickler(pickle._Pickler):
    """Writes bytes as Python 2 wrote its strings, which is how the published batches were made."""

    dispatch: ClassVar[dict[Any, Any]] = dict(pickle._Pickler.dispatch)

    def save_string(self, value: bytes) -> None:
        self.write(pickle.BINSTRING + len(value).to_bytes(4, "little") + value)

    dispatch[bytes] = save_string


def write_batch(path: Path, batch: dict[bytes, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        Python2Pickler(file, protocol=2).dump(batch)
    path.write_bytes(path.read_bytes().replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))


def batch_of(seed: int, classes: int, n: int = 4) -> tuple[np.ndarray, list[int]]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (n, 3072)).astype(np.uint8), rng.integers(0, classes, n).tolist()


@pytest.fixture
def cifar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """$BENCH_DATA with both sets as Python batches; four images a file."""
    for number in range(1, 6):
        pixels, labels = batch_of(number, 10)
        write_batch(tmp_path / f"cifar-10-batches-py/data_batch_{number}", {b"data": pixels, b"labels": labels})
    pixels, labels = batch_of(6, 10)
    write_batch(tmp_path / "cifar-10-batches-py/test_batch", {b"data": pixels, b"labels": labels})
    for seed, name in ((7, "train"), (8, "test")):
        pixels, labels = batch_of(seed, 100)
        coarse = [label // 5 for label in labels]
        batch = {b"data": pixels, b"fine_labels": labels, b"coarse_labels": coarse}
        write_batch(tmp_path / "cifar-100-python" / name, batch)
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    return tmp_path


def test_python_batches(cifar: Path) -> None:
    assert b"numpy.core.multiarray" in (cifar / "cifar-100-python" / "test").read_bytes()
    data = Cifar10().load()
    assert (data.name, data.num_classes, data.image_shape) == ("cifar-10", 10, (3, 32, 32))
    assert (len(data.train), len(data.held_out)) == (20, 4)
    pixels, labels = batch_of(2, 10)
    assert np.array_equal(data.train.images(np.arange(4, 8)), pixels.reshape(4, 3, 32, 32))
    assert data.train.labels[4:8].tolist() == labels
    hundred = Cifar100().load()
    assert (hundred.name, hundred.num_classes) == ("cifar-100", 100)
    assert hundred.held_out.labels.tolist() == batch_of(8, 100)[1]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("names", [str, str.encode], ids=["text", "bytes"])
@pytest.mark.parametrize(
    "kept",
    [
        lambda pixels, labels: (pixels, labels),
        lambda pixels, labels: (pixels.reshape(-1, 3, 32, 32), np.array(labels)),
        lambda pixels, labels: (pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), [np.int64(y) for y in labels]),
        lambda pixels, labels: (np.asfortranarray(pixels), tuple(labels)),
    ],
)
def test_batches_that_python_3_saved_again(cifar: Path, protocol: int, names: Any, kept: Any) -> None:
    pixels, labels = batch_of(6, 10)
    data, marks = kept(pixels, labels)
    with (cifar / "cifar-10-batches-py" / "test_batch").open("wb") as file:
        pickle.dump(OrderedDict({names("data"): data, names("labels"): marks}), file, protocol=protocol)
    held_out = Cifar10().load().held_out
    assert np.array_equal(held_out.images(np.arange(4)), pixels.reshape(4, 3, 32, 32))
    assert held_out.labels.tolist() == labels


def test_the_binary_version_holds_the_same(cifar: Path) -> None:
    python = {10: Cifar10().load(), 100: Cifar100().load()}
    digests = Cifar10().digest(), Cifar100().digest()
    for number in range(1, 7):
        name = f"data_batch_{number}" if number < 6 else "test_batch"
        pixels, labels = batch_of(number, 10)
        records = np.concatenate([np.array(labels, np.uint8)[:, None], pixels], axis=1)
        (cifar / "cifar-10-batches-bin").mkdir(exist_ok=True)
        (cifar / "cifar-10-batches-bin" / f"{name}.bin").write_bytes(records.tobytes())
    for seed, name in ((7, "train"), (8, "test")):
        pixels, labels = batch_of(seed, 100)
        fine = np.array(labels, np.uint8)[:, None]
        (cifar / "cifar-100-binary").mkdir(exist_ok=True)
        (cifar / "cifar-100-binary" / f"{name}.bin").write_bytes(np.concatenate([fine // 5, fine, pixels], 1).tobytes())
    for folder in ("cifar-10-batches-py", "cifar-100-python"):
        (cifar / folder).rename(cifar / f"{folder}-away")
    for binary, pickled in ((Cifar10().load(), python[10]), (Cifar100().load(), python[100])):
        for part in ("train", "held_out"):
            a, b = getattr(binary, part), getattr(pickled, part)
            assert array_digest(a.pixels, a.labels) == array_digest(b.pixels, b.labels)
    assert (Cifar10().digest(), Cifar100().digest()) != digests
    path = cifar / "cifar-10-batches-bin" / "test_batch.bin"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(BenchError, match=r"test_batch.bin has \d+ bytes, which is no whole number of records of 3073"):
        Cifar10().load()


class Payload:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_a_pickle_that_calls_something_is_not_run(cifar: Path, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    with (cifar / "cifar-100-python" / "test").open("wb") as file:
        pickle.dump({b"data": Payload(canary), b"fine_labels": [0]}, file)
    with pytest.raises(BenchError, match="test is no CIFAR batch: UnpicklingError: it refers to"):
        Cifar100().load()
    assert not canary.exists()


@pytest.mark.parametrize(
    ("batch", "sentence"),
    [
        ({b"labels": [0]}, "it has no b'data'"),
        ({b"data": np.zeros((2, 3072), np.uint8), b"labels": [0]}, r"no uint8 \(1, 3072\) pixels"),
        ({b"data": np.zeros((1, 3072)), b"labels": [0]}, r"no uint8 \(1, 3072\) pixels"),
        ({b"data": [0], b"labels": [0]}, "pixels"),
        ({b"data": np.zeros((1, 3072), np.uint8), b"labels": [10]}, "whole numbers from 0 to 9"),
        ({b"data": np.zeros((1, 3072), np.uint8), b"labels": [0.5]}, "whole numbers from 0 to 9"),
        ([1, 2], "TypeError"),
    ],
)
def test_a_batch_of_something_else_is_refused(cifar: Path, batch: Any, sentence: str) -> None:
    write_batch(cifar / "cifar-10-batches-py" / "test_batch", batch)
    with pytest.raises(BenchError, match=f"test_batch .*{sentence}"):
        Cifar10().load()


def test_a_truncated_batch_is_refused(cifar: Path) -> None:
    path = cifar / "cifar-10-batches-py" / "data_batch_3"
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(BenchError, match="data_batch_3 is no CIFAR batch"):
        Cifar10().load()


def test_what_is_missing_of_cifar_is_said(cifar: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (cifar / "cifar-10-batches-py" / "data_batch_4").unlink()
    with pytest.raises(MissingDataError, match=r"lacks data_batch_4: unpack cifar-10-python\.tar\.gz"):
        Cifar10().digest()
    monkeypatch.setenv("BENCH_DATA", str(cifar / "nowhere"))
    for component, name in ((Cifar10(), "CIFAR-10"), (Cifar100(), "CIFAR-100")):
        with pytest.raises(MissingDataError, match=f"{name} is missing: unpack cifar-"):
            component.load()
