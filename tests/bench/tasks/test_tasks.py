"""Tasks on small stand-in models: what they hand to the metrics."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from retable.bench.datasets.images import ArraySplit, ImageData
from retable.bench.tasks.count import Count
from retable.bench.tasks.decode import Decode
from retable.bench.tasks.generate import Generate, contact_sheet, to_uint8


class Painter(torch.nn.Module):
    """Paints each class in its own grey, plus noise from the generator; its nats are the requested class id."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[int, dict[str, Any]]] = []

    def sample(self, labels: torch.Tensor, *, generator: torch.Generator, **options: Any) -> torch.Tensor:
        self.calls.append((len(labels), options))
        noise = torch.rand(len(labels), 3, 4, 4, generator=generator)
        return (labels[:, None, None, None] / 5 - 1 + 0.01 * noise).float()

    def nll(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        assert images.min() >= -1
        assert images.max() <= 1
        return labels.float()


@pytest.fixture
def data() -> ImageData:
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (10, 3, 4, 4), dtype=np.uint8)
    split = ArraySplit(pixels=pixels, labels=np.arange(10) % 5)
    return ImageData(name="tiny", train=split, held_out=split, num_classes=5, image_shape=(3, 4, 4))


def test_generate_counts_every_image_once_and_the_warm_up_never(data: ImageData) -> None:
    painter = Painter()
    evidence = Generate(samples=23, batch_size=10).evidence(painter, data, seed=1, device="cpu")
    assert evidence.images.shape == (23, 3, 4, 4)
    assert [n for n, _ in painter.calls] == [4, 10, 10, 3]
    assert len(evidence.seconds_per_image) == 3
    assert set(evidence.labels) <= set(range(5))
    greys = evidence.images.mean(axis=(1, 2, 3))
    np.testing.assert_allclose(greys, 127.5 * (evidence.labels / 5 - 1) + 128, atol=2)


def test_generate_passes_its_sampling_options(data: ImageData) -> None:
    painter = Painter()
    task = Generate(samples=4, guidance=2.0, top_k=7, top_p=0.9, decode_position_offset=1)
    task.evidence(painter, data, seed=1, device="cpu")
    assert painter.calls[-1][1] == {"guidance": 2.0, "top_k": 7, "top_p": 0.9, "position_offset": 1}


def test_generate_is_a_function_of_the_seed(data: ImageData) -> None:
    one, two, other = (Generate(samples=9).evidence(Painter(), data, seed=s, device="cpu").images for s in (3, 3, 4))
    assert np.array_equal(one, two)
    assert not np.array_equal(one, other)


def test_likelihoods_keep_the_order_of_the_held_out_images(data: ImageData) -> None:
    evidence = Generate(samples=3, batch_size=4).evidence(Painter(), data, seed=1, device="cpu")
    np.testing.assert_array_equal(evidence.nll, data.held_out.labels)
    np.testing.assert_array_equal(evidence.nll_unconditional, np.full(10, 5))


def test_uint8_is_that_of_the_adm_evaluator() -> None:
    images = torch.tensor([-2.0, -1.0, 0.0, 0.999, 1.0, 2.0])
    np.testing.assert_array_equal(to_uint8(images), [0, 0, 128, 255, 255, 255])


def test_contact_sheet_has_a_column_a_class() -> None:
    labels = np.array([0, 2, 2])
    images = np.zeros((3, 3, 4, 4), np.uint8)
    sheet = np.asarray(Image.open(io.BytesIO(contact_sheet(images, labels, classes=3, scale=1))))
    assert sheet.shape == (16, 12, 3)
    columns = sheet.reshape(16, 3, 4, 3).mean(axis=(0, 2, 3))
    assert columns[1] == 255
    assert columns[2] < columns[0] < 255


class StepperCache:
    def __init__(self, room: int) -> None:
        self.room, self.state = room, torch.zeros(3)

    def states(self, length: int) -> list[torch.Tensor]:
        self.length = length
        return [self.state]


class Stepper(torch.nn.Module):
    """Counts its steps by context length."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[int] = []

    def start(self, labels: torch.Tensor, max_length: int) -> tuple[torch.Tensor, StepperCache]:
        return labels, StepperCache(room=max_length)

    def step(self, tokens: torch.Tensor, position: int, cache: StepperCache) -> torch.Tensor:
        assert position == cache.length <= cache.room - 7
        assert cache.state.any()
        self.steps.append(position)
        return tokens


class Method:
    def __init__(self) -> None:
        self.model = Stepper()

    def build(self, images: Any) -> Stepper:
        return self.model


def test_decode_pairs_the_rounds_and_drops_the_warm_up() -> None:
    method, rival = Method(), Method()
    task = Decode(lengths=(2, 8), rounds=5, warmup=2)
    evidence = task.evidence(method, {"rival": rival}, seed=0, device="cpu")
    for name in ("method", "rival"):
        assert {length: len(steps) for length, steps in evidence.milliseconds[name].items()} == {2: 5, 8: 5}
    assert method.model.steps == rival.model.steps == [2, 8] * 7


def test_count_builds_without_memory() -> None:
    class Huge:
        def build(self, images: Any) -> torch.nn.Module:
            return torch.nn.Linear(10**6, 10**6, bias=False)

    model = Count().evidence(Huge(), {}, seed=0, device="cpu").model
    assert model.weight.is_meta
    assert model.weight.numel() == 10**12
