"""The task `certify` and its metrics: what a certificate promises, on classifiers whose exact radius is known."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from torch import Tensor, nn

from retable.bench.datasets.images import ArraySplit, ImageData
from retable.bench.errors import BenchError
from retable.bench.metrics import certificates
from retable.bench.metrics.certified import (
    Abstained,
    AverageRadiusL1,
    AverageRadiusL2,
    CertifiedAccuracyL1,
    CertifiedAccuracyL2,
)
from retable.bench.tasks.certify import Certify


class Linear(nn.Module):
    """Two classes of pixels in [0, 1] by the sign of w x + b, averaged over `copies` noisy copies where it draws noise itself."""

    def __init__(self, w: Tensor, b: float, sigma: float = 0.0, copies: int = 1) -> None:
        super().__init__()
        self.w, self.b, self.sigma = nn.Parameter(w), b, sigma
        self.noise = SimpleNamespace(law="gaussian" if sigma else "none", sigma=sigma, copies=copies)

    def prepare(self, pixels: Tensor) -> Tensor:
        return pixels.float() / 255

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        margin = x.flatten(1) @ self.w + self.b
        if self.sigma:
            noise = torch.randn(self.noise.copies, *x.flatten(1).shape, generator=generator)
            margin = margin + (self.sigma * noise).mean(0) @ self.w
        return torch.stack([margin, -margin], 1)


def images(count: int, seed: int = 0, side: int = 4) -> ImageData:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (count, 1, side, side)).astype(np.uint8)
    split = ArraySplit(pixels=pixels, labels=np.zeros(count, np.int64))
    return ImageData(name="noise", train=split, held_out=split, num_classes=2, image_shape=(1, side, side))


def weights(seed: int = 0, side: int = 4) -> Tensor:
    return torch.randn(side * side, generator=torch.Generator().manual_seed(seed))


def exact_radius(model: Linear, data: ImageData) -> np.ndarray:
    """Signed L2 distance to the boundary, positive on the side of class 0."""
    x = torch.from_numpy(data.held_out.images(np.arange(len(data.held_out)))).double().flatten(1) / 255
    w = model.w.detach().double()
    return ((x @ w + model.b) / w.norm()).numpy()


@pytest.mark.parametrize(
    ("own", "copies"), [(True, 1), (True, 4), (False, 1)], ids=["own-noise", "own-noise-of-4", "added-noise"]
)
def test_a_linear_classifier_is_never_certified_beyond_its_exact_radius(own: bool, copies: int) -> None:
    """1000 images at alpha 0.001: about one violation may happen, more than six has probability below 1e-4."""
    data, sigma = images(1000), 0.5
    model = Linear(weights(), -0.3, sigma if own else 0.0, copies)
    task = Certify(n0=20, n=200, images=1000, sigma=None if own else sigma)
    evidence = task.evidence(model, data, seed=1, device="cpu")
    exact = exact_radius(model, data)
    prediction, radius, _ = evidence.certified
    side = np.where(prediction == 0, exact, -exact)
    violations = (prediction != certificates.ABSTAIN) & (radius > side)
    assert violations.sum() <= 6
    assert (radius > 0).sum() > 200
    assert evidence.largest_radius == pytest.approx(sigma / math.sqrt(copies) * norm.ppf(0.001 ** (1 / 200)))


def test_the_naive_gaussian_radius_over_certifies_by_the_root_of_the_steps() -> None:
    """A classifier linear in the time mean attains sigma / sqrt(T) quantile exactly; without the root it is twice too far."""
    sigma, T, distance = 0.5, 4, 0.1
    p = norm.cdf(distance / (sigma / math.sqrt(T)))
    sound = certificates.radius(np.array([p]), "gaussian", sigma, T)[0]
    naive = certificates.radius(np.array([p]), "gaussian", sigma, 1)[0]
    assert sound == pytest.approx(distance, rel=1e-9)
    assert naive == pytest.approx(math.sqrt(T) * distance, rel=1e-9)
    model = Linear(torch.tensor([1.0]), 0.0, sigma, T)
    moved = model(torch.full((4000, 1, 1, 1), distance - 0.75 * naive), torch.Generator().manual_seed(0))
    assert (moved.argmax(1) == 1).float().mean() > 0.5


def test_the_naive_spike_radius_over_certifies() -> None:
    """Class 1 where any of T spikes fires: P = 1 - (1 - x)^T flips within the L1 radius that leaves 1/T out, not within the sound one."""
    T, x = 4, 0.3

    def p_of(x: float) -> float:
        return 1 - (1 - x) ** T

    sound, naive = (certificates.radius(np.array([p_of(x)]), "bernoulli", 0.0, copies)[0] for copies in (T, 1))
    assert p_of(x - sound) > 0.5
    assert p_of(x - 0.6 * naive) < 0.5


@given(
    n=st.integers(1, 2000),
    alpha=st.floats(1e-6, 0.5),
    sigma=st.floats(0.01, 2),
    copies=st.integers(1, 16),
    data=st.data(),
)
@settings(deadline=None)
def test_bounds_and_radii_grow_with_the_count(n: int, alpha: float, sigma: float, copies: int, data: Any) -> None:
    counts = np.array(sorted(data.draw(st.sets(st.integers(0, n), min_size=1, max_size=5))))
    bound = certificates.lower_bound(counts, n, alpha)
    assert (np.diff(bound) >= 0).all()
    assert (bound <= counts / n + 1e-12).all()
    for law in ("gaussian", "bernoulli"):
        radius = certificates.radius(bound, law, sigma, copies)  # type: ignore[arg-type]
        assert (np.diff(radius) >= 0).all()
        assert (radius[bound <= 0.5] == 0).all()


@given(count=st.integers(0, 100))
def test_no_certificate_at_a_bound_of_one_half_or_less(count: int) -> None:
    counts = np.array([[count, 100 - count]])
    prediction, radius, bound = certificates.certify(
        np.array([[1, 0]]), counts, alpha=0.01, law="gaussian", sigma=1, copies=1
    )
    assert (prediction[0] == certificates.ABSTAIN) == (bound[0] < 0.5)
    assert (radius[0] > 0) == (bound[0] > 0.5)


def test_a_bound_of_exactly_one_half_names_a_class_that_reaches_nowhere() -> None:
    one = np.array([[1, 0]])  # one draw of one: the bound is alpha itself
    prediction, radius, bound = certificates.certify(one, one, alpha=0.5, law="gaussian", sigma=1, copies=1)
    assert (bound[0], prediction[0], radius[0]) == (0.5, 0, 0)


def test_a_certificate_depends_on_its_image_and_the_seed_alone() -> None:
    model = Linear(weights(), -0.3, 0.5, 2)
    many, few = (
        Certify(n0=20, n=250, images=n).evidence(model, images(40), seed=1, device="cpu").estimation_NK
        for n in (40, 10)
    )
    assert np.array_equal(many[::4], few)
    other = Certify(n0=20, n=250, images=40).evidence(model, images(40), seed=2, device="cpu").estimation_NK
    assert not np.array_equal(many, other)


def test_batch_statistics_do_not_couple_the_draws_of_an_image() -> None:
    """A norm in training mode would make a draw's class depend on the other draws, and the certificate void."""

    class Normed(Linear):
        def __init__(self) -> None:
            super().__init__(weights(), -0.3, 0.5)
            self.norm = nn.BatchNorm1d(2)

        def forward(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
            return self.norm(super().forward(x, generator))

    model = Normed().train()
    Certify(n0=5, n=10, images=2).evidence(model, images(4), seed=0, device="cpu")
    assert torch.equal(model.norm.running_mean, torch.zeros(2))


def test_the_guess_and_the_bound_come_from_draws_of_their_own_and_so_does_every_image() -> None:
    """Draws used twice would void the guarantee; with equal counts of both stages they would give equal counts of classes."""
    model = Linear(weights(), -float((weights() / 2).sum()), 0.5, 1)  # undecided on the grey image
    grey = ArraySplit(pixels=np.full((40, 1, 4, 4), 127, np.uint8), labels=np.zeros(40, np.int64))
    data = ImageData(name="grey", train=grey, held_out=grey, num_classes=2, image_shape=(1, 4, 4))
    evidence = Certify(n0=250, n=250, images=40).evidence(model, data, seed=1, device="cpu")
    selection, estimation = evidence.selection_NK[:, 0], evidence.estimation_NK[:, 0]
    assert 0 < estimation.min() <= estimation.max() < 250
    assert (selection != estimation).mean() > 0.5
    assert len(set(estimation.tolist())) > 5


def test_metrics_of_certificates() -> None:
    evidence = Certify(n0=20, n=200, images=50).evidence(
        Linear(weights(), -0.3, 0.5, 2), images(50), seed=0, device="cpu"
    )
    shares = [CertifiedAccuracyL2(radius=r).measure(evidence) for r in (0, 0.1, 0.3)]
    assert shares[0].value >= shares[1].value >= shares[2].value  # type: ignore[operator]
    assert shares[0].value == 100 * evidence.correct.mean()
    assert shares[0].details["copies"] == 2
    reached = float((evidence.correct * evidence.radius).max())
    assert CertifiedAccuracyL2(radius=reached).measure(evidence).value > 0, "within a radius of at least r"  # type: ignore[operator]
    assert AverageRadiusL2().measure(evidence).value == pytest.approx((evidence.correct * evidence.radius).mean())
    assert Abstained().measure(evidence).value == 100 * evidence.abstained.mean()
    for metric in (CertifiedAccuracyL1(radius=0), AverageRadiusL1()):
        assert "is an L2 radius, not an L1 one" in str(metric.measure(evidence).reason)
    curve = json.loads(evidence.artefacts()["certificates.json"])["curve"]
    assert curve["certified"][0] == shares[0].value
    assert curve["radius"][-1] == pytest.approx(evidence.largest_radius)


def test_the_published_rule_takes_the_copies_for_one() -> None:
    model = Linear(weights(), -0.3, 0.5, 4)
    corrected, official = (
        Certify(n0=20, n=200, images=20, protocol=p).evidence(model, images(20), seed=0, device="cpu")  # type: ignore[arg-type]
        for p in ("corrected", "official")
    )
    assert np.array_equal(corrected.estimation_NK, official.estimation_NK)
    assert official.radius == pytest.approx(2 * corrected.radius)


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"n0": 0}, "`n0` must be at least 1, not 0"),
        ({"alpha": 1.0}, "`alpha` must lie strictly between 0 and 1/2, not be 1;"),
        ({"sigma": -0.1}, "`sigma` must lie between 0 and 2, pixels are 0 to 1, not be -0.1"),
        ({"sigma": 0.0}, "`sigma` must be above 0"),
    ],
)
def test_impossible_certificates(parameters: Any, sentence: str) -> None:
    with pytest.raises(BenchError, match=sentence):
        Certify(**parameters)


def test_models_that_cannot_be_certified() -> None:
    class Restless(Linear):
        def forward(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
            return super().forward(x) + torch.randn(len(x), 2)

    def certify(model: nn.Module, **options: Any) -> None:
        Certify(n0=5, n=5, images=2, **options).evidence(model, images(2), seed=0, device="cpu")

    with pytest.raises(BenchError, match="draws no noise of its own to certify: give `sigma`"):
        certify(Linear(weights(), 0.0))
    with pytest.raises(BenchError, match="the model draws gaussian noise itself, so `sigma` must be left out"):
        certify(Linear(weights(), 0.0, 0.5), sigma=0.5)
    with pytest.raises(BenchError, match="asks for a deterministic model"):
        certify(Restless(weights(), 0.0), sigma=0.5)
    with pytest.raises(BenchError, match="logits are not finite"):
        certify(Linear(torch.full((16,), math.nan), 0.0, 0.5))
