"""Draws of a few images, their published lists, and the scores that they are judged by."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.metrics import average_precision_score, roc_auc_score

from retable.bench.datasets import labels as counted
from retable.bench.datasets.draws import Draws
from retable.bench.datasets.few_shot import Draw, drawn_rows
from retable.bench.datasets.findings import FINDINGS, Findings
from retable.bench.datasets.isic import CLASSES, Isic2018
from retable.bench.datasets.listed_images import crop_box
from retable.bench.datasets.medfmc import DRAWS, MedFMC
from retable.bench.datasets.tissue import SIDE, Tissue
from retable.bench.declare.reader import load_suite
from retable.bench.errors import BenchError, MissingDataError

SMALL = Findings(pool=80, test=20, shots=(1, 5))


# draws


@given(seed=st.integers(0, 10_000), shots=st.integers(1, 6))
@settings(deadline=None, max_examples=40)
def test_each_label_gets_its_shots_of_different_images(seed: int, shots: int) -> None:
    labels = (np.random.default_rng(seed).random((60, 3)) < 0.4).astype(np.float32)
    rows = drawn_rows(labels, None, shots, Draws(seed))
    assert len(rows) == 3 * shots
    for k, part in enumerate(rows.reshape(3, shots)):
        assert labels[part, k].all()
        assert len(set(part.tolist())) == shots


def test_an_image_that_is_drawn_for_two_labels_stands_there_twice() -> None:
    rows = drawn_rows(np.array([[1, 1], [0, 0]], np.float32), None, 1, Draws("x"))
    assert rows.tolist() == [0, 0]


def test_studies_bring_all_of_their_images_with_the_label_and_no_other() -> None:
    studies = ["a", "a", "a", "b", "b", "c"]
    classes = np.array([0, 0, 1, 1, 0, 1])
    seen = set()
    for seed in range(20):
        rows = drawn_rows(classes, studies, 1, Draws(seed)).tolist()
        zeros, ones = ([i for i in rows if classes[i] == k] for k in (0, 1))
        assert zeros in ([0, 1], [4])
        assert ones in ([2], [3], [5])
        seen.add((tuple(zeros), tuple(ones)))
    assert len(seen) > 3
    with pytest.raises(BenchError, match="3 shots need so many studies of label 0, and the pool has 2"):
        drawn_rows(classes, studies, 3, Draws(0))


def test_draws_are_the_same_for_all_methods_and_differ_by_seed_and_shots() -> None:
    data = SMALL.load()
    one, two, other = data.draw(5, 3), data.draw(5, 3), data.draw(5, 4)
    assert one.train.chosen.tolist() == two.train.chosen.tolist() != other.train.chosen.tolist()
    assert len(data.draw(1, 3).train) == len(FINDINGS)
    assert not set(one.train.chosen) & set(one.validation.chosen)
    assert len(one.validation) <= SMALL.validation
    np.testing.assert_array_equal(one.train.labels, data.draw(5, 3).train.labels)


def test_images_of_a_study_share_their_ground_and_studies_are_drawn_whole() -> None:
    data = Findings(pool=200, test=8, shots=(5,), like="endo").load()
    assert data.chooses == "auc"
    assert data.reports == "map"
    draw = data.draw(5, 0)
    assert len(draw.train) > 5 * len(FINDINGS)
    corners = data.held_out.images(np.arange(8)).astype(float)[:, :, :4, :4].mean((2, 3))
    within = abs(corners[1] - corners[0]).max()
    assert within < abs(corners[4] - corners[0]).max()


def test_findings_are_what_the_labels_say() -> None:
    data = Findings(pool=40, test=300, shots=(1,)).load()
    pixels, labels = data.held_out.images(np.arange(300)).astype(float).mean(1), data.held_out.labels
    bright, dark = labels[:, 0] > 0, labels[:, 3] > 0
    spread = pixels.max((1, 2)) - np.median(pixels, (1, 2)), np.median(pixels, (1, 2)) - pixels.min((1, 2))
    quiet = (labels == 0).all(1)
    assert np.median(spread[0][bright]) > 1.5 * np.median(spread[0][quiet])
    assert np.median(spread[1][dark]) > 1.5 * np.median(spread[1][quiet])
    assert 0.25 < labels.mean() < 0.45


def test_tissue_s_test_patches_are_of_the_other_half_and_split_by_the_stain() -> None:
    tissue = Tissue(shots=(1,))
    data = tissue.load()
    pool, test = ({patch[:2] for patch in tissue._patches(half)} for half in ("left", "right"))
    assert max(x + tissue.size for _, x in pool) <= SIDE // 2 <= min(x for _, x in test)
    blue = data.held_out.images(np.arange(len(data.held_out))).astype(float)
    brown = blue[:, 0].mean((1, 2)) - blue[:, 2].mean((1, 2))
    positive = data.held_out.labels == 1
    assert np.median(brown[positive]) > np.median(brown[~positive]) + 30
    draw = data.draw(1, 0)
    assert not {*draw.train.chosen.tolist()} & {*draw.validation.chosen.tolist()}


@pytest.mark.parametrize("shots", [(), (0, 1), (1, 1)])
def test_shots_that_are_none_are_refused(shots: tuple[int, ...]) -> None:
    with pytest.raises(BenchError, match="`shots` must be different numbers"):
        Findings(shots=shots)


# published lists


@pytest.fixture
def medfmc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The three folders in their published layout, with two images and two lines a list."""
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    lines = {
        "chest": ["5C2EB54413D4CEC.png " + ",".join("1" * 10 + "0" * 9), "DX.1.2.392.png " + ",".join("0" * 18 + "1")],
        "colon": ["1903326001_2019-06-11 12_07_06-lv1-3173p0008.png 0", "D2018 01775B-lv1p0018.png 1"],
        "endo": ["13333_2021.12_0006_55977222.png 1 1 0 0", "13333_2021.01_0003_41583338.png 0 0 0 1"],
    }
    for part, rows in lines.items():
        folder = tmp_path / "MedFMC" / part
        (folder / "images").mkdir(parents=True)
        for i, row in enumerate(rows):
            image = Image.new("RGB", (30 + 10 * i, 20), (200, 10 * i, 0))
            image.save(folder / "images" / f"{row.partition('.png')[0]}.png")
        for name in (
            "test_WithLabel",
            *(f"{part}_{k}-shot_{w}_exp{e}" for k in (1, 5) for w in ("train", "val") for e in range(1, 6)),
        ):
            (folder / f"{name}.txt").write_text("\n".join(rows if name.endswith("Label") else [rows[0]]) + "\n")
    return tmp_path / "MedFMC"


