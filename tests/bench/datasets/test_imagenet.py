"""ImageNet in a tree of the real layout, three classes of 32x32 images: what is read, cut, augmented, and refused."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from retable.bench.datasets.imagenet import ImageNet
from retable.bench.datasets.pixels import read_rgb
from retable.bench.errors import BenchError, MissingDataError
from tests.bench.datasets.test_datasets import every_image

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
