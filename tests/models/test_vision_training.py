"""The training of the vision methods: what a fit is a function of, its losses and rates, and what its samples go through."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from retable.bench.datasets.images import ArraySplit
from retable.bench.metrics.accuracy import Accuracy
from retable.bench.tasks.classify import Classify
from retable.models.vision.classifier import grouped
from retable.models.vision.recipe import Recipe
from retable.models.vision.training import Batches, augmented, fit_classifier, loss_of
from tests.bench.small_snn import SmallSNN, fitted, image_data


def weights(model: torch.nn.Module) -> torch.Tensor:
    return torch.cat([weight.flatten().double() for weight in model.state_dict().values()])


SHORT: dict[str, Any] = {"epochs": 2, "batch_size": 20, "lr": 1e-2, "T": 2}


@pytest.mark.parametrize(
    "options",
    [{}, {"loss": "tet"}, {"optimizer": "sgd", "augment": "shift"}, {"spiking": False, "augment": "shift-flip"}],
)
def test_a_fit_is_a_function_of_its_seed(options: dict[str, Any]) -> None:
    data, small = image_data(), SmallSNN(**SHORT, **options)
    torch.manual_seed(5)
    one, log = fitted(small, data)
    state = torch.get_rng_state()
    torch.manual_seed(6)
    two, again = fitted(small, data)
    other, _ = fitted(small, data, seed=2)
    assert torch.equal(weights(one), weights(two))
    assert log == again
    assert not torch.equal(weights(one), weights(other))
    torch.manual_seed(5)
    assert torch.equal(state, torch.get_rng_state()), "the process's generator is left alone"
    assert not one.training
    assert log["steps"] == 6
    assert len(log["train_accuracy"]) == 2
    assert log["curve"][0]["step"] == 0
    assert log["curve"][-1] == {"step": 5, "loss": log["loss"]}


def test_a_model_comes_back_from_its_state() -> None:
    data, small = image_data(), SmallSNN(**SHORT)
    model, _ = fitted(small, data)
    again = small.load(model.state_dict(), data, {}, device="cpu")
    x = model.prepare(torch.from_numpy(data.held_out.images(np.arange(5))))
    assert torch.equal(again.prepare(torch.from_numpy(data.held_out.images(np.arange(5)))), x)
    assert torch.equal(again.steps(x), model.steps(x))
    assert torch.allclose(model(x), model.steps(x).mean(0))


@pytest.mark.parametrize("loss", ["ce", "tet"])
@pytest.mark.parametrize("spiking", [True, False])
def test_it_learns(loss: Any, spiking: bool) -> None:
    data = image_data()
    model, log = fitted(SmallSNN(T=2, epochs=15, batch_size=10, lr=1e-2, loss=loss, spiking=spiking), data)
    evidence = Classify(account_samples=0).evidence(model, data, seed=0, device="cpu")
    assert log["curve"][0]["loss"] > log["loss"]
    assert Accuracy().measure(evidence).value == 100
    assert evidence.steps == (2 if spiking else 1)
    assert any(isinstance(module, torch.nn.ReLU) for module in model.modules()) is not spiking


def test_a_loss_that_is_not_finite_stops_the_fit() -> None:
    with pytest.raises(FloatingPointError, match="lower the learning rate"):
        fitted(SmallSNN(**{**SHORT, "lr": 1e30, "optimizer": "sgd", "weight_decay": 1e9, "epochs": 9}), image_data())


def test_norms_are_measured_anew_once_the_weights_are_final() -> None:
    data, whole = image_data(), {**SHORT, "batch_size": 60, "norm_batches": 1}
    model, _ = fitted(SmallSNN(**whole), data)
    stale, _ = fitted(SmallSNN(**{**whole, "norm_batches": 0}), data)
    x = model.prepare(torch.from_numpy(data.train.images(np.arange(60))))
    with torch.no_grad():
        z = model.network.conv(x)
    norm = model.network.norm
    assert torch.allclose(norm.running_mean, z.mean((0, 2, 3)), atol=1e-4)
    assert torch.allclose(norm.running_var, z.var((0, 2, 3)), rtol=1e-2)
    assert norm.momentum == 0.1
    assert torch.equal(model.network.conv.weight, stale.network.conv.weight)
    assert not torch.allclose(stale.network.norm.running_mean, norm.running_mean, atol=1e-2)


def test_tet_is_the_mean_of_the_steps_losses() -> None:
    logits, labels = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 3, 0])
    each = [torch.nn.functional.cross_entropy(step, labels) for step in logits]
    recipe = Recipe(loss="tet", tet_lambda=0.25)
    expected = 0.75 * sum(each) / 3 + 0.25 * ((logits - 1) ** 2).mean()
    assert torch.allclose(loss_of(logits, labels, recipe), expected)
    mean = torch.nn.functional.cross_entropy(logits.mean(0), labels, label_smoothing=0.1)
    assert torch.equal(loss_of(logits, labels, Recipe(label_smoothing=0.1)), mean)


@given(warmup=st.floats(0, 2.9), steps=st.integers(1, 30))
def test_the_rate_rises_then_falls(warmup: float, steps: int) -> None:
    recipe = Recipe(epochs=3, lr=1.0, min_lr=0.1, warmup=warmup)
    rates = [recipe.lr_at(step, steps) for step in range(3 * steps)]
    top = int(np.argmax(rates))
    assert all(0 < rate <= 1 for rate in rates)
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert recipe.lr_at(3 * steps, steps) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"epochs": 0}, "`epochs` must be at least 1, not 0"),
        ({"batch_size": 0}, "`batch_size` must be at least 1"),
        ({"lr": 0.0}, "`lr` must be above 0"),
        ({"min_lr": 1.0}, "`min_lr` must lie between 0 and lr"),
        ({"weight_decay": -1.0}, "`weight_decay` must be at least 0"),
        ({"warmup": 8.0}, "`warmup` must be at least 0 and less than 8 epochs"),
        ({"label_smoothing": 1.0}, "`label_smoothing` must be at least 0 and below 1"),
        ({"tet_lambda": 2.0}, "`tet_lambda` must lie between 0 and 1"),
        ({"norm_batches": -1}, "`norm_batches` must be at least 0"),
        ({"T": 0}, "`T` must be at least 1, not 0"),
        ({"num_classes": 0}, "`num_classes` must be at least 1"),
    ],
)
def test_impossible_methods(parameters: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        SmallSNN(**parameters)


def test_parameters_that_contradict_the_data() -> None:
    with pytest.raises(ValueError, match="`num_classes` is 5, but bands has 3"):
        SmallSNN(num_classes=5).build(image_data())
    with pytest.raises(ValueError, match="bands has images of 16x20 pixels"):
        SmallSNN().build(image_data(shape=(1, 16, 20)))
    with torch.device("meta"):
        model = SmallSNN(num_classes=7, image_size=8).build(None)
    assert model.network.head.weight.shape == (7, 8 * 2 * 2)


# What the samples go through


def test_images_are_standardised_by_the_training_images() -> None:
    data = image_data()
    model = SmallSNN().build(data)
    model.standardise_by(data.train)
    x = model.prepare(torch.from_numpy(data.train.images(np.arange(60))))
    assert x.dtype == torch.float32
    assert abs(float(x.mean())) < 1e-5
    assert float(x.std(correction=0)) == pytest.approx(1, abs=1e-5)
    black = ArraySplit(pixels=np.zeros((2, 1, 16, 16), np.uint8), labels=np.zeros(2, np.int64))
    model.standardise_by(black)
    assert not model.prepare(torch.zeros(1, 1, 16, 16, dtype=torch.uint8)).any()


@given(groups=st.integers(1, 4), T=st.integers(1, 4))
def test_event_frames_are_grouped_without_loss(groups: int, T: int) -> None:
    frames = torch.randint(0, 256, (2, groups * T, 2, 3, 3), generator=torch.Generator().manual_seed(0)).byte()
    x = grouped(frames, T)
    assert x.shape == (2, T, 2, 3, 3)
    assert torch.equal(x[:, 0], frames[:, :groups].float().sum(1))
    assert torch.equal(x.sum(1), frames.float().sum(1))
    with pytest.raises(ValueError, match="cannot be grouped into T"):
        grouped(frames, groups * T + 1)


def test_an_epoch_shows_every_sample_at_most_once() -> None:
    data = image_data(count=23)
    batches = Batches(data.train, Recipe(batch_size=5), seed=0)
    seen = [[(pixels.sum((1, 2, 3)).tolist(), labels.tolist()) for pixels, labels in batches] for _ in range(2)]
    assert [len(epoch) for epoch in seen] == [4, 4] == [len(batches)] * 2
    keys = {(total, label) for totals, labels in seen[0] for total, label in zip(totals, labels, strict=True)}
    known = set(zip(data.train.pixels.sum((1, 2, 3)).tolist(), data.train.labels.tolist(), strict=True))
    assert len(keys) == 20
    assert keys <= known
    assert seen[0] != seen[1]


@pytest.mark.parametrize("shape", [(6, 1, 16, 16), (6, 3, 2, 16, 16)])
def test_a_shifted_sample_is_a_window_of_its_frame(shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(1, 256, shape, generator=generator).byte()
    moved = augmented(pixels, "shift", generator)
    assert (moved.shape, moved.dtype) == (pixels.shape, torch.uint8)
    offsets = set()
    for before, after in zip(pixels, moved, strict=True):
        framed = torch.nn.functional.pad(before, (2, 2, 2, 2))
        windows = {
            (y, x) for y in range(5) for x in range(5) if torch.equal(framed[..., y : y + 16, x : x + 16], after)
        }
        assert len(windows) == 1
        offsets |= windows
    assert len(offsets) > 2
    assert augmented(pixels, "none", generator) is pixels


def test_mirroring_is_a_coin_for_each_sample() -> None:
    pixels = torch.arange(8, dtype=torch.uint8).expand(200, 1, 4, 8)  # sides of 4 and 8: moved by at most one column
    flipped = augmented(pixels, "shift-flip", torch.Generator().manual_seed(0))[:, 0, 0]
    falling = (flipped[:, 2] > flipped[:, 3]).float().mean()
    assert 0.35 < float(falling) < 0.65


def test_a_split_without_samples_is_refused() -> None:
    empty = ArraySplit(pixels=np.zeros((0, 1, 4, 4), np.uint8), labels=np.zeros(0, np.int64))
    with pytest.raises(ValueError, match="no training samples"):
        Batches(empty, Recipe(), seed=0)
    with pytest.raises(ValueError, match="no training samples"):
        fit_classifier(SmallSNN().build(image_data()), empty, Recipe(), seed=0, device="cpu")
