"""COCO folders: what is read, when, and what is said when something is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from retable.bench.datasets import coco, scenes
from retable.bench.datasets.coco import Coco, read_annotations
from retable.bench.datasets.detection import DetectionData
from retable.bench.datasets.letterbox import Letterbox, resized
from retable.bench.datasets.scenes import Scenes
from retable.bench.errors import BenchError, MissingDataError
from retable.bench.metrics.coco_evaluation import evaluate
from retable.bench.tasks.detect import Detect
from tests.bench.blob_detector import Scripted, detections

TREE = Coco(size=64, root="small", train="train", held_out="val")


def annotation(number: int, image: int, category: int, box: list[float], **more: Any) -> dict[str, Any]:
    outline = {"segmentation": [[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]], "area": box[2] * box[3] / 2, "iscrowd": 0}
    return {"id": number, "image_id": image, "category_id": category, "bbox": box, **outline, **more}


def annotations() -> dict[str, Any]:
    """Categories in no order; image 30 has none; a crowd, and boxes that stick out, lie outside or are flat."""
    return {
        "info": {"year": 2017},
        "categories": [{"id": 18, "name": "dog"}, {"id": 3, "name": "car"}, {"id": 90, "name": "toothbrush"}],
        "images": [
            {"id": 500, "file_name": "a.png", "width": 40, "height": 20},
            {"id": 30, "file_name": "b.png", "width": 16, "height": 32},
            {"id": 7, "file_name": "c.png", "width": 64, "height": 64},
        ],
        "annotations": [
            annotation(11, 500, 18, [10, 5, 20, 10]),
            annotation(12, 7, 3, [60, 60, 10, 10]),
            annotation(13, 7, 90, [2, 2, 8, 8], iscrowd=1, segmentation={"counts": [1, 2], "size": [64, 64]}),
            annotation(14, 7, 3, [70, 2, 5, 5]),
            annotation(15, 7, 3, [2, 2, 5, 0]),
            annotation(16, 500, 3, [-4, 0, 12, 20]),
        ],
    }


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    root = tmp_path / "small"
    rng = np.random.default_rng(0)
    for part in ("train", "val"):
        (root / part).mkdir(parents=True)
        for row in annotations()["images"]:
            pixels = rng.integers(0, 256, (row["height"], row["width"], 3)).astype(np.uint8)
            Image.fromarray(pixels).save(root / part / row["file_name"])
        put(root, part, annotations())
    return root


def put(root: Path, part: str, content: Any) -> None:
    (root / "annotations").mkdir(exist_ok=True)
    text = content if isinstance(content, str) else json.dumps(content)
    (root / "annotations" / f"instances_{part}.json").write_text(text)


def test_what_a_folder_holds(tree: Path) -> None:
    data = TREE.load()
    assert isinstance(data, DetectionData)
    assert (data.num_classes, data.class_names, data.category_ids) == (3, ("car", "dog", "toothbrush"), (3, 18, 90))
    assert (len(data.train), len(data.held_out), data.image_shape) == (3, 3, (3, 64, 64))
    images = data.held_out.images(np.arange(3))
    assert (images.dtype, images.shape) == (np.uint8, (3, 3, 64, 64))
    assert (images[0, :, :16] == 114).all(), "40 x 20 is enlarged to 64 x 32 and lies in the middle"
    assert (images[0, :, 48:] == 114).all()
    assert np.array_equal(images[2].transpose(1, 2, 0), np.asarray(Image.open(tree / "val" / "c.png")))
    assert data.held_out.images(np.arange(0)).shape == (0, 3, 64, 64)


def test_boxes_to_train_on_are_inside_and_no_crowds(tree: Path) -> None:
    first, second, third = TREE.load().train.boxes(np.arange(3))
    assert first.dtype == np.float32
    np.testing.assert_allclose(first, [[1, 16, 24, 48, 40], [0, 0, 16, 12.8, 48]], rtol=1e-6)
    assert second.shape == (0, 5)
    assert third.tolist() == [[0, 60, 60, 64, 64]]


def test_the_ground_truth_is_the_files(tree: Path) -> None:
    truth = TREE.load().held_out.ground_truth
    assert truth["categories"] == [
        {"id": 3, "name": "car"},
        {"id": 18, "name": "dog"},
        {"id": 90, "name": "toothbrush"},
    ]
    assert [row["id"] for row in truth["images"]] == [500, 30, 7]
    assert truth["images"][0] == {"id": 500, "width": 40, "height": 20, "file_name": "a.png"}

    def content(rows: list[dict[str, Any]]) -> set[Any]:
        return {(r["image_id"], r["category_id"], tuple(r["bbox"]), r["area"], r["iscrowd"]) for r in rows}

    assert content(truth["annotations"]) == content(annotations()["annotations"])
    results = [{**{k: r[k] for k in ("image_id", "category_id", "bbox")}, "score": 0.5} for r in truth["annotations"]]
    assert evaluate(truth, results).average_precision() == evaluate(annotations(), results).average_precision()


def test_detections_go_back_to_the_original_pixels(tree: Path) -> None:
    data = TREE.load()
    for index in range(3):
        rows = data.held_out.boxes(np.array([index]))[0]
        there = data.held_out.restore(index, rows[:, 1:], (64, 64))
        width, height = data.held_out.annotations.sizes[index]  # type: ignore[attr-defined]
        assert (there >= -1e-5).all()
        assert (there <= [width + 1e-5, height + 1e-5] * 2).all()
    assert data.held_out.restore(0, np.array([[16, 24, 48, 40.0]]), (64, 64)).tolist() == [[10, 5, 30, 15]]


def test_images_and_training_annotations_are_read_when_asked_for(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def noted(file: Path) -> Any:
        read.append(file.name)
        return read_annotations(file)

    monkeypatch.setattr(coco, "read_annotations", noted)
    data = TREE.load()
    assert read == ["instances_val.json"]
    (tree / "train" / "b.png").write_bytes(b"no image")
    with pytest.raises(BenchError, match=r"b\.png cannot be read as an image"):
        len(data.train)
    (tree / "val" / "b.png").write_bytes(b"no image")
    assert data.held_out.images(np.array([0, 2])).shape == (2, 3, 64, 64)
    with pytest.raises(BenchError, match=r"b\.png cannot be read as an image"):
        data.held_out.images(np.array([1]))


def test_the_digest_follows_names_contents_and_boxes(tree: Path) -> None:
    first = TREE.digest()
    assert TREE.digest() == first
    (tree / "val" / "d.png").write_bytes(b"more")
    second = TREE.digest()
    put(tree, "val", {**annotations(), "annotations": []})
    assert len({first, second, TREE.digest()}) == 3


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("{", "instances_val.json is no COCO annotation file: Expecting"),
        ([], "is no COCO annotation file"),
        ({"images": [], "annotations": []}, "an entry has no 'categories'"),
        ({**annotations(), "categories": []}, "it has no categories"),
        ({**annotations(), "categories": [{"id": 1, "name": "a"}] * 2}, "two categories have one number"),
        ({**annotations(), "images": annotations()["images"] * 2}, "two images have one number"),
        ({**annotations(), "images": [{"id": 1, "file_name": "a.png", "width": 0, "height": 3}]}, "image 1 has 0x3"),
        ({**annotations(), "annotations": [{"id": 1}]}, "an entry has no 'bbox'"),
        ({**annotations(), "annotations": [annotation(9, 500, 4, [1, 1, 2, 2])]}, "annotation 9 is of category 4"),
        ({**annotations(), "annotations": [annotation(9, 501, 3, [1, 1, 2, 2])]}, "annotation 9 is in image 501"),
        ({**annotations(), "annotations": [annotation(9, 500, 3, [1, 1, 2, 2, 2])]}, "annotation 9 has 5 numbers"),
        ({**annotations(), "annotations": [annotation(9, 500, 3, [1, 1, -2, 2])]}, "annotation 9 has a negative width"),
        (
            {**annotations(), "annotations": [annotation(9, 500, 3, [1, 1, float("nan"), 2])]},
            "9 has numbers that are not",
        ),
        ({**annotations(), "annotations": [annotation(9, 500, 3, [1, 1, 2, 2], bbox="wide")]}, "could not convert"),
    ],
)
def test_malformed_annotations(tree: Path, change: Any, sentence: str) -> None:
    put(tree, "val", change)
    with pytest.raises(BenchError, match=sentence) as told:
        TREE.load()
    assert "\n" not in str(told.value)


def test_what_is_missing_is_named(tree: Path) -> None:
    other = annotations()
    other["categories"][0]["name"] = "wolf"
    put(tree, "train", other)
    with pytest.raises(BenchError, match="has other categories than"):
        len(TREE.load().train)
    (tree / "val" / "c.png").rename(tree / "val" / "z.png")
    with pytest.raises(MissingDataError, match=r"1 of the 3 images of .* for example c\.png"):
        TREE.load()
    (tree / "annotations" / "instances_val.json").unlink()
    with pytest.raises(MissingDataError, match=r"instances_val\.json does not exist: put its images at"):
        TREE.digest()
    with pytest.raises(MissingDataError, match="COCO is missing"):
        Coco(root="elsewhere").load()
    with pytest.raises(BenchError, match="`size` of at least 32"):
        Coco(size=8)


def test_an_image_of_other_sides_than_annotated(tree: Path) -> None:
    Image.new("RGB", (20, 40)).save(tree / "val" / "a.png")
    with pytest.raises(BenchError, match=r"a\.png has 20x40 pixels, and 40x20 in instances_val\.json"):
        TREE.load().held_out.images(np.array([0]))


def test_written_scenes_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    made = Scenes(size=64, train=3, held_out=12).load()
    scenes.write(tmp_path / "written", "train", made.train)  # type: ignore[arg-type]
    scenes.write(tmp_path / "written", "val", made.held_out)  # type: ignore[arg-type]
    read = Coco(size=64, root="written", train="train", held_out="val").load()
    everything = np.arange(12)
    assert np.array_equal(read.held_out.images(everything), made.held_out.images(everything))
    for a, b in zip(read.held_out.boxes(everything), made.held_out.boxes(everything), strict=True):
        assert np.array_equal(a, b)
    assert read.held_out.ground_truth["annotations"] == made.held_out.ground_truth["annotations"]
    assert (read.class_names, read.category_ids) == (made.class_names, made.category_ids)


# Letterboxing


@given(width=st.integers(1, 90), height=st.integers(1, 90), size=st.integers(32, 64), halves=st.booleans())
def test_a_letterbox_can_be_undone(width: int, height: int, size: int, halves: bool) -> None:
    box = Letterbox(width, height, size, (size, size), halves)
    corners = np.array([[0, 0, width, height], [width / 3, height / 4, width / 2, height / 2]])
    np.testing.assert_allclose(box.restored(box.boxes(corners)), corners, atol=1e-9)
    placed = box.place(np.full((height, width), 9, np.uint8))
    assert placed.shape == (size, size)
    x0, y0, x1, y1 = Letterbox(width, height, size, (size, size)).boxes(corners[:1])[0]
    inside = np.argwhere(placed == 9)
    assert inside.min(0).tolist() == [y0, x0]
    assert (inside.max(0) + 1).tolist() == pytest.approx([y1, x1])
    assert max(box.inner) == size


@given(sides=st.tuples(*[st.integers(1, 40)] * 4))
def test_resizing_stays_within_its_pixels(sides: tuple[int, int, int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (2, *sides[:2])).astype(np.uint8)
    new = resized(image, *sides[2:])
    assert (new.shape, new.dtype) == ((2, *sides[2:]), np.uint8)
    assert int(image.min()) - 1 <= new.min() <= new.max() <= image.max()
    assert np.array_equal(resized(image, *sides[:2]), image)


def test_detections_are_cut_to_the_image(tree: Path) -> None:
    """40 x 20 lies in rows 16 to 48 of 64 x 64: what is found on the margin belongs to no image."""
    restored = TREE.load().held_out.restore(0, np.array([[-5.0, 0.0, 70.0, 64.0]]), (64, 64))
    assert restored.tolist() == [[0, 0, 40, 20]]


def test_rectangles_hold_the_images_of_a_batch(tree: Path) -> None:
    """Sides are whole strides around the longest image, half a stride added, in the order of shapes; boxes come back."""
    data = Coco(size=64, root="small", train="train", held_out="val", rectangular=True).load()
    assert data.held_out.order().tolist() == [0, 2, 1]
    assert data.held_out.images(np.array([0])).shape == (1, 3, 64, 96)
    assert data.held_out.images(np.array([1])).shape == (1, 3, 96, 64)
    mixed = data.held_out.images(np.array([0, 2]))
    assert mixed.shape == (2, 3, 96, 96)
    assert data.image_shape == (3, 96, 96)
    assert data.train.images(np.array([0])).shape == (1, 3, 64, 64)
    inner = np.array([[16.0, 16.0, 80.0, 48.0]])
    assert data.held_out.restore(0, inner, (64, 96)).tolist() == [[0, 0, 40, 20]]


def test_operations_are_counted_at_the_published_side_whatever_the_batch(tree: Path) -> None:
    """Figures of energy are for `size` x `size`; the rectangles of validation are larger or smaller."""
    data = Coco(size=64, root="small", train="train", held_out="val", rectangular=True).load()
    squares = data.held_out.squares(np.array([0, 1]))  # type: ignore[attr-defined]
    assert np.array_equal(squares, TREE.load().held_out.images(np.array([0, 1])))
    seen: list[tuple[int, ...]] = []

    class Sized(Scripted):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(tuple(x.shape[-2:]))
            return super().forward(x)

    model = Sized([detections([]) for _ in range(len(data.held_out))])
    Detect(batch_size=2, account_samples=3, pictures=0, rules=("full",)).evidence(model, data, seed=0, device="cpu")
    assert set(seen) == {(64, 64)}
