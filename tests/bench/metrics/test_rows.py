"""Features that lie in a file give the numbers of those in memory; a process stays as small as the rows it looks at."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest

from retable.bench.datasets.images import ArraySplit
from retable.bench.metrics import rows
from retable.bench.metrics.features import load_network
from retable.bench.metrics.frechet import moments
from retable.bench.metrics.inception_score import inception_scores
from retable.bench.metrics.kernel_distance import kernel_distance
from retable.bench.metrics.measured import unusable
from retable.bench.metrics.precision_recall import coverage
from retable.bench.metrics.rows import Rows, blocks

RNG = np.random.default_rng(3)
X, Y = RNG.normal(size=(300, 6)) + 100.0, RNG.normal(size=(200, 6)) + 100.5


def filed(array: np.ndarray) -> Rows:
    found = Rows(array.shape[1:], array.dtype)
    for part in np.array_split(array, 7):
        found.append(part)
    assert isinstance(found.finished(), Rows), "it is larger than what may lie in memory"
    return found


@pytest.fixture(autouse=True)
def _little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "IN_MEMORY", 1000)
    monkeypatch.setattr(rows, "AT_ONCE", 1500)


@pytest.mark.parametrize(
    "which", [0, -1, slice(None), slice(5, 9), slice(4, 100, 7), slice(9, 3), [3, 4, 5, 2], np.array([199, 0])]
)
def test_rows_in_a_file_read_like_an_array(which: object) -> None:
    assert np.array_equal(filed(Y)[which], Y[which])  # type: ignore[index]


def test_small_ones_are_a_plain_array() -> None:
    few = Rows((2,), np.float64)
    assert few.finished().shape == (0, 2)  # type: ignore[union-attr]
    few.append(np.ones((3, 2)))
    assert type(few.finished()) is np.ndarray
    assert np.array_equal(np.asarray(filed(X)), X)
    assert np.array_equal(np.concatenate(list(blocks(filed(X)))), X)
    with pytest.raises(ValueError, match="rows of"):
        few.append(np.ones((3, 3)))


def test_the_numbers_are_those_of_arrays() -> None:
    x, y = filed(X), filed(Y)
    mu, sigma = moments(x)
    np.testing.assert_allclose(mu, X.mean(axis=0), rtol=1e-14)
    np.testing.assert_allclose(sigma, np.cov(X, rowvar=False), rtol=1e-11, atol=1e-12)
    assert kernel_distance(x, y) == kernel_distance(X, Y)
    assert coverage(x, y) == coverage(X, Y)
    shares = RNG.dirichlet(np.ones(5), size=400)
    assert np.array_equal(inception_scores(filed(shares), 90), inception_scores(shares, 90))


def test_what_is_not_finite_is_counted_in_a_file_too() -> None:
    spoilt = X.copy()
    spoilt[[4, 250], 2] = np.nan, np.inf
    assert unusable(filed(spoilt), "features") == unusable(spoilt, "features") == "2 of 300 features are not finite"
    assert unusable(filed(X), "features") is None


def test_a_split_gives_the_features_of_its_pixels() -> None:
    pixels = RNG.integers(0, 256, (150, 1, 16, 16)).astype(np.uint8)
    network = load_network("digits-cnn-v1")
    split = network.extract(ArraySplit(pixels=pixels, labels=np.zeros(150, np.int64)))
    whole = network.extract(pixels)
    assert split.pixels_sha256 == whole.pixels_sha256 == network.extract(filed(pixels)).pixels_sha256
    assert np.array_equal(np.asarray(split.activations), np.asarray(whole.activations))


def test_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert len(filed(X)) == 300
    assert not list(tmp_path.iterdir())
