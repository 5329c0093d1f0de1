"""`bench rehearse`: the paper's profile on stand-ins, of which nothing stays and nothing is shown."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retable.bench.datasets import coco, image_folder
from retable.bench.rehearsal.stage import data_in
from retable.bench.run import stage
from retable.bench.run.shelf import Shelf
from retable.models.common import checkpoint
from retable.models.common.weights import weights_file
from retable.models.spikellm import gptq, method, omniquant, pipeline, published
from retable.models.vision import method as vision
from tests.bench.conftest import Bench

REHEARSAL = """\
  rehearsal:
    of: paper
    repetitions: [0]
    limits: {timeout: 60 s, memory: 4 GB}
    numerics: portable
"""
SUITES = Path(__file__).parents[3] / "suites"


@pytest.fixture
def rehearsed(bench: Bench) -> Bench:
    """The tiny suite with a profile that rehearses `paper`."""
    bench.edit("methods:\n", f"{REHEARSAL}methods:\n")
    return bench


def test_a_rehearsal_runs_every_stage_and_leaves_nothing(rehearsed: Bench) -> None:
    before = sorted(rehearsed.folder.rglob("*"))
    (facts,) = rehearsed.json("rehearse", "tiny", "--jobs", "0", "--quiet")
    assert len(facts["stages"]) == 4
    assert not facts["faults"]
    assert sorted(rehearsed.folder.rglob("*")) == before, "a store, data or weights were left behind"


def test_a_failing_stage_and_a_missing_number_are_faults_and_what_they_block_is_not_told_twice(
    rehearsed: Bench,
) -> None:
    rehearsed.edit("low: {use: tiny, with: {level: 1.0}}", "low: {use: tiny, with: {level: 1.0, behaviour: raises}}")
    rehearsed.edit("high: {extends: low, with: {level: 2.0}}", "high: {use: tiny, with: {level: 1.0e38}}")
    rehearsed.edit("{use: read-weight}", "{use: read-weight, with: {scale: 1.0e300}}")
    done = rehearsed("rehearse", "tiny", "--jobs", "0", "--quiet")
    assert done.returncode == 3
    assert done.stdout.count("a method's own mistake") == 1
    assert "no number for weight: the value is inf" in done.stdout
    assert "2 failed" in done.stdout


@pytest.mark.parametrize("verb", [["run"], ["table"], ["gate"], ["freeze"]])
def test_no_other_verb_takes_the_profile(rehearsed: Bench, verb: list[str]) -> None:
    done = rehearsed(*verb, "tiny", "--profile", "rehearsal")
    assert done.returncode == 2
    assert "`bench rehearse tiny` runs it" in done.stderr


def test_rows_and_metrics_that_cannot_be_rehearsed_say_why(rehearsed: Bench) -> None:
    rehearsed.edit("    numerics: portable\n", "    numerics: portable\n    skip: {low: no file}\n")
    rehearsed.edit("method: high, reported", "method: high, metrics: [weight, nowhere], reported")
    rehearsed.edit("    skip:", "    without: {nowhere of hi*: no such instrument}\n    skip:")
    done = rehearsed("rehearse", "tiny", "--jobs", "0", "--quiet")
    assert done.returncode == 0, done.stdout
    assert "low is not rehearsed: no file" in done.stdout
    assert "nowhere of hi* is not rehearsed: no such instrument" in done.stdout


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("of: paper", "of: papers", "'papers' cannot be rehearsed; did you mean 'paper'?"),
        ("    of: paper\n", "    sizes: {}\n", "'sizes' goes with 'of'"),
        (
            "    of: paper\n",
            "    of: paper\n    sizes: {methods: {tinny: {level: 3.0}}}\n",
            "no method of this suite uses 'tinny'",
        ),
        ("    of: paper\n", "    of: paper\n    sizes: {methods: {tiny: {levle: 3.0}}}\n", "did you mean 'level'?"),
        ("    of: paper\n", "    of: paper\n    skip: {hihg: why}\n", "no entry matches 'hihg'; did you mean 'high'?"),
        (
            "    of: paper\n",
            "    of: paper\n    without: {wieght: why}\n",
            "no metric matches 'wieght'; did you mean 'weight'?",
        ),
    ],
)
def test_a_declaration_that_means_nothing_is_refused_where_it_stands(
    rehearsed: Bench, old: str, new: str, sentence: str
) -> None:
    rehearsed.edit(old, new)
    done = rehearsed("check", "suites/tiny.yaml")
    assert done.returncode == 2
    assert "tiny.yaml:" in done.stdout + done.stderr
    assert sentence in done.stdout + done.stderr


def test_sizes_are_laid_upon_every_component_of_a_name(rehearsed: Bench) -> None:
    rehearsed.edit("    of: paper\n", "    of: paper\n    sizes: {methods: {tiny: {behaviour: raises}}}\n")
    (facts,) = rehearsed.json("rehearse", "tiny", "--jobs", "0", "--quiet")
    assert len(facts["faults"]) == 2
    rehearsed.edit("paper: {repetitions: [0],", "paper: {numerics: portable, repetitions: [0],")
    assert rehearsed("run", "tiny", "--profile", "paper", "--jobs", "0").returncode == 0


def test_the_data_folder_is_back_after_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))

    def fail() -> None:
        with data_in(tmp_path / "scratch"):
            raise RuntimeError(os.environ["BENCH_DATA"])

    with pytest.raises(RuntimeError, match="scratch"):
        fail()
    assert os.environ["BENCH_DATA"] == str(tmp_path)


FAULTS: dict[str, tuple[str, str, Callable[[pytest.MonkeyPatch], None], str]] = {
    "checkpoints in containers are not read": (
        "table_survey",
        "imagenet-sew-resnet-18",
        lambda patch: patch.setattr(checkpoint, "CONTAINERS", ()),
        "is not a named tensor",
    ),
    "a prefix stays on every key": (
        "table_spikelm",
        "run-rte-t4",
        lambda patch: patch.setattr(checkpoint, "PREFIXES", ()),
        "is missing",
    ),
    "distilled networks have one head": (
        "table_survey",
        "imagenet-meta-55m",
        lambda patch: patch.setattr(
            vision.MetaSpikeformer, "architecture", one_head(vision.MetaSpikeformer.architecture)
        ),
        "head_kd.weight belongs to no parameter",
    ),
    "a folder of shards is not a model": (
        "table_spikellm_w2a16",
        "run-base",
        lambda patch: patch.setattr(published, "_tensors", lambda folder: list(folder.glob("model.safetensors"))),
        "no language model at",
    ),
    "layers of half precision meet single precision": (
        "table_spikellm_w2a16",
        "run-spikellm",
        lambda patch: [
            patch.setattr(pipeline, "HALF", ()),
            patch.setattr(omniquant, "half_precision", lambda *_: nullcontext()),
        ],
        "same dtype",
    ),
    "sums of squares in half precision": (
        "table_spikellm_w2a16",
        "run-gptq",
        lambda patch: patch.setattr(gptq, "no_autocast", lambda _: nullcontext()),
        "positive-definite",
    ),
    "detections leave the image": (
        "table_spikeyolo_coco",
        "spikeyolo-23m",
        lambda patch: patch.setattr(
            coco.CocoSplit,
            "restore",
            lambda split, index, boxes, shape: split._letterbox(index, shape).restored(boxes.astype("float64")),
        ),
        "leaves image",
    ),
    "photographs are shrunk to the size itself": (
        "table_survey",
        "imagenet-sew-resnet-18",
        lambda patch: patch.setattr(
            image_folder, "seen", lambda image, size, view: image_folder.crop(image, size, size, np.array([0.5, 0.5]))
        ),
        "is not seen as 0.875-bilinear",
    ),
    "learned parameters are read as a model's": (
        "table_spikellm_w2a16",
        "run-omniquant-published",
        lambda patch: patch.setattr(
            pipeline, "published_parameters", lambda name, layers: checkpoint.read_tensors(weights_file(name))
        ),
        "is not a named tensor",
    ),
    "OmniQuant transforms where its authors only clip": (
        "table_spikellm_w2a16",
        "run-omniquant-published",
        lambda patch: patch.setattr(
            method.PublishedOmniQuant,
            "recipe",
            lambda own: replace(method.OmniQuant.recipe(own), let=("qkv", "fc1")),
        ),
        "the published parameters lack fc1_smooth_scale",
    ),
}
"""What users of the published files met: the row that has to notice, what puts it back, and what is said then."""


def one_head(architecture: Callable[[Any], dict[str, Any]]) -> Callable[[Any], dict[str, Any]]:
    return lambda method: {**architecture(method), "kd": False}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_put_back_is_found(fault: str, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    suite, row, put_back, said = FAULTS[fault]
    put_back(monkeypatch)
    monkeypatch.setattr(stage, "establish", lambda numerics: None)  # this process has settled its own
    monkeypatch.setattr(stage, "_shelf", Shelf())  # its data are in a folder that will be no more
    done = bench("rehearse", str(SUITES / f"{suite}.yaml"), "--only", row, "--jobs", "0", "--quiet", plugin=False)
    assert done.returncode == 3, done.stdout + done.stderr
    assert "1 failed" in done.stdout
    assert said in done.stdout
