"""The task `detect` and its metrics, which must be pycocotools' own, on detectors that are made for it."""

from __future__ import annotations

import contextlib
import copy
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from retable.bench.datasets.detection import ArrayDetections, DetectionData, Objects, gather, ground_truth
from retable.bench.datasets.images import ArraySplit, ImageData
from retable.bench.errors import BenchError
from retable.bench.metrics.coco_evaluation import evaluate
from retable.bench.metrics.mean_average_precision import MeanAveragePrecision, MeanAveragePrecision50, MeanAverageRecall
from retable.bench.tasks.detect import Detect, DetectEvidence
from retable.bench.tasks.pictures import Marks, contact_sheet, rgb
from tests.bench.blob_detector import SIDE, BlobDetector, Scripted, blob_data, detections, oracle
from tests.bench.conftest import Bench

QUIET = Detect(account_samples=0, pictures=0)
GOLDEN = Path(__file__).parents[2] / "parity" / "goldens" / "spikeyolo" / "map_metrics.json"
SUITE = """\
suite: tiny
title: A tiny detector
paper: None
arxiv: "0000.00000"
version: 1
profiles:
  mini: {repetitions: [0], limits: {timeout: 100 s, memory: 4 GB, threads: 1}}
methods:
  blobs: {use: blobs}
datasets:
  blobs: {use: blobs}
tasks:
  detect: {use: detect, with: {batch_size: 5, pictures: 4, account_samples: 2, rules: [full]}}
defaults: {dataset: blobs, task: detect, metrics: [map, map50, "map[small]", "map[large]", ar, "macs[full]"]}
entries:
  - {name: blobs, label: Blobs, method: blobs, reported: {map50: 0.5}}
claims:
  - name: finds-blobs
    text: Blobs are found
    source: none
    value: {entry: blobs, metric: map, at_least: 0.9}
    min_seeds: 1
tables:
  - name: precision
    title: Precision
    rows: ["*"]
    columns: [{label: mAP, metric: map, show: measured, format: .1%}]
"""


def evidence_of(model: Any, data: DetectionData, task: Detect = QUIET) -> DetectEvidence:
    return task.evidence(model, data, seed=0, device="cpu")


def pycocotools_says(truth: dict[str, Any], results: list[dict[str, Any]]) -> list[float]:
    """The twelve numbers that pycocotools prints, from its own reading of the two JSON texts."""
    with contextlib.redirect_stdout(io.StringIO()):
        known = COCO()
        known.dataset = copy.deepcopy(truth)
        known.createIndex()
        run = COCOeval(known, known.loadRes(copy.deepcopy(results)), "bbox")
        run.evaluate()
        run.accumulate()
        run.summarize()
    return [float(value) for value in run.stats]


def ours(truth: dict[str, Any], results: list[dict[str, Any]]) -> list[float]:
    found = evaluate(truth, results)
    precision = [found.average_precision(), found.average_precision(threshold=0.5)]
    precision += [found.average_precision(threshold=0.75)]
    precision += [found.average_precision(size) for size in ("small", "medium", "large")]
    recall = [found.average_recall(most=most) for most in (1, 10, 100)]
    recall += [found.average_recall(size) for size in ("small", "medium", "large")]
    return [-1.0 if value is None else value for value in precision + recall]


# All of it through `bench`


def test_a_suite_of_detectors_runs_from_its_declaration(bench: Bench) -> None:
    bench.suite.write_text(SUITE)
    plugin = ["--plugin", str(Path(__file__).parents[1] / "blob_detector.py")]
    done = bench("run", str(bench.suite), "--jobs", "1", *plugin, plugin=False)
    assert done.returncode == 0, done.stderr
    gate = bench("gate", str(bench.suite), *plugin, plugin=False)
    assert gate.returncode == 0, gate.stdout + gate.stderr
    records = json.loads(bench("show", "tiny/blobs", "--json", *plugin, plugin=False).stdout)
    (shown,) = (record for record in records if record["stage"] == "evaluate")
    metrics = shown["metrics"]
    assert metrics["map"]["value"] == metrics["map50"]["value"] == metrics["map[small]"]["value"] == 1
    assert metrics["map[large]"]["value"] is None
    assert metrics["map[large]"]["reason"] == "the 12 images hold no large objects to find"
    assert set(shown["artefacts"]) == {"detections.json", "detections.png", "scenes.png", "account.json"}


