"""The task `inpaint` and its metrics, on a model whose fillings are known."""

from __future__ import annotations

import io
import json
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from retable.bench.errors import BenchError
from retable.bench.metrics.early_stop import ExitStep, LoadSaving
from retable.bench.metrics.inception_score import InceptionScore
from retable.bench.metrics.inpainting import ExitError, ExitExcess, HoleGain, InpaintError, MeanImageError
from retable.bench.tasks.early_stop import Stop
from retable.bench.tasks.inpaint import Inpaint, to_uint8
from retable.models.prime.method import PrimeInpainting
from tests.models.test_prime import SMALL_VAE, stripes

HOLE = (3, 5)


class Approach(torch.nn.Module):
    """Fills with the value `1 - rate^t` of the way from black to `target` after t steps, and keeps what it sees."""

    def __init__(self, T: int, rate: float = 0.5, target: float = 1.0) -> None:
        super().__init__()
        self.T, self.rate, self.target = T, rate, target
        self.seeds: list[int] = []
        self.noise: list[float] = []
        self.afresh: set[bool] = set()

    def prepare(self, pixels: torch.Tensor) -> torch.Tensor:
        return (pixels.float() / 127.5 - 1)[:, :1]

    def fillings(self, damaged: torch.Tensor, seeds: torch.Tensor, *, afresh: bool) -> torch.Tensor:
        assert (damaged[..., HOLE[0] : HOLE[1], HOLE[0] : HOLE[1]] == -1).all()
        self.seeds += seeds.tolist()
        self.afresh.add(afresh)
        images = damaged.expand(self.T, *damaged.shape).clone()
        for t in range(self.T):
            images[t, ..., HOLE[0] : HOLE[1], HOLE[0] : HOLE[1]] += (1 - self.rate ** (t + 1)) * (self.target + 1)
        return images

    @contextmanager
    def reading(self, noise: float) -> Any:
        self.noise.append(noise)
        yield


def evidence_of(model: Any, **options: Any) -> Any:
    task = Inpaint(hole=HOLE, account_samples=0, **options)
    return task.evidence(model, stripes(), seed=3, device="cpu")


def test_errors_are_told_inside_and_outside_of_the_hole() -> None:
    evidence = evidence_of(Approach(T=4))
    # a quarter of a stripe's pixels: half of them white (right in the limit), half of them black
    left = 2 * 0.5**4
    assert InpaintError(region="inside").measure(evidence).value == pytest.approx((left**2 + (2 - left) ** 2) / 2)
    assert InpaintError(region="outside").measure(evidence).value == 0
    whole = InpaintError(region="whole").measure(evidence)
    assert whole.value == pytest.approx((left**2 + (2 - left) ** 2) / 2 * 4 / 64)
    assert len(whole.samples or ()) == 12
    assert InpaintError(region="inside").measure(evidence).details["step 1"] == pytest.approx(1.0)


def test_the_mean_image_is_of_the_training_images_and_filling_must_beat_it() -> None:
    evidence = evidence_of(Approach(T=4))
    # vertical and horizontal stripes in equal numbers: the mean is 1, 0, 0, -1 in the four pixels of a period
    assert MeanImageError(region="inside").measure(evidence).value == pytest.approx(0.5)
    gain = HoleGain().measure(evidence)
    inside = InpaintError(region="inside").measure(evidence).value
    assert gain.value == pytest.approx(100 * (1 - (inside or 0) / 0.5))
    assert gain.value < 0
    perfect = evidence_of(Approach(T=4))
    perfect.fillings_TN[:] = perfect.clean
    assert HoleGain().measure(perfect).value == 100
    assert ExitExcess(region="inside").measure(perfect).value is None


def test_a_filling_stops_where_its_changes_are_small_and_falling() -> None:
    # four pixels change by 2 x 0.5^t: D = 8 x 0.5^t / 100 from the second step on, after a first image of its own
    evidence = evidence_of(Approach(T=8), stop=Stop(threshold=0.0052, curve=(0.0026, 0.0)))
    assert set(evidence.exits.at) == {4}
    assert ExitStep().measure(evidence).value == 4
    assert LoadSaving().measure(evidence).value == 50
    assert LoadSaving().measure(evidence).details["threshold 0.0026"] == pytest.approx(100 * 3 / 8)
    assert LoadSaving().measure(evidence).details["threshold 0"] == 0
    left = 2 * 0.5**4
    assert ExitError(region="inside").measure(evidence).value == pytest.approx((left**2 + (2 - left) ** 2) / 2)
    excess = ExitExcess(region="inside").measure(evidence).value
    last = InpaintError(region="inside").measure(evidence).value
    assert excess == pytest.approx(100 * ((left**2 + (2 - left) ** 2) / 2 / (last or 1) - 1))


