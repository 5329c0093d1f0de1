"""SpikeYOLO's data: Gen1 frames, labels and network input, and COCO's numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from retable.bench.datasets.gen1 import HEIGHT, WIDTH, View, split_of
from retable.bench.datasets.letterbox import Letterbox
from retable.bench.datasets.prophesee import GEN1_BOXES, encode_boxes, encode_dat, open_recording, read_boxes
from retable.bench.metrics.coco_evaluation import evaluate


def gen1_encoding(golden: Any) -> None:
    """Events, frames and labels of each stamp, from the bytes of a recording and its boxes."""
    arrays, config = golden.arrays, golden.config
    content, width, height = arrays["in/dat_bytes"].tobytes(), config["width"], config["height"]
    recording = open_recording(content)
    events = recording.between(0, 2**32)
    for axis in "txyp":
        assert np.array_equal(getattr(events, axis), arrays[f"in/ev_{axis}"]), axis
    assert open_recording(encode_dat(events, width, height)).records.tobytes() == recording.records.tobytes()

    boxes = np.zeros(len(arrays["in/box_ts"]), np.dtype(GEN1_BOXES))  # type: ignore[call-overload]
    for field in GEN1_BOXES["names"]:
        boxes[field] = arrays[f"in/box_{field}"]
    view = View(
        size=max(width, height), steps=config["T"], protocol="official", frames="drawn", width=width, height=height
    )
    split = split_of([(content, encode_boxes(read_boxes(_npy(boxes))), "golden")], view)
    assert split.stamps.tolist() == config["label_ts"]
    (top, left), (inner_height, inner_width) = view.box.corner, view.box.inner
    frames_GTHW = split.images(np.arange(len(split)))[:, ::-1, 0, top : top + inner_height, left : left + inner_width]
    for g in range(len(split)):
        assert np.array_equal(frames_GTHW[g].transpose(0, 2, 1), arrays[f"out/g{g}/frames_TWH"]), f"frames {g}"
        part = split.objects.of(g)
        corner, sides = split.objects.boxes[part, :2], split.objects.boxes[part, 2:]
        labels = np.column_stack([split.objects.classes[part], corner + sides / 2, sides])
        np.testing.assert_allclose(labels, arrays[f"out/g{g}/labels_px"], atol=5e-4)
        normal = labels / [1, width, height, width, height]
        np.testing.assert_allclose(normal, arrays[f"out/g{g}/labels_norm"], atol=2e-6)


def gen1_transform(golden: Any) -> None:
    """Stored frames and labels to the network's input, to the bit; the time runs backwards."""
    arrays, size = golden.arrays, golden.config["imgsz"]
    frames_THW = arrays["in/frames_TWH"].transpose(0, 2, 1)
    height, width = frames_THW.shape[1:]
    box = Letterbox(width, height, size, (size, size), halves=True)
    assert np.array_equal(box.place(frames_THW)[::-1], arrays["out/img_T_HW"])
    labels = arrays["in/labels_norm"].astype(np.float64)
    centre, sides = labels[:, 1:3] * [width, height], labels[:, 3:] * [width, height]
    placed = box.boxes(np.concatenate([centre - sides / 2, centre + sides / 2], axis=1))
    found = np.concatenate([(placed[:, :2] + placed[:, 2:]) / 2, placed[:, 2:] - placed[:, :2]], axis=1) / size
    np.testing.assert_allclose(found, arrays["out/bboxes"], atol=1e-6)
    assert np.array_equal(labels[:, :1], arrays["out/cls"])
    assert (WIDTH, HEIGHT) == (304, 240)


def map_metrics(golden: Any) -> None:
    """The twelve numbers of pycocotools."""
    content = golden.config
    found = evaluate({name: content[name] for name in ("images", "annotations")}, content["detections"])
    precision = [found.average_precision(threshold=threshold) for threshold in (None, 0.5, 0.75)]
    precision += [found.average_precision(size) for size in ("small", "medium", "large")]
    recall = [found.average_recall(most=most) for most in (1, 10, 100)]
    recall += [found.average_recall(size) for size in ("small", "medium", "large")]
    numbers = [-1.0 if value is None else value for value in precision + recall]
    np.testing.assert_allclose(numbers, content["pycocotools_stats"], rtol=0, atol=1e-12)


def _npy(array: np.ndarray) -> bytes:
    import io

    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


ADAPTERS = {"gen1_encoding": gen1_encoding, "gen1_transform": gen1_transform, "map_metrics": map_metrics}
