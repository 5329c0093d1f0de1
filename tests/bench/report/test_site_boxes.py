"""Detections of two rows on the same images: what was annotated, what each found, and where they disagree."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from retable.bench.declare.params import build
from retable.bench.report.chapter import Chapter
from retable.bench.report.site.explore import explore
from retable.bench.report.site.write import write_site
from retable.bench.store.store import Store
from retable.bench.suite import Component
from retable.bench.versions.boxes import IMAGES, RESULTS, boxes, read_boxes
from tests.bench.report.made_chapters import chapter, hostile_store, hostile_suite
from tests.bench.report.test_site_browser import Visit
from tests.bench.report.test_site_browser import browser as browser

SCENES = Component(use="scenes", params={"size": 48, "train": 1, "held_out": 12})


@pytest.fixture(scope="module")
def truth() -> list[dict[str, Any]]:
    annotated = build("dataset", SCENES).load().held_out.ground_truth["annotations"]
    return [one for one in annotated if not one.get("iscrowd")]


def detections(truth: list[dict[str, Any]], row: int) -> list[dict[str, Any]]:
    """The first row finds every object; the second only those of even images, and one beside in image 1."""
    found = [
        {"image_id": one["image_id"], "category_id": one["category_id"], "bbox": one["bbox"], "score": 0.9}
        for one in truth
        if row == 0 or one["image_id"] % 2 == 0
    ]
    unsure = {"image_id": 0, "category_id": 1, "bbox": [0, 0, 9, 9], "score": 0.1}
    return [*found, unsure, *([{**unsure, "image_id": 1, "score": 0.5}] if row else [])]


def detected(store: Store, truth: list[dict[str, Any]]) -> Chapter:
    made = hostile_suite(name="boxes")
    rows = tuple(replace(one, dataset=SCENES, task=Component(use="detect")) for one in made.entries)
    held = chapter(made, store)
    records = dict(held.records)
    digest = build("dataset", SCENES).digest()
    for row in (0, 1):
        key = f"evaluate-boxes-{row}-0"
        content = json.dumps(detections(truth, row)).encode()
        data = {**records[key].ingredients, "dataset": {"use": "scenes", "digest": digest}}
        files = {RESULTS: store.put_artefact(RESULTS, content)}
        records[key] = replace(records[key], ingredients=data, artefacts=files)
    found = boxes(records.values(), store.read_artefact)
    assert read_boxes(json.dumps(found).encode()) == found
    return replace(held, suite=replace(made, entries=rows), records=records, boxes=found)


def test_boxes_of_a_row_lie_on_the_tiles_of_its_images(tmp_path: Path, truth: list[dict[str, Any]]) -> None:
    text, files = explore(detected(hostile_store(tmp_path), truth))
    data = json.loads(text)
    (exhibit,), (side,) = data["exhibits"], data["sides"]
    assert exhibit["ids"] == sorted({str(one["image_id"]) for one in truth}, key=int)
    found = side["rows"]["e0"]["b"]
    assert [[box[:5] for box in boxes] for boxes in found] == exhibit["truth"]
    assert sum(map(len, side["rows"]["e1"]["b"])) == 1 + sum(one["image_id"] % 2 == 0 for one in truth)
    assert list(files) == [exhibit["picture"].removeprefix("samples/")]


def test_a_version_keeps_the_same_images_of_every_row() -> None:
    store: dict[str, bytes] = {}
    made = chapter(hostile_suite(name="b"), _NoStore())  # type: ignore[arg-type]
    records = []
    for row in (0, 1):
        results = [
            {"image_id": n, "category_id": 1, "bbox": [0, 0, 1, 1], "score": 0.5}
            for n in range(500)
            if n % (1 + row) == 0
        ]
        store[str(row)] = json.dumps(results).encode()
        record = made.records[f"evaluate-b-{row}-0"]
        records.append(replace(record, artefacts={RESULTS: str(row)}))
    found = boxes(records, lambda file: store[file])  # type: ignore[index]
    assert len(found["e0"]) <= IMAGES
    assert set(found["e1"]) == {image for image in found["e0"] if int(image) % 2 == 0}


class _NoStore:
    def save_environment(self, facts: Any) -> str:
        return ""


def test_detections_are_filtered_by_disagreement(browser: Any, tmp_path: Path, truth: list[dict[str, Any]]) -> None:
    write_site([detected(hostile_store(tmp_path / "store"), truth)], tmp_path / "out")
    visit = Visit(browser, tmp_path / "out" / "boxes" / "compare.html", viewport={"width": 390, "height": 800})
    images = {one["image_id"] for one in truth}
    odd = sum(image % 2 for image in images)
    told = visit.page.locator("#sample-told").inner_text()
    even = sum(one["image_id"] % 2 == 0 for one in truth)
    assert f"Of {len(truth)} annotated objects in {len(images)} images A finds {len(truth)} and B {even} (" in told
    assert "boxes beside an object: A 0, B 1." in told
    shown = visit.page.locator("#tiles li")
    for filter_, expected in (("differ", odd), ("a", odd), ("b", 0), ("beside", 1), ("all", len(images))):
        visit.page.locator("#sample-filter").select_option(filter_)
        assert shown.count() == expected, filter_
    assert visit.page.locator("#tiles rect.truth").count() == len(truth)
    assert visit.page.locator("#tiles rect.a").count() == len(truth)
    assert visit.page.locator("#sample-metric").is_hidden()
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= 390
    assert visit.complaints == []