# The metrics


def test_the_official_fixture_gives_pycocotools_numbers() -> None:
    golden = json.loads(GOLDEN.read_text())
    truth = {name: golden[name] for name in ("images", "annotations")}
    assert ours(truth, golden["detections"]) == pytest.approx(golden["pycocotools_stats"], abs=1e-12)
    assert ours(truth, golden["detections"])[1] < golden["inloop"]["mAP50"], "the in-loop metric flatters"


@st.composite
def judged(draw: st.DrawFn) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Annotations with crowds, and detections of which some are right."""
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    images = draw(st.integers(1, 5))
    annotations = []
    for number in range(draw(st.integers(0, 12))):
        x, y, width, height = rng.integers(1, 120, 4).tolist()
        annotations.append(
            {
                "id": number + 1,
                "image_id": int(rng.integers(1, images + 1)),
                "category_id": int(rng.choice([2, 5, 9])),
                "bbox": [x, y, width, height],
                "area": width * height,
                "iscrowd": int(rng.random() < 0.2),
            }
        )
    results = []
    for _ in range(draw(st.integers(1, 20))):
        row = annotations[rng.integers(len(annotations))] if annotations and rng.random() < 0.7 else None
        box = rng.integers(1, 120, 4) if row is None else np.array(row["bbox"]) + rng.integers(-3, 4, 4).clip(-1)
        results.append(
            {
                "image_id": int(rng.integers(1, images + 1)) if row is None else row["image_id"],
                "category_id": int(rng.choice([2, 5, 9])) if row is None else row["category_id"],
                "bbox": [float(side) for side in box.clip(1)],
                "score": round(float(rng.random()), 2),
            }
        )
    truth = {
        "images": [{"id": i + 1, "width": 240, "height": 240} for i in range(images)],
        "annotations": annotations,
        "categories": [{"id": k, "name": f"c{k}"} for k in (2, 5, 9)],
    }
    return truth, results


@settings(max_examples=25, deadline=None)
@given(case=judged())
def test_the_numbers_are_pycocotools_own(case: tuple[dict[str, Any], list[dict[str, Any]]]) -> None:
    truth, results = copy.deepcopy(case)
    assert ours(*case) == pycocotools_says(truth, results)
    assert case == (truth, results), "what is judged is left as it was"


@pytest.mark.parametrize("crowd", [False, True])
def test_an_oracle_scores_one(crowd: bool) -> None:
    data = blob_data(crowd=crowd)
    evidence = evidence_of(oracle(data), data)
    for metric in (
        MeanAveragePrecision(),
        MeanAveragePrecision50(),
        MeanAverageRecall(),
        MeanAveragePrecision(size="small"),
    ):
        assert metric.measure(evidence).value == 1
    measurement = MeanAveragePrecision().measure(evidence)
    assert measurement.n == 12
    assert measurement.details["objects"] == 18
    assert measurement.details["crowds"] == 12 * crowd
    assert measurement.details["class red"] == measurement.details["class blue"] == 1


def test_detections_on_a_crowd_count_neither_way() -> None:
    plain, crowded = blob_data(), blob_data(crowd=True)
    answers = oracle(plain, score=0.5).answers
    extra = [detections([[0, 21, 4, 29, 20, 0.99]]) for _ in answers]
    both = [type(a)(*(torch.cat(pair) for pair in zip(a, b, strict=True))) for a, b in zip(answers, extra, strict=True)]
    assert MeanAveragePrecision().measure(evidence_of(Scripted(both), crowded)).value == 1
    wrong = MeanAveragePrecision().measure(evidence_of(Scripted(both), plain))
    assert wrong.value is not None
    assert wrong.value < 0.9


def test_shuffled_scores_fall() -> None:
    data = blob_data(40)
    rng = np.random.default_rng(0)
    right = [np.column_stack([rows, np.full(len(rows), 0.9)]) for rows in data.held_out.boxes(np.arange(40))]
    wrong = [np.column_stack([rng.integers(0, 2, 3), np.sort(rng.integers(0, SIDE, (3, 4))), [0.1] * 3]) for _ in right]
    tables = [np.concatenate(pair) for pair in zip(right, wrong, strict=True)]
    shuffled = rng.permutation(np.concatenate([table[:, 5] for table in tables]))
    falls = []
    for scores in (None, shuffled):
        if scores is not None:
            for table, part in zip(tables, np.split(scores, np.cumsum([len(t) for t in tables])[:-1]), strict=True):
                table[:, 5] = part
        evidence = evidence_of(Scripted([detections(table) for table in tables]), data)
        falls.append(MeanAveragePrecision().measure(evidence).value or 0.0)
    assert falls[0] > 0.95
    assert falls[1] < falls[0] - 0.2


def test_the_wrong_class_or_a_shifted_box_is_not_found() -> None:
    data = blob_data()
    for change in ("class", "place"):
        answers = []
        for boxes, scores, classes in oracle(data).answers:
            answers.append((boxes + 9 * (change == "place"), scores, 1 - classes if change == "class" else classes))
        model = Scripted([detections(np.column_stack([c, b, s])) for b, s, c in answers])
        assert MeanAveragePrecision50().measure(evidence_of(model, data)).value == pytest.approx(0, abs=0.05)


def test_no_detection_is_zero_and_says_so() -> None:
    data = blob_data()
    evidence = evidence_of(Scripted([detections([])] * 12), data, Detect(account_samples=0, pictures=4))
    for metric in (MeanAveragePrecision(), MeanAveragePrecision50(), MeanAverageRecall()):
        measurement = metric.measure(evidence)
        assert measurement.value == 0
        assert "detected nothing" in str(measurement.details["note"])
        assert measurement.details["objects"] == 18
    assert json.loads(evidence.artefacts()["detections.json"]) == []


def test_nothing_to_find_is_no_number() -> None:
    data = blob_data(1)
    for rows in ([], [[0, 1, 1, 9, 9, 0.9]]):
        measurement = MeanAveragePrecision().measure(evidence_of(Scripted([detections(rows)]), data))
        assert measurement.value is None
        assert measurement.reason == "the 1 images hold no objects to find"
        assert measurement.details["detections"] == len(rows)


def test_detections_that_are_not_finite_have_no_score() -> None:
    data = blob_data(2)
    rows = [[0, 1, 1, 9, 9, 0.9], [0, 1, np.nan, 9, 9, 0.9], [0, 1, 1, 9, 9, np.inf]]
    evidence = evidence_of(Scripted([detections(rows)] * 2), data)
    for metric in (MeanAveragePrecision(), MeanAveragePrecision50(), MeanAverageRecall()):
        measurement = metric.measure(evidence)
        assert measurement.value is None
        assert measurement.reason == "4 detections have boxes or scores that are not finite"
    assert len(evidence.results) == 2


@pytest.mark.parametrize(
    ("row", "sentence"),
    [({"image_id": 9, "category_id": 1}, "image 9, which"), ({"image_id": 1, "category_id": 4}, "category 4, which")],
)
def test_detections_of_what_does_not_exist(row: dict[str, int], sentence: str) -> None:
    truth = {"images": [{"id": 1}], "annotations": [], "categories": [{"id": 1, "name": "one"}]}
    with pytest.raises(BenchError, match=sentence):
        evaluate(truth, [{**row, "bbox": [0, 0, 1, 1], "score": 0.5}])


# The task


@given(batch_size=st.integers(1, 15))
@settings(max_examples=8, deadline=None)
def test_every_image_is_detected_in_once(batch_size: int) -> None:
    data = blob_data()
    model = oracle(data)
    evidence = evidence_of(model, data, Detect(batch_size=batch_size, account_samples=0, threshold=0.2, most=7))
    assert sum(model.batches) == 12
    assert max(model.batches) <= batch_size
    assert model.asked == {"threshold": 0.2, "iou": 0.7, "most": 7}
    assert not model.training
    assert MeanAveragePrecision().measure(evidence).value == 1


def test_results_are_cocos_format_in_categories_and_rounded() -> None:
    data = blob_data(2)
    rows = [[0, 1.00049, 2, 3.5, 4, 0.1234567], [1, 0, 0, 2, 2, 0.5]]
    evidence = evidence_of(Scripted([detections(rows), detections([])]), data)
    assert json.loads(evidence.artefacts()["detections.json"]) == [
        {"image_id": 1, "category_id": 7, "bbox": [1.0, 2.0, 2.5, 2.0], "score": 0.12346},
        {"image_id": 1, "category_id": 3, "bbox": [0.0, 0.0, 2.0, 2.0], "score": 0.5},
    ]


def test_operations_are_counted_over_evenly_spread_images() -> None:
    data = blob_data()
    model, _ = BlobDetector().fit(data, {}, seed=0, device="cpu")
    evidence = evidence_of(model, data, Detect(account_samples=3, pictures=0, rules=("full",)))
    assert evidence.account.samples == 3
    assert json.loads(evidence.artefacts()["account.json"])
    assert evidence_of(model, data).why_no_account == "the task counts no operations (account_samples is 0)"


@pytest.mark.parametrize(
    ("answers", "sentence"),
    [
        ([[2, 0, 0, 4, 4, 0.5]], "class 2 in image 0 of blobs, whose classes are 0 to 1"),
        ([[-1, 0, 0, 4, 4, 0.5]], "class -1 in image 0 of blobs"),
    ],
)
def test_classes_out_of_range(answers: Any, sentence: str) -> None:
    data = blob_data(1)
    with pytest.raises(BenchError, match=sentence):
        evidence_of(Scripted([detections(answers)]), data)


def test_results_of_another_form() -> None:
    data = blob_data(3)
    with pytest.raises(BenchError, match="2 results for 3 images"):
        evidence_of(Scripted([detections([])] * 2), data)
    odd = detections([[0, 0, 0, 4, 4, 0.5]])._replace(scores_n=torch.ones(2))
    with pytest.raises(BenchError, match=r"image 0 of blobs has boxes \(1, 4\), scores \(2,\)"):
        evidence_of(Scripted([odd] * 3), data)


def test_data_that_cannot_be_detected_in() -> None:
    split = ArraySplit(pixels=np.zeros((1, 1, 4, 4), np.uint8), labels=np.zeros(1, np.int64))
    plain: Any = ImageData(name="plain", train=split, held_out=split, num_classes=1, image_shape=(1, 4, 4))
    with pytest.raises(BenchError, match="detect needs a detection data set, and plain has no boxes"):
        evidence_of(Scripted([]), plain)
    with pytest.raises(BenchError, match="no held-out images"):
        evidence_of(Scripted([]), blob_data(0))


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"batch_size": 0}, "`batch_size` must be at least 1"),
        ({"most": 0}, "`most` must be at least 1"),
        ({"threshold": -0.1}, "`threshold` must lie between 0 and 1"),
        ({"iou": 1.5}, "`iou` must lie between 0 and 1"),
        ({"pictures": -1}, "`pictures` must be at least 0"),
        ({"account_samples": -1}, "`account_samples` must be at least 0"),
        ({"rules": ()}, "`rules` must name at least one"),
    ],
)
def test_impossible_tasks(parameters: Any, sentence: str) -> None:
    with pytest.raises(BenchError, match=sentence):
        Detect(**parameters)


# Splits in memory


def test_boxes_are_cut_to_the_image_and_crowds_left_out() -> None:
    rows = [
        (0, [-4.0, 2.0, 10.0, 4.0], 0, False, 40.0),
        (0, [30.0, 30.0, 9.0, 9.0], 1, False, 81.0),
        (0, [40.0, 2.0, 5.0, 5.0], 0, False, 25.0),
        (0, [1.0, 1.0, 0.0, 5.0], 0, False, 0.0),
        (0, [1.0, 1.0, 5.0, 5.0], 0, True, 25.0),
    ]
    pixels = np.zeros((2, 3, SIDE, SIDE), np.uint8)
    split = ArrayDetections(pixels=pixels, objects=gather(rows, 2), categories={1: "a", 2: "b"})
    first, second = split.boxes(np.arange(2))
    assert first.dtype == np.float32
    assert first.tolist() == [[0, 0, 2, 6, 6], [1, 30, 30, 32, 32]]
    assert second.shape == (0, 5)
    truth = split.ground_truth
    assert [row["iscrowd"] for row in truth["annotations"]] == [0, 0, 0, 0, 1]
    assert truth["annotations"][0]["bbox"] == [-4, 2, 10, 4], "the ground truth is as annotated"
    assert min(row["id"] for row in truth["annotations"]) == 1, "pycocotools cannot match an annotation 0"


def test_impossible_splits() -> None:
    objects, pixels = gather([(0, [0.0, 0.0, 1.0, 1.0], 3, False, 1.0)], 1), np.zeros((1, 3, 8, 8), np.uint8)
    with pytest.raises(ValueError, match="between 0 and 0"):
        ArrayDetections(pixels=pixels, objects=objects, categories={1: "a"})
    with pytest.raises(ValueError, match="not images: float32"):
        ArrayDetections(pixels=pixels.astype("f4"), objects=objects, categories={1: "a"})
    with pytest.raises(ValueError, match="2 images have the objects of 1"):
        ArrayDetections(pixels=np.concatenate([pixels] * 2), objects=objects, categories={1: "a"})
    with pytest.raises(ValueError, match=r"boxes of the objects is float64 \(1, 3\)"):
        Objects(**{**vars(objects), "boxes": objects.boxes[:, :3]})
    with pytest.raises(ValueError, match="one after the other from 0 to 1"):
        Objects(**{**vars(objects), "starts": np.array([0, 2])})
    with pytest.raises(ValueError, match="2 classes have 1 names"):
        DetectionData(**{**vars(blob_data(1)), "class_names": ("a",)})


@given(counts=st.lists(st.integers(0, 4), min_size=1, max_size=6))
def test_gathered_objects_stay_with_their_images(counts: list[int]) -> None:
    rows = [(i, [i, j, 1.0, 1.0], 0, False, 1.0) for i, count in enumerate(counts) for j in range(count)]
    objects = gather(rows[::-1], len(counts))
    for i, count in enumerate(counts):
        assert objects.boxes[objects.of(i), 0].tolist() == [i] * count
    truth = ground_truth(objects, np.arange(len(counts)) + 5, np.full((len(counts), 2), 9), {1: "a"})
    assert [row["image_id"] - 5 for row in truth["annotations"]] == [row[0] for row in rows]


# Pictures


def test_boxes_are_drawn_where_they_are() -> None:
    green = (0, 200, 0)
    marks = [[Marks(boxes=np.array([[10.0, 4.0, 20.0, 16.0]]), captions=[""], colour=green)], []]
    sheet = Image.open(io.BytesIO(contact_sheet(np.zeros((2, 3, SIDE, SIDE), np.uint8), marks)))
    pixels = np.asarray(sheet)
    assert pixels.shape == (192, 2 * 192 + 4, 3)
    drawn = np.argwhere((pixels == green).all(-1))
    assert (drawn.min(0).tolist(), drawn.max(0).tolist()) == ([24, 60], [95, 119])


def test_event_frames_are_shown_by_what_outweighs() -> None:
    counts = np.zeros((2, 2, 4, 4), np.uint8)
    counts[0, 1, 0, 0], counts[1, 0, 0, 1] = 3, 2
    levels = np.full((2, 3, 4, 4), 127, np.uint8)
    levels[0, :, 0, 0], levels[1, :, 0, 1] = 255, 0
    for frames in (counts, levels):
        shown = rgb(frames)
        assert shown[0, 0, 0] > shown[0, 0, 2]
        assert shown[0, 1, 0] < shown[0, 1, 2]
        assert (shown[1:] == shown[1, 0]).all()
    assert rgb(np.zeros((1, 4, 5), np.uint8)).shape == (4, 5, 3)