def test_draws_follow_the_sample_and_the_seed_not_the_batch() -> None:
    seeds = []
    for batch_size in (1, 5, 100):
        model = Approach(T=2)
        evidence_of(model, batch_size=batch_size)
        seeds.append(model.seeds)
    assert seeds[0] == seeds[1] == seeds[2]
    assert len(set(seeds[0])) == 12
    other = Approach(T=2)
    Inpaint(hole=HOLE, account_samples=0).evidence(other, stripes(), seed=4, device="cpu")
    assert not set(other.seeds) & set(seeds[0])


def test_protocols_and_noise_reach_the_model() -> None:
    model = Approach(T=2)
    evidence_of(model)
    assert (model.afresh, model.noise) == ({False}, [])
    evidence_of(model, protocol="official", read_noise=0.2)
    assert (model.afresh, model.noise) == ({False, True}, [0.2])


def test_samples_are_drawn_damaged_filled_and_clean() -> None:
    evidence = evidence_of(Approach(T=3))
    files = evidence.artefacts()
    sheet = np.asarray(Image.open(io.BytesIO(files["samples.png"])).convert("L"), dtype=int)
    zoom = 24
    columns = [slice(i * (8 * zoom + 4), i * (8 * zoom + 4) + 8 * zoom) for i in range(2)]
    rows = [slice(i * (8 * zoom + 4), i * (8 * zoom + 4) + 8 * zoom) for i in range(5)]
    damaged, at_exit, filled, whole, clean = (sheet[row, columns[0]][::zoom, ::zoom] for row in rows)
    assert sheet.shape == (5 * 8 * zoom + 16, 2 * 8 * zoom + 4)
    assert (damaged[3:5, 3:5] == 0).all()
    assert np.array_equal(clean, to_uint8(evidence.clean[0, 0]))
    assert (filled[3:5, 3:5] == to_uint8(np.array(1 - 2 * 0.125))).all()
    assert np.array_equal(np.delete(filled, (3, 4), 0), np.delete(clean, (3, 4), 0))
    assert np.array_equal(at_exit, filled)
    assert np.array_equal(whole, filled)
    assert json.loads(files["exits.json"])["steps"] == [3] * 12


def test_fillings_are_scored_by_a_stated_classifier() -> None:
    evidence = evidence_of(Approach(T=2))
    score = InceptionScore(network="digits-cnn-v1").measure(evidence)
    assert score.value is not None
    assert 1 <= score.value <= 10
    assert score.details["network"] == "digits-cnn-v1"
    assert score.floor is not None


def test_prime_goes_through_the_task_with_its_operations_counted() -> None:
    data = stripes()
    model, _ = PrimeInpainting(**SMALL_VAE).fit(data, {}, seed=0, device="cpu")
    task = Inpaint(hole=HOLE, images=6, account_samples=2, rules=("full", "literature", "fsvae", "spikesim"))
    evidence = task.evidence(model, data, seed=0, device="cpu")
    assert evidence.fillings_TN.shape == (4, 6, 1, 8, 8)
    assert evidence.account.figure("full", "mac").value > 0  # the first layer sees real values
    assert evidence.account.figure("full", "ac").value > 0
    assert not evidence.account.uncounted
    official = Inpaint(hole=HOLE, images=6, account_samples=0, protocol="official")
    again = official.evidence(model, data, seed=0, device="cpu")
    assert np.abs(again.fillings_TN[0]).max() <= np.abs(evidence.fillings_TN[0]).max()


def test_settings_that_mean_nothing_are_refused() -> None:
    for options, sentence in (
        ({"hole": (5, 5)}, "`hole` is its first row and the one behind its last"),
        ({"images": 0}, "`images` must be at least 1"),
        ({"read_noise": -1.0}, "must be at least 0"),
    ):
        with pytest.raises(BenchError, match=sentence):
            Inpaint(**options)
    with pytest.raises(BenchError, match=r"`hole` \[12, 20\] reaches beyond images of \(8, 8\) pixels"):
        Inpaint().evidence(Approach(T=2), stripes(), seed=0, device="cpu")
    with pytest.raises(BenchError, match="no held-out images to fill"):
        Inpaint(hole=HOLE).evidence(Approach(T=2), stripes(held_out=0), seed=0, device="cpu")


def test_each_filling_stops_by_itself_whatever_its_batch() -> None:
    data = stripes()
    model, _ = PrimeInpainting(**SMALL_VAE).fit(data, {}, seed=0, device="cpu")
    found = []
    for batch_size in (1, 5, 100):
        task = Inpaint(hole=HOLE, account_samples=0, batch_size=batch_size, stop=Stop(threshold=0.1, curve=(0.03, 1.0)))
        found.append(task.evidence(model, data, seed=0, device="cpu").exits.curve)
    for threshold, exits in found[0].items():
        assert all(np.array_equal(other[threshold], exits) for other in found[1:])
    assert len({tuple(exits) for exits in found[0].values()}) > 1