@pytest.mark.parametrize(
    ("part", "labels", "chooses"),
    [("chest", (2, 19), "map"), ("colon", (2,), "accuracy"), ("endo", (2, 4), "auc")],
)
def test_medfmc_is_read_in_its_published_layout(medfmc: Path, part: Any, labels: Any, chooses: str) -> None:
    dataset = MedFMC(part=part, size=16, shots=(1, 5))
    data = dataset.load()
    assert data.held_out.labels.shape == labels
    assert data.chooses == chooses
    assert data.held_out.labels.sum() == {"chest": 11, "colon": 1, "endo": 3}[part]
    assert {data.draw(5, seed).name for seed in range(9)} == {
        f"{part}_5-shot_train_exp{i}.txt" for i in range(1, DRAWS + 1)
    }
    pixels = data.held_out.images(np.array([0, 1]))
    assert pixels.shape == (2, 3, 16, 16)
    assert abs(pixels[1, :, 8, 8].astype(int) - [200, 10, 0]).max() <= 1
    before = dataset.digest()
    (medfmc / part / "test_WithLabel.txt").write_text((medfmc / part / f"{part}_1-shot_val_exp1.txt").read_text())
    assert dataset.digest() != before


def test_the_suite_s_repetitions_meet_each_published_draw_equally_often() -> None:
    suite = load_suite(Path(__file__).parents[3] / "suites" / "table1_ept.yaml", "paper")
    met = Counter(1 + case.seed % DRAWS for case in suite.cases("colon-ept"))
    assert suite.profile.name == "paper"
    assert met == dict.fromkeys(range(1, DRAWS + 1), 4)


