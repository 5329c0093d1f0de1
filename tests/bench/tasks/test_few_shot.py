"""Task `few-shot` with its metrics: a tuned backbone from fit to measurement."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from retable.bench.datasets.findings import Findings
from retable.bench.datasets.tissue import Tissue
from retable.bench.declare.params import build_metric
from retable.bench.errors import BenchError
from retable.bench.metrics.tuning import separation
from retable.bench.registry import resolve
from retable.bench.tasks.few_shot import FewShot, FewShotEvidence

BACKBONE = {"width": 16, "depth": 2, "heads": 2, "mlp": 32, "patch": 14, "images": 64, "epochs": 1}
WAYS: dict[str, dict[str, Any]] = {
    "linear-probe": {},
    "mlp-3": {},
    "partial-1": {},
    "bias-tuning": {},
    "full-tuning": {},
    "adaptformer": {"reduction": 4},
    "lora": {"rank": 2},
    "ept": {"length": 3},
    "vpt": {"length": 2},
    "visual-prompting": {"length": 2},
}


@pytest.fixture(scope="module")
def backbone() -> Any:
    return resolve("method", "vit")(**BACKBONE).fit(None, {}, seed=0, device="cpu")[0]


@pytest.fixture(scope="module")
def chest() -> Any:
    return Findings(pool=60, test=50, validation=16, shots=(1, 2)).load()


def fitted(way: str, backbone: Any, data: Any, **options: Any) -> Any:
    method = resolve("method", way)(**{"epochs": 2, "lr": 0.05, **WAYS[way], **options})
    return method, method.fit(data, {"backbone": backbone}, seed=3, device="cpu")[0]


def measure(name: str, evidence: Any) -> Any:
    return build_metric(name).measure(evidence)


@pytest.mark.parametrize("way", WAYS)
def test_every_way_is_tuned_comes_back_and_is_scored(way: str, backbone: Any, chest: Any) -> None:
    method, model = fitted(way, backbone, chest)
    again = method.load(model.state_dict(), chest, {"backbone": backbone}, device="cpu")
    task = FewShot(images=20, timed_steps=2)
    one, two = (task.evidence(m, chest, seed=0, device="cpu") for m in (model, again))
    for key, probabilities in one.probabilities.items():
        np.testing.assert_array_equal(probabilities, two.probabilities[key])
        assert probabilities.shape == (50, 4)
    for name in ("few_shot[1]", "few_shot[2]", "few_shot_last[2]", "few_shot[mean]", "few_shot_auc[2]", "params"):
        assert measure(name, one) == measure(name, two)
        assert measure(name, one).value is not None
    mean = (measure("few_shot[1]", one).value + measure("few_shot[2]", one).value) / 2
    assert measure("few_shot[mean]", one).value == pytest.approx(mean)
    assert measure("few_shot_map[2]", one).value == measure("few_shot[2]", one).value
    frozen = way not in ("full-tuning", "partial-1", "bias-tuning")
    assert (measure("tensors_changed", two).value == 0) == frozen
    head_only = way in ("linear-probe", "mlp-3")
    assert (measure("tuned_beside_head", one).value == 0) == head_only
    assert (measure("separation_gain", one).value == pytest.approx(1)) == head_only
    assert (measure("frozen_gap", one).value == 0) == head_only
    assert measure("features_moved", one).value == (0 if head_only else 20)
    assert measure("tuning_minutes", one).details["steps"] == 2 * 2
    saved = json.loads(one.artefacts()["few_shot.json"])
    assert saved["test_images"] == 50
    assert saved["map"]["1-shot, best epoch"] == measure("few_shot[1]", one).value


def test_the_backbone_that_all_share_is_never_touched(backbone: Any, chest: Any) -> None:
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    fitted("full-tuning", backbone, chest)
    assert all(torch.equal(tensor, before[name]) for name, tensor in backbone.state_dict().items())


def test_tensors_that_changed_unlike_their_digests_are_no_measurement(backbone: Any, chest: Any) -> None:
    _, model = fitted("linear-probe", backbone, chest)
    evidence = FewShot().evidence(model, chest, seed=0, device="cpu")
    model.digest_after = "0" * 64
    assert measure("tensors_changed", evidence).value is None


def test_one_column_does_what_the_tuned_prompts_do(backbone: Any, chest: Any) -> None:
    _, model = fitted("ept", backbone, chest, length=30)
    evidence = FewShot(images=20).evidence(model, chest, seed=0, device="cpu")
    assert 0 <= measure("length_gap", evidence).value < 1e-5
    assert measure("prompt_length", evidence).value == 30
    scale = measure("patch_scale", evidence)
    quantiles = [scale.details[f"share {q:g}"] for q in (0, 0.25, 0.5, 0.75, 1)]
    assert quantiles == sorted(quantiles)
    assert 0 < scale.value < 0.5  # 5 tokens against 30 columns
    assert len([name for name in scale.details if name.startswith("layer")]) == 2


def test_prompts_far_below_the_logits_leave_a_linear_probe(backbone: Any, chest: Any) -> None:
    (_, away), (_, linear) = fitted("ept", backbone, chest, offset=-1e4), fitted("linear-probe", backbone, chest)
    one, two = (FewShot(images=20).evidence(model, chest, seed=0, device="cpu") for model in (away, linear))
    assert measure("features_moved", one).value == 0
    assert measure("patch_scale", one).value == 1
    for key, probabilities in one.probabilities.items():
        np.testing.assert_array_equal(probabilities, two.probabilities[key])


def test_one_of_two_classes_is_scored_by_accuracy(backbone: Any) -> None:
    data = Tissue(size=28, step=56, shots=(1,), validation=8).load()
    _, model = fitted("linear-probe", backbone, data)
    evidence = FewShot().evidence(model, data, seed=0, device="cpu")
    right = evidence.probabilities[1, "best"].argmax(1) == data.held_out.labels
    assert measure("few_shot[1]", evidence).value == pytest.approx(100 * right.mean())
    assert measure("few_shot_accuracy[1]", evidence).value == measure("few_shot[1]", evidence).value
    assert measure("few_shot[5]", evidence).reason == "tissue was drawn from for 1 shots, not 5"
    for name in ("separation_gain", "length_gap", "patch_scale", "frozen_gap", "features_moved"):
        assert measure(name, evidence).reason.startswith("the task looks at no images")


def test_several_labels_at_once_have_no_accuracy(backbone: Any, chest: Any) -> None:
    _, model = fitted("linear-probe", backbone, chest)
    evidence = FewShot().evidence(model, chest, seed=0, device="cpu")
    assert "several labels at once" in measure("few_shot_accuracy[1]", evidence).reason


def test_broken_probabilities_and_missing_timings_are_no_scores(chest: Any) -> None:
    broken = np.full((50, 4), np.nan)
    evidence: Any = FewShotEvidence(model=None, data=chest, probabilities={(1, "best"): broken, (2, "best"): broken})
    assert "50 of 50 test images' probabilities are not finite" in measure("few_shot[1]", evidence).reason
    assert measure("tuning_minutes", evidence).value is None


def test_bad_input_gets_a_sentence(backbone: Any, chest: Any) -> None:
    with pytest.raises(BenchError, match="takes a tuned backbone, and Linear is none"):
        FewShot().evidence(torch.nn.Linear(1, 1), chest, seed=0, device="cpu")
    with pytest.raises(ValueError, match=r"takes images of \(3, 28, 28\), and findings like chest has \(3, 32, 32\)"):
        fitted("linear-probe", backbone, Findings(size=32, pool=40, test=4, shots=(1,)).load())
    with pytest.raises(BenchError, match="`images` must be at least 0"):
        FewShot(images=-1)


def test_separation_is_the_distance_of_means_over_the_spread_within() -> None:
    features = np.array([[0.0, 1], [0, -1], [4, 1], [4, -1]])
    assert separation(features, np.array([0, 0, 1, 1])) == pytest.approx(4)
    assert separation(features, np.array([[1.0, 1], [1, 1], [0, 1], [0, 1]])) == pytest.approx(4)
    assert separation(features, np.ones((4, 1))) is None


def test_numbers_beside_the_head_need_no_weights() -> None:
    from retable.bench.tasks.count import Count

    method = resolve("method", "ept")(size="b16", image_size=512, length=50)
    evidence = Count().evidence(method, {}, seed=0, device="cpu")
    assert measure("tuned_beside_head", evidence).value == 12 * 1025 * 50
    nothing = SimpleNamespace(head=torch.nn.Identity(), parameters_counted=list)
    assert measure("tuned_beside_head", SimpleNamespace(model=nothing)).value is None
