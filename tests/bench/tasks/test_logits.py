"""Logits of a shape that only looks right are refused where they enter."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from retable.bench.datasets.images import ArraySplit, ImageData
from retable.bench.errors import BenchError
from retable.bench.tasks.attack import Attack
from retable.bench.tasks.certify import Certify
from retable.bench.tasks.classify import Classify

PIXELS = np.zeros((8, 1, 4, 4), np.uint8)
SPLIT = ArraySplit(pixels=PIXELS, labels=np.arange(8) % 2)
DATA = ImageData(name="d", train=SPLIT, held_out=SPLIT, num_classes=2, image_shape=(1, 4, 4))


class Net(torch.nn.Linear):
    """`shape` is what is made of logits (B, K)."""

    def __init__(self, shape: Any) -> None:
        super().__init__(16, 2)
        self.shape = shape

    def prepare(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels.flatten(1).float()

    def steps(self, x: torch.Tensor) -> torch.Tensor:
        return self.shape(super().forward(x))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.shape(super().forward(x))


@pytest.mark.parametrize(
    ("shape", "told"),
    [
        (lambda y: y, "(8, 2)"),
        (lambda y: y[:, None], "(8, 1, 2)"),
        (lambda y: y[None, :, :1], "(1, 8, 1)"),
        (lambda y: y[None, :5], "(1, 5, 2)"),
        (lambda y: y[None, None], "(1, 1, 8, 2)"),
        (lambda y: y[None][:0], "(0, 8, 2)"),
        (lambda y: y.tolist(), "a list"),
    ],
)
def test_steps_of_another_shape(shape: Any, told: str) -> None:
    with pytest.raises(BenchError) as caught:
        Classify(account_samples=0).evidence(Net(shape), DATA, seed=0, device="cpu")
    assert told in str(caught.value)
    assert "steps of Net returned logits" in str(caught.value)
    assert "wanted are (time, 8, 2)" in str(caught.value)


def test_a_model_without_steps() -> None:
    net = torch.nn.Linear(16, 2)
    net.prepare = lambda pixels: pixels.flatten(1).float()  # type: ignore[assignment]
    with pytest.raises(BenchError, match="Linear has no steps"):
        Classify(account_samples=0).evidence(net, DATA, seed=0, device="cpu")


@pytest.mark.parametrize("task", [Attack(images=4), Certify(sigma=0.1, images=2)])
def test_attacks_and_certificates_take_logits_of_images(task: Any) -> None:
    with pytest.raises(
        BenchError, match=r"a call of Net returned logits of shape \(1, \d+, 2\); wanted are \(\d+, 2\)"
    ):
        task.evidence(Net(lambda y: y[None]), DATA, seed=0, device="cpu")


class Fickle(Net):
    """Runs one step more in every batch."""

    def steps(self, x: torch.Tensor) -> torch.Tensor:
        self.calls = getattr(self, "calls", 0) + 1
        return torch.nn.Linear.forward(self, x)[None].expand(self.calls, -1, -1)


def test_steps_are_as_many_in_every_batch() -> None:
    with pytest.raises(
        BenchError, match=r"steps of Fickle returned logits of shape \(2, 4, 2\); wanted are \(1, 4, 2\)"
    ):
        Classify(account_samples=0, batch_size=4).evidence(Fickle(None), DATA, seed=0, device="cpu")


@pytest.mark.parametrize("task", [Classify(account_samples=0), Attack(images=4), Certify(sigma=0.1, images=2)])
@pytest.mark.parametrize(
    ("prepare", "told"),
    [
        (None, "Net has no prepare"),
        (lambda pixels: pixels.flatten(1).float()[None], r"prepare of Net returned input of shape \(1, \d+, 16\)"),
        (lambda pixels: pixels.tolist(), "prepare of Net returned input a list"),
    ],
)
def test_input_that_does_not_begin_with_the_batch(task: Any, prepare: Any, told: str) -> None:
    net = Net(lambda y: y[None] if isinstance(task, Classify) else y)
    net.prepare = prepare  # type: ignore[method-assign]
    with pytest.raises(BenchError, match=told):
        task.evidence(net, DATA, seed=0, device="cpu")