def test_medfmc_says_what_is_missing_or_wrong(medfmc: Path) -> None:
    path = medfmc / "endo" / "endo_1-shot_train_exp3.txt"
    path.write_text("13333_2021.12_0006_55977222.png 1 1 0\n")
    with pytest.raises(BenchError, match=r"exp3\.txt:1: a line is a \.png file and 4 labels from 0 to 1"):
        MedFMC(part="endo", shots=(1,)).digest()
    path.unlink()
    with pytest.raises(MissingDataError, match=r"endo_1-shot_train_exp3\.txt does not exist"):
        MedFMC(part="endo", shots=(1,)).digest()
    (medfmc / "colon" / "images" / "D2018 01775B-lv1p0018.png").unlink()
    with pytest.raises(MissingDataError, match=r"D2018 01775B-lv1p0018\.png of a list does not exist"):
        MedFMC(part="colon", shots=(1,)).digest()


def test_isic_is_read_from_its_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    for part in Isic2018.PARTS:
        truth, images = (tmp_path / "ISIC2018" / f"ISIC2018_Task3_{part}_{kind}" for kind in ("GroundTruth", "Input"))
        truth.mkdir(parents=True)
        images.mkdir()
        lines = ["image," + ",".join(CLASSES)]
        for k in range(len(CLASSES)):
            lines.append(f"ISIC_{k:07d}," + ",".join(str(float(j == k)) for j in range(len(CLASSES))))
            Image.new("RGB", (12, 9), (20 * k, 0, 0)).save(images / f"ISIC_{k:07d}.jpg", quality=95)
        (truth / f"ISIC2018_Task3_{part}_GroundTruth.csv").write_text("\n".join(lines) + "\n")
    dataset = Isic2018(size=8, shots=(1,))
    data = dataset.load()
    draw = data.draw(1, 5)
    assert sorted(draw.train.labels.tolist()) == list(range(7))
    assert draw.train.augments
    assert not draw.validation.augments
    table = truth / "ISIC2018_Task3_Test_GroundTruth.csv"
    table.write_text(table.read_text().replace("1.0", "0.0", 1))
    with pytest.raises(BenchError, match="csv:2: one of the seven classes must be 1"):
        dataset.digest()
    table.unlink()
    with pytest.raises(MissingDataError, match="extract the folders of task 3 there"):
        dataset.digest()


@given(width=st.integers(1, 300), height=st.integers(1, 300), seed=st.integers(0, 1000))
@settings(deadline=None, max_examples=60)
def test_random_crops_lie_within_the_image(width: int, height: int, seed: int) -> None:
    left, top, right, bottom = crop_box(width, height, np.random.default_rng(seed))
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height


# scores


@given(seed=st.integers(0, 1000))
@settings(deadline=None, max_examples=30)
def test_without_ties_average_precision_and_auc_are_scikit_learn_s(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.permutation(120).reshape(40, 3) / 120
    labels = (rng.random((40, 3)) < 0.3).astype(int)
    labels[0], labels[1] = 1, 0
    wanted = [average_precision_score(labels[:, k], scores[:, k]) for k in range(3)]
    np.testing.assert_allclose(counted.average_precisions(scores, labels), wanted)
    np.testing.assert_allclose(counted.aucs(scores, labels), roc_auc_score(labels, scores, average=None))


def test_an_empty_label_counts_as_0_in_map_and_is_left_out_of_auc() -> None:
    scores, labels = np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([[1, 0], [0, 0]])
    assert counted.score("map", scores, labels) == pytest.approx(50)
    assert counted.score("auc", scores, labels) == pytest.approx(100)
    assert np.isnan(counted.score("auc", scores, np.zeros((2, 2))))


def test_ties_stand_in_the_order_of_the_list() -> None:
    scores = np.full((3, 1), 0.5)
    assert counted.average_precisions(scores, np.array([[1], [0], [0]]))[0] == 1
    assert counted.average_precisions(scores, np.array([[0], [0], [1]]))[0] == pytest.approx(1 / 3)


def test_unknown_labels_are_in_no_ranking() -> None:
    scores, labels = np.array([[0.9], [0.8], [0.7]]), np.array([[-1], [1], [0]])
    assert counted.average_precisions(scores, labels)[0] == 1
    assert counted.aucs(scores, labels)[0] == 1


def test_an_epoch_cannot_be_chosen_by_an_auc_that_is_none() -> None:
    nothing: Any = SimpleNamespace(labels=np.zeros((4, 2)))
    draw = Draw(name="empty", train=nothing, validation=nothing, multi_label=True, chooses="auc")
    with pytest.raises(BenchError, match="no epoch can be chosen"):
        draw.judge(np.zeros((4, 2)))
